import numpy as np
import pytest
from drawing import NAMES
from drawing import draw_labelled as drawn
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from hf_alignet.errors import InputError
from hf_alignet.evaluation import change
from hf_alignet.evaluation.downstream.anomaly import anomaly
from hf_alignet.evaluation.downstream.breeds import breeds, draw_subclasses
from hf_alignet.evaluation.downstream.hierarchy import BREEDS, Hierarchy
from hf_alignet.evaluation.downstream.labelled import Labelled, draw_shots
from hf_alignet.evaluation.downstream.retrieval import retrieval
from hf_alignet.evaluation.downstream.shift import Shift, shift
from hf_alignet.evaluation.downstream.shots import FITS, few_shot, linear_probe, mlp_head
from hf_alignet.evaluation.statistics.crossed import crossed_share

# ---- shots


def test_draws_have_no_image_in_common_and_all_classes():
    images = drawn(23)
    draws = draw_shots(images, 5, 10, seed=3)
    assert len(draws) == 4  # 23 // 5
    assert len(np.unique(np.concatenate(draws))) == 4 * 5 * 4
    assert all((np.bincount(images.labels[rows]) == 5).all() for rows in draws)
    again = draw_shots(images, 5, 10, seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(draws, again, strict=True))
    assert not np.array_equal(draw_shots(images, 5, 10, seed=4)[0], draws[0])


@pytest.mark.parametrize("classifier", FITS)
def test_accuracy_is_the_mean_over_draws(classifier):
    train, test = drawn(20), drawn(30, seed=1)
    metric = few_shot(train, test, 3, classifier, num_draws=4)
    fit = FITS[classifier]
    shares = [
        (fit(train.embeddings[rows], train.labels[rows], 4).predict(test.embeddings) == test.labels).mean()
        for rows in draw_shots(train, 3, 4, 0)
    ]
    assert metric["value"] == pytest.approx(np.mean(shares)) and metric["value"] > 0.5
    assert metric["n"] == 120 and metric["chance"] == 0.25 and metric["unit"] == "images and shots"
    assert metric["ci95"][0] < metric["value"] < metric["ci95"][1]


def test_one_draw_has_an_interval_over_images():
    metric = few_shot(drawn(5), drawn(30, seed=1), 4)
    assert metric["unit"] == "images" and metric["ci95"] is not None


def test_more_shots_and_more_data_are_better():
    train, test = drawn(60, noise=2), drawn(100, seed=1, noise=2)
    one, ten = (few_shot(train, test, shots)["value"] for shots in (1, 10))
    assert one < ten < linear_probe(train, test)["value"] + 0.05


@pytest.mark.parametrize("measure", [linear_probe, mlp_head])
def test_full_data(measure):
    metric = measure(drawn(60), drawn(50, seed=1))
    assert metric["value"] > 0.9 and metric["n"] == 200 and metric["unit"] == "images"
    assert metric == measure(drawn(60), drawn(50, seed=1))


def test_a_head_of_two_hidden_layers_learns_what_a_line_cannot():
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], size=(600, 1)) * np.ones(40) + 0.3 * rng.normal(size=(600, 40))
    x[:, 20:] *= rng.choice([-1.0, 1.0], size=(600, 1))
    labels = (x[:, :20].mean(1) * x[:, 20:].mean(1) > 0).astype(np.int64)
    images = Labelled(x.astype(np.float32), labels, ["a", "b"])
    train, test = images.halves(seed=0)
    assert linear_probe(train, test)["value"] + 0.15 < 0.9 < mlp_head(train, test, 2)["value"]


def test_changes_are_paired_and_only_for_the_same_draws():
    train, test = drawn(20, noise=2), drawn(80, seed=1, noise=2)
    worse = [Labelled(part.embeddings[:, :5], part.labels, NAMES) for part in (train, test)]
    before, after = few_shot(*worse, 2), few_shot(train, test, 2)
    found = change(before, after)
    assert found["value"] == pytest.approx(after["value"] - before["value"]) and found["p_value"] < 0.05
    width = found["ci95"][1] - found["ci95"][0]
    assert width < sum(np.diff(metric["ci95"])[0] for metric in (before, after)) / 2**0.5
    assert change(before, few_shot(train, test, 2, seed=1))["ci95"] is None
    assert change(before, few_shot(train, test, 3))["ci95"] is None


@pytest.mark.parametrize(("draws", "images"), [(3, 300), (8, 100), (1, 300)])
def test_intervals_hold_the_truth(draws, images):
    """Draws and images both make answers right more or less often; 95 % of intervals hold the true share."""
    rng, of_draws, of_images = np.random.default_rng(0), 0.2 * (draws > 1), 1.0
    middle = norm.ppf(0.7) * (1 + of_draws**2 + of_images**2) ** 0.5
    hits = 0
    for _ in range(300):
        ease = middle + of_draws * rng.normal(size=(draws, 1)) + of_images * rng.normal(size=images)
        low, high = crossed_share(rng.random(ease.shape) < norm.cdf(ease), (), 0.1)["ci95"]
        hits += low <= 0.7 <= high
    assert 0.9 <= hits / 300 <= 0.985


# ---- what cannot be measured


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: few_shot(drawn(4), drawn(9), 5), "the class 'ant' has 4 images to learn from, fewer than 5 shots"),
        (
            lambda: few_shot(drawn(4), drawn(4, names=["ant", "bee", "cat", "eel"]), 1),
            "only in train are dog, only in test eel",
        ),
        (lambda: Labelled(np.ones((3, 2)), np.zeros(3, int), ["ant"]), "only the class ant"),
        (lambda: Labelled(np.full((2, 2), np.nan), np.arange(2), ["a", "b"]), "not finite"),
        (lambda: Labelled(np.ones((3, 2)), np.arange(2), ["a", "b"]), "2 labels for 3 embeddings"),
        (lambda: retrieval(Labelled(np.eye(2), np.arange(2), ["a", "b"])), "no class has two images"),
        (lambda: shift(drawn(9), drawn(9, names=["ant", "eel"])), "classes that the training images lack: eel"),
    ],
)
def test_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_constant_embeddings_are_at_chance():
    train, test = (Labelled(np.ones((40, 3), np.float32), np.arange(40) % 4, NAMES) for _ in range(2))
    assert few_shot(train, test, 2)["value"] == linear_probe(train, test)["value"] == 0.25
    assert anomaly(train, test)["value"] == 0.5


# ---- shifts


def test_only_classes_of_the_test_are_answers():
    train = drawn(40)
    means = np.random.default_rng(99).normal(size=(4, 12))
    test = drawn(40, seed=1, noise=2, names=["dog", "bee"], means=means[[3, 1]])
    metric = shift(train, test)
    assert metric["chance"] == 0.5 and metric["n"] == 80 and metric["value"] > 0.75


def test_images_with_several_labels():
    train, test = drawn(40), drawn(10, seed=1, noise=0.1)
    every = [[0, 1, 2, 3]] * 20 + [[]] * 20
    fitted = Shift(train)
    assert shift(train, test, every) == fitted.accuracy(test, every)
    of_all, of_one = fitted.accuracy(test, every), fitted.accuracy(test, [[label] for label in test.labels])
    assert (of_all["value"], of_all["n"], of_all["chance"]) == (1, 20, 1)
    assert of_one["value"] == fitted.accuracy(test)["value"] and of_one["chance"] == 0.25
    assert fitted.accuracy(test, [[0, 1], [0, 0]] + [[]] * 38)["chance"] == pytest.approx(1.5 / 4)
    for accepted, message in (([[0]], "has 1 lists, of which 1"), ([[]] * 40, "has 40 lists, of which 0")):
        with pytest.raises(InputError, match=message):
            fitted.accuracy(test, accepted)


# ---- anomalies and retrieval, against scikit-learn


@pytest.mark.parametrize("kind", ["one_vs_rest", "leave_one_out"])
def test_anomalies_are_those_of_a_naive_search(kind):
    train, test = drawn(12, noise=2), drawn(9, seed=1, noise=2)
    areas = []
    for label in range(4):
        normal = train.labels == label if kind == "one_vs_rest" else train.labels != label
        x = train.embeddings[normal] / np.linalg.norm(train.embeddings[normal], axis=1, keepdims=True)
        scores = []
        for query in test.embeddings:
            scores.append(-np.sort(x @ query / np.linalg.norm(query))[-5:].mean())
        is_anomaly = test.labels != label if kind == "one_vs_rest" else test.labels == label
        areas.append(roc_auc_score(is_anomaly, scores))
    metric = anomaly(train, test, kind)
    assert metric["value"] == pytest.approx(np.mean(areas), abs=1e-6) and metric["n"] == 4


def test_retrieval_is_that_of_a_naive_search(monkeypatch):
    images = drawn(9, noise=2)
    x = images.embeddings / np.linalg.norm(images.embeddings, axis=1, keepdims=True)
    precisions, hits = [], []
    for row in range(len(x)):
        others = np.arange(len(x)) != row
        same, closeness = images.labels[others] == images.labels[row], (x @ x[row])[others]
        precisions.append(average_precision_score(same, closeness))
        hits.append([same[np.argsort(-closeness)[:k]].any() for k in (1, 5, 10)])
    found = retrieval(images)
    assert found["mean_average_precision"]["value"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert [found[f"recall_at_{k}"]["value"] for k in (1, 5, 10)] == pytest.approx(np.mean(hits, axis=0))
    monkeypatch.setattr("hf_alignet.evaluation.downstream.retrieval.CELLS", 200)
    assert retrieval(images)["mean_average_precision"]["value"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert retrieval(images, num_queries=7)["recall_at_1"]["n"] == 7


# ---- BREEDS


@pytest.fixture
def hierarchy():
    """Below the root six nodes at level 3, with 4, 4, 4, 5, 2 and 0 classes."""
    children = {"n00001740": ["living"], "living": ["left", "right"], "left": list("abc"), "right": list("def")}
    children |= {
        node: [f"{node}{i}" for i in range(number)] for node, number in zip("abcde", (4, 4, 4, 5, 2), strict=True)
    }
    return Hierarchy(children, {})


def test_subclasses_are_halves_of_superclasses(hierarchy):
    classes = [f"{node}{i}" for node in "abcde" for i in range(5)]
    source, target = draw_subclasses(classes, hierarchy, "entity13", None, seed=0)
    assert source.max() == target.max() == 3
    assert np.bincount(source[source >= 0]).tolist() == np.bincount(target[target >= 0]).tolist() == [2, 2, 2, 2]
    assert not ((source >= 0) & (target >= 0)).any()
    drawn_from = {classes[i][0]: source[i] for i in np.flatnonzero(source >= 0)}
    assert all(target[i] == drawn_from[classes[i][0]] for i in np.flatnonzero(target >= 0))


def test_breeds_learns_from_the_source_alone(hierarchy):
    classes = [f"{node}{i}" for node in "abcd" for i in range(4)]
    rng = np.random.default_rng(0)
    above = {node: 3 * rng.normal(size=12) for node in "abcd"}
    means = np.stack([above[name[0]] + rng.normal(size=12) for name in classes])
    train, test = (drawn(20, seed=seed, names=classes, means=means) for seed in (0, 1))
    found = breeds(train, test, hierarchy)
    assert found["source_accuracy"]["value"] > 0.95 and found["target_accuracy"]["value"] > 0.8
    assert found["target_accuracy"]["n"] == 160 and found["target_accuracy"]["unit"] == "subclasses"
    source, target = draw_subclasses(classes, hierarchy, "entity13", None, 0)
    changed = train.embeddings.copy()
    changed[target[train.labels] >= 0] = 7
    assert breeds(Labelled(changed, train.labels, classes), test, hierarchy) == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "entity14"}, "must be one of entity13"),
        ({"num_subclasses": 3}, "an even number"),
        ({"num_subclasses": 6}, "0 superclasses of entity13 have 6 subclasses"),
        ({"name": "living17"}, "none of the classes, such as 'a0', is in the hierarchy"),
    ],
)
def test_breeds_refused(options, message, hierarchy):
    images = drawn(2, names=[f"{node}{i}" for node in "ab" for i in range(4)])
    with pytest.raises(InputError, match=message):
        breeds(images, images, hierarchy, **options)


@pytest.mark.real_data
def test_published_hierarchy_gives_the_published_numbers(data_directory):
    folder = data_directory / "downstream" / "breeds"
    hierarchy = Hierarchy.load(folder)
    known = set(hierarchy.names)
    leaves = known - hierarchy.children.keys()
    for name, number in {"entity13": 13, "entity30": 30, "living17": 17, "nonliving26": 26}.items():
        found = hierarchy.superclasses(BREEDS[name], leaves)
        assert sum(len(members) >= BREEDS[name].num_subclasses for members in found.values()) == number


@pytest.mark.parametrize("content", [b"", b"one\n", b"\xff\xfe"])
def test_hierarchy_that_cannot_be_read(content, tmp_path):
    (tmp_path / "class_hierarchy.txt").write_bytes(content)
    with pytest.raises(InputError, match="BREEDS"):
        Hierarchy.load(tmp_path)
