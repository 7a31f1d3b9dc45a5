"""Who is held out: no image, or no class, of validation is ever in training. And settings of a run that goes on."""

import logging

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value, load_dataset

from hf_alignet.errors import InputError
from hf_alignet.judgments.splits import random_share
from hf_alignet.triplets.making import Plan, TripletDesign, keep_settings, make_clusters, make_splits, write_clusters
from hf_alignet.triplets.partition import class_numbers, hold_out_classes, read_labels
from hf_alignet.triplets.triplet_dataset import column

NAMES = ["cat", "dog", "cow", "owl", "ant", "bee"]
NUM_IMAGES = 120


def dataset(labels, feature=None) -> Dataset:
    columns = {"label": labels, "name": [str(i) for i in range(len(labels))]}
    return Dataset.from_dict(columns, features=Features({"label": feature or Value("int64"), "name": Value("string")}))


@pytest.fixture
def labels() -> list[int]:
    return np.random.default_rng(0).permutation(np.arange(NUM_IMAGES) % 6).tolist()


@pytest.fixture
def images(labels) -> Dataset:
    return dataset(labels, ClassLabel(names=NAMES))


@pytest.fixture
def embeddings(labels) -> np.ndarray:
    rng = np.random.default_rng(1)
    return (2 * np.eye(6)[labels] + 0.3 * rng.normal(size=(NUM_IMAGES, 6))).astype(np.float32)


@pytest.fixture
def make(images, embeddings, tmp_path):
    """Triplets (m, 3) by split, and the plan that they were drawn by."""

    def made(images=images, rows=np.arange(NUM_IMAGES), **settings):  # noqa: B008
        arguments = TripletDesign(num_triplets=400, num_validation_triplets=60, **settings)
        plan = Plan.of(arguments, images, rows)
        clusters = make_clusters(arguments, embeddings[rows], plan, tmp_path, progress=False)
        splits = make_splits(arguments, embeddings[rows], plan, clusters, tmp_path / "triplets")
        assert splits == {"train": 400, "validation": 60}
        files = {split: sorted(map(str, (tmp_path / "triplets").glob(f"{split}-*"))) for split in splits}
        found = load_dataset("parquet", data_files=files)
        return {split: column(found[split], "triplet") for split in splits}, plan

    return made


SAMPLINGS = ["cluster_boundary", "class_boundary", "within_class", "between_class", "random"]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_held_out_images_are_in_validation_alone(sampling, make):
    triplets, plan = make(sampling=sampling, held_out_share=0.3)
    assert plan.is_held_out.sum() == 36
    held_out = set(np.flatnonzero(plan.is_held_out).tolist())
    train, validation = (set(triplets[split].ravel().tolist()) for split in ("train", "validation"))
    assert not train & held_out and validation <= held_out


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_held_out_classes_are_in_validation_alone(sampling, make, labels):
    triplets, plan = make(sampling=sampling, hold_out="classes", held_out_share=0.5)
    train, validation = (set(np.array(labels)[triplets[split].ravel()]) for split in ("train", "validation"))
    assert len(train) == 3 == len(validation) and not train & validation
    assert set(np.array(labels)[plan.is_held_out]) == validation


def test_classes_are_held_out_by_name_or_number(make, labels):
    triplets, _ = make(sampling="within_class", hold_out="classes", held_out_classes=["owl", "2"])
    assert set(np.array(labels)[triplets["validation"].ravel()]) == {2, 3}
    assert set(np.array(labels)[triplets["train"].ravel()]) == {0, 1, 4, 5}


@pytest.mark.parametrize("sampling", ["cluster_boundary", "random"])
def test_nothing_held_out_makes_other_triplets_of_the_same_images(sampling, make):
    triplets, plan = make(sampling=sampling, hold_out="nothing")
    assert plan.is_held_out is None
    both = np.sort(np.concatenate([triplets["train"], triplets["validation"]]), 1)
    assert len(np.unique(both, axis=0)) == 460
    assert set(triplets["validation"].ravel().tolist()) & set(triplets["train"].ravel().tolist())


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_rows_that_cannot_be_read_are_in_no_triplet(sampling, make):
    rows = np.setdiff1d(np.arange(NUM_IMAGES), [0, 7, 50, 119])
    triplets, plan = make(rows=rows, sampling=sampling, held_out_share=0.3)
    named = {split: set(array.ravel().tolist()) for split, array in triplets.items()}
    assert named["train"] | named["validation"] <= set(rows.tolist())
    assert named["validation"] <= set(rows[plan.is_held_out].tolist())


def test_clusters_are_learned_from_training_images(make, images, embeddings, labels, tmp_path):
    make(hold_out="classes", held_out_classes=["owl"], num_clusters=5)
    with np.load(tmp_path / "clusters.npz") as arrays:
        centers = arrays["centers"]
    assert centers.shape == (5, 6) and centers[:, NAMES.index("owl")].max() < 1


def test_clusters_that_are_there_are_taken(images, embeddings, tmp_path):
    arguments = TripletDesign(num_clusters=4)
    plan = Plan.of(arguments, images, np.arange(NUM_IMAGES))
    made = make_clusters(arguments, embeddings, plan, tmp_path, progress=False)
    again = make_clusters(arguments, embeddings[::-1], plan, tmp_path, progress=False)
    np.testing.assert_array_equal(again.assignments, made.assignments)
    assert [file.name for file in tmp_path.iterdir()] == ["clusters.npz"]


def test_number_of_clusters_by_elbow_keeps_the_curve(images, embeddings, tmp_path):
    arguments = TripletDesign(elbow=True, num_validation_triplets=0)
    plan = Plan.of(arguments, images, np.arange(NUM_IMAGES))
    found = make_clusters(arguments, embeddings, plan, tmp_path, progress=False)
    curve = (tmp_path / "elbow.csv").read_text().splitlines()
    assert curve[0] == "num_clusters,inertia" and str(len(found.centers)) in [row.split(",")[0] for row in curve]


def test_clusters_of_all_images(tmp_path, images, embeddings):
    arguments = TripletDesign(num_clusters=6)
    rows = np.arange(5, 100)
    plan = Plan.of(arguments, images, rows)
    clusters = make_clusters(arguments, embeddings[rows], plan, tmp_path, progress=False)
    write_clusters(clusters, plan, NUM_IMAGES, tmp_path / "clusters" / "train.parquet")
    written = load_dataset("parquet", data_files=str(tmp_path / "clusters" / "train.parquet"))["train"]["cluster"][:]
    assert written == [-1] * 5 + clusters.assignments.tolist() + [-1] * 20


def test_no_validation(images, embeddings, tmp_path):
    arguments = TripletDesign(num_validation_triplets=0, num_triplets=50, sampling="random")
    plan = Plan.of(arguments, images.remove_columns("label"), np.arange(NUM_IMAGES))  # no class is needed
    assert plan.is_held_out is None
    assert make_splits(arguments, embeddings, plan, None, tmp_path) == {"train": 50}


# ---- images without a class


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_images_without_a_class_are_left_out_and_it_is_said(sampling, make, labels, caplog):
    unlabelled = [3, 10, 64]
    for row in unlabelled:
        labels[row] = None
    with caplog.at_level(logging.WARNING):
        triplets, _ = make(
            images=dataset(labels, ClassLabel(names=NAMES)), sampling=sampling, hold_out="classes", held_out_share=0.5
        )
    said = [record.getMessage() for record in caplog.records]
    assert said == ["3 of 120 images have no class, so no triplet uses them"]
    for split in triplets.values():  # one of them may be of a class that is held out
        assert not set(unlabelled) & set(split.ravel().tolist())


@pytest.mark.parametrize(
    ("labels", "feature", "expected"),
    [
        ([2, 0, 1], None, [2, 0, 1]),
        ([2, None, -1], None, [2, -1, -1]),
        ([1.0, 2.0, None], Value("float32"), [1, 2, -1]),
        ([7, 0, 255], Value("uint8"), [7, 0, 255]),
        ([None, None, 1], ClassLabel(names=NAMES), [-1, -1, 1]),
    ],
)
def test_classes_are_integers(labels, feature, expected):
    found = read_labels(dataset(labels, feature))
    assert found.dtype == np.int64 and found.tolist() == expected


@pytest.mark.parametrize(
    ("labels", "feature"),
    [(["cat", "dog"], Value("string")), ([0.5, 1.0], Value("float32")), ([True, False], Value("bool"))],
)
def test_classes_that_are_no_integers_are_refused(labels, feature):
    with pytest.raises(InputError, match="the column 'label' must have classes as integers"):
        read_labels(dataset(labels, feature))


@pytest.mark.parametrize("settings", [{"sampling": "within_class"}, {"hold_out": "classes"}])
def test_classes_that_are_not_there(settings, images):
    with pytest.raises(InputError, match="the images need a column 'label' of classes; their columns are name"):
        Plan.of(TripletDesign(**settings), images.remove_columns("label"), np.arange(NUM_IMAGES))


def test_unknown_class_is_named(images):
    arguments = TripletDesign(hold_out="classes", held_out_classes=["cat", "unicorn"])
    with pytest.raises(InputError, match="unknown class 'unicorn'; the images have cat, dog, cow"):
        Plan.of(arguments, images, np.arange(NUM_IMAGES))


def test_numbers_of_classes():
    def numbers(labels, names, feature=None):
        return class_numbers(dataset(labels, feature), np.array(labels), names)

    assert numbers([4, 9, -1], ["9", "4"]) == [9, 4]
    assert numbers([0, 1], ["1"], ClassLabel(names=["1", "0"])) == [0]  # a name goes before a number
    for unknown in ("3", "-1"):
        with pytest.raises(InputError, match=f"unknown class '{unknown}'; the images have 4, 9"):
            numbers([4, 9, -1], ["4", unknown])


# ---- shares


@pytest.mark.parametrize(("share", "expected"), [(0.1, 12), (0.5, 60), (0.004, 0)])
def test_share_of_images(share, expected):
    held_out = random_share(120, share, 3)
    assert held_out.sum() == expected and held_out.shape == (120,)
    np.testing.assert_array_equal(held_out, random_share(120, share, 3))
    assert expected == 0 or (held_out != random_share(120, share, 4)).any()


def test_share_of_classes():
    labels = np.repeat([-1, 0, 2, 5, 9], [3, 10, 20, 30, 40])
    held_out = hold_out_classes(labels, 0.5, 0)
    assert len(set(labels[held_out])) == 2 and -1 not in labels[held_out]
    assert not set(labels[held_out]) & set(labels[~held_out])
    drawn = {tuple(sorted(set(labels[hold_out_classes(labels, 0.5, seed)].tolist()))) for seed in range(40)}
    assert len(drawn) == 6  # all pairs of four
    assert set(labels[hold_out_classes(labels, 0.5, 0, [9])]) == {9}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"held_out_share": 0.02}, "the split validation: a triplet needs three images, but there are 2"),
        (
            {"sampling": "class_boundary", "hold_out": "classes", "held_out_share": 0.2},
            "the split validation: class_boundary needs images of at least 2 classes, but the images have 1",
        ),
        (
            {"sampling": "between_class", "hold_out": "classes", "held_out_classes": NAMES[:4]},
            "the split train: between_class needs images of at least 3 classes, but the images have 2",
        ),
    ],
)
def test_split_that_cannot_be_made_is_named_before_the_other_is(settings, message, make, tmp_path):
    with pytest.raises(InputError, match=message):
        make(**settings)
    assert not (tmp_path / "triplets").exists()


# ---- a run that goes on


def test_settings_are_kept_and_others_refused(tmp_path):
    file = tmp_path / "out" / "unfinished" / "settings.json"
    settings = {"images": "a", "teacher": "b"} | vars(TripletDesign(min_margin=0.1))
    keep_settings(file, settings | {"seed": 7})
    keep_settings(file, settings)  # nothing was made with the others
    (file.parent / "embeddings").mkdir()
    keep_settings(file, settings)
    keep_settings(file, settings | {"num_triplets": 7})  # to which no embedding owes anything
    (file.parent / "triplets").mkdir()
    with pytest.raises(InputError, match=r"settings \(num_triplets\)"):
        keep_settings(file, settings)
    settings["num_triplets"] = 7
    with pytest.raises(InputError, match=r"out has an unfinished run with other settings \(min_margin, seed\)"):
        keep_settings(file, settings | {"seed": 7, "min_margin": None})
    with pytest.raises(InputError, match=r"\(new\)"):
        keep_settings(file, settings | {"new": 1})
    keep_settings(file, settings)
