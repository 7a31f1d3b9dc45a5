"""Who is held out: no image, or no class, of validation is ever in training. And settings of a run that goes on."""

import itertools
import logging
import math

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value, load_dataset

from hf_alignet.errors import InputError
from hf_alignet.judgments.splits import random_share
from hf_alignet.triplets.labeling import label_triplets
from hf_alignet.triplets.making import (
    Plan,
    TripletDesign,
    clip_design,
    keep_settings,
    make_clusters,
    make_splits,
    write_clusters,
)
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


# ---- what there is less of than was asked for


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_counts_clip_to_the_triplets_that_exist(sampling, images, embeddings, tmp_path, caplog):
    rows = np.arange(30)
    design = TripletDesign(sampling=sampling, num_triplets=10**6, held_out_share=0.3)  # 10,000 for validation
    plan = Plan.of(design, images, rows)
    clipped = clip_design(design, plan)  # before anything is embedded
    assert (clipped.num_triplets, clipped.num_validation_triplets) <= (math.comb(21, 3), math.comb(9, 3))
    assert len(said(caplog)) == 2
    clusters = make_clusters(clipped, embeddings[rows], plan, tmp_path, progress=False)
    groups = plan.groups(clusters)
    written = make_splits(clipped, embeddings[rows], plan, clusters, tmp_path / "triplets", progress=False)
    kinds = {"cluster_boundary": {2}, "class_boundary": {2}, "within_class": {1}, "between_class": {3}}
    for split, number in written.items():
        members = np.flatnonzero(plan.members(split))
        sets = [len(set(groups[list(three)])) for three in itertools.combinations(members.tolist(), 3)]
        assert number == sum(size in kinds.get(sampling, {1, 2, 3}) for size in sets)
        files = sorted(map(str, (tmp_path / "triplets").glob(f"{split}-*")))
        triplets = column(load_dataset("parquet", data_files=files, split="train"), "triplet")
        assert len({frozenset(row) for row in triplets.tolist()}) == number == len(triplets)


def test_of_shared_triplets_both_splits_get_their_share(images, embeddings, tmp_path):
    design = TripletDesign(sampling="random", hold_out="nothing", num_triplets=9_000, num_validation_triplets=1_000)
    plan = Plan.of(design, images, np.arange(12))
    assert math.comb(12, 3) == 220
    written = make_splits(design, embeddings[:12], plan, None, tmp_path, progress=False)
    assert written == {"train": 198, "validation": 22}


def test_numbers_that_fit_stay(images, caplog):
    design = TripletDesign(num_triplets=400, num_validation_triplets=60, num_clusters=5, max_per_image=50)
    assert clip_design(design, Plan.of(design, images, np.arange(NUM_IMAGES))) == design and said(caplog) == []


@pytest.mark.parametrize(
    ("settings", "number", "expected", "text"),
    [
        ({"num_clusters": 50}, 40, {"num_clusters": 18}, "`num_clusters` is 18, not 50: the images allow no more"),
        (
            {"max_per_image": 2},
            60,
            {"num_triplets": 36, "num_validation_triplets": 4},
            "`num_triplets` is 36, not 400",
        ),
        ({}, 20, {"num_validation_triplets": 1}, "`num_validation_triplets` is 1, not 60"),  # three images, not two
    ],
)
def test_numbers_are_clipped_and_it_is_said(settings, number, expected, text, images, caplog):
    design = TripletDesign(num_triplets=400, num_validation_triplets=60, **settings)
    clipped = clip_design(design, Plan.of(design, images, np.arange(number)))
    assert {name: getattr(clipped, name) for name in expected} == expected
    assert [line for line in said(caplog) if text in line]


@pytest.mark.parametrize(("hold_out", "number"), [("images", 20), ("nothing", 12)])
def test_bounds_on_labels_leave_what_passes(hold_out, number, images, embeddings, tmp_path, caplog):
    counts = {"num_triplets": 300, "num_validation_triplets": 100}
    design = TripletDesign(sampling="random", hold_out=hold_out, held_out_share=0.3, min_margin=0.5, **counts)
    plan = Plan.of(design, images, np.arange(number))
    written = make_splits(design, embeddings[:number], plan, None, tmp_path, progress=False)
    passed = {}
    for split in written:
        every = np.array(list(itertools.combinations(np.flatnonzero(plan.members(split)).tolist(), 3)))
        passed[split] = int(design.bounds.admit(label_triplets(embeddings, every)).sum())
    if hold_out == "nothing":
        assert passed["train"] < 165 and written["train"] == passed["train"] * 165 // 220
        assert written["validation"] == passed["train"] - written["train"]
    else:
        assert written == {"train": min(300, passed["train"]), "validation": passed["validation"]}
    assert f"the split validation gets {written['validation']} triplets" in caplog.text
    # A run that was stopped goes on to the same numbers
    assert make_splits(design, embeddings[:number], plan, None, tmp_path, progress=False) == written


def test_a_validation_that_the_clusters_do_not_allow_is_left_out(images, embeddings, labels, tmp_path, caplog):
    settings = {"hold_out": "classes", "held_out_classes": ["owl"], "num_clusters": 5}
    design = TripletDesign(num_triplets=50, num_validation_triplets=10, **settings)
    plan = Plan.of(design, images, np.arange(NUM_IMAGES))
    clusters = make_clusters(design, embeddings, plan, tmp_path, progress=False)
    clusters.assignments[plan.is_held_out] = 0  # a class in one cluster has no triplet at a boundary
    assert make_splits(design, embeddings, plan, clusters, tmp_path / "out", progress=False) == {"train": 50}
    assert "the split validation gets no triplets" in caplog.text


@pytest.mark.parametrize("elbow", [False, True])
def test_too_few_images_to_cluster_are_refused_before_embedding(elbow, images):
    design = TripletDesign(elbow=elbow)
    with pytest.raises(InputError, match="images are too few to find an elbow" if elbow else "clusters need 4 images"):
        clip_design(design, Plan.of(design, images, np.arange(60 if elbow else 5)))


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
