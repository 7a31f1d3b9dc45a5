"""Figures show the numbers that they are given: axes, artists and data, not colours of a picture."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox
from matplotlib.text import Text
from PIL import Image
from sklearn.decomposition import PCA

from hf_alignet.analysis import (
    before_after_figure,
    benchmark_figure,
    calibration_figure,
    curves_figure,
    elbow_figure,
    trade_off_figure,
)
from hf_alignet.analysis.neighbours import most_moved, picture_labels

METRIC = {"value": 0.5, "n": 9, "chance": 1 / 3, "ci95": [0.4, 0.6], "unit": "objects"}


def line(axes, label: str) -> np.ndarray:
    """(k, 2) points of the line with a label."""
    (found,) = [line for line in axes.lines if line.get_label() == label]
    return np.asarray(found.get_xydata())


def heights(axes, label: str) -> list[float]:
    (bars,) = [bars for bars in axes.containers if bars.get_label() == label and hasattr(bars, "errorbar")]
    return [bar.get_height() for bar in bars]


def legend(place) -> list[str]:
    return [text.get_text() for text in place.get_texts()]


@pytest.fixture(autouse=True)
def _backend_stays():
    """No figure switches the backend of a notebook, or stays open in pyplot."""
    before = plt.get_backend()
    yield
    assert plt.get_backend() == before and plt.get_fignums() == []


BASE = {"demo/coarse/odd_one_out_accuracy": METRIC, "demo/fine_new/odd_one_out_accuracy": METRIC | {"value": 0.45}}
ALIGNED = {name: metric | {"value": 0.55} for name, metric in BASE.items()}
EMBEDDINGS = np.random.default_rng(0).normal(size=(2, 12, 4))


def pictures(**columns) -> Dataset:
    return Dataset.from_dict({"image": [Image.new("RGB", (8, 8), "magenta")] * 12, **columns})


def boxes(axes) -> list[AnnotationBbox]:
    return [artist for artist in axes.artists if isinstance(artist, AnnotationBbox)]


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("show_pictures", [True, False])
def test_pictures_are_shown_only_if_they_may_be(show_pictures):
    figure = before_after_figure(BASE, ALIGNED, pictures(), np.arange(12), *EMBEDDINGS, show_pictures=show_pictures)
    before, after, bars, moved = (axes for axes in figure.axes if axes.get_label() != "<colorbar>")
    assert (before.get_title(), after.get_title()) == ("before alignment", "after alignment")
    for axes, vectors in ((before, EMBEDDINGS[0]), (after, EMBEDDINGS[1])):
        places = PCA(2, random_state=0).fit_transform(vectors)
        if show_pictures:
            np.testing.assert_allclose([box.xy for box in boxes(axes)], places)
            assert all((box.offsetbox.get_data() == [255, 0, 255]).all() for box in boxes(axes))
            assert not axes.collections and not figure.legends
        else:
            assert boxes(axes) == []
            np.testing.assert_allclose(axes.collections[0].get_offsets(), places)
    assert len(boxes(moved)) == (6 * 7 if show_pictures else 0)
    assert heights(bars, "before") == [0.5, 0.45] and heights(bars, "after") == [0.55, 0.55]
    assert [label.get_text() for label in bars.get_xticklabels()] == ["coarse", "fine\nnew"]
    np.testing.assert_allclose(line(bars, "chance")[:, 1], 1 / 3)


def test_colours_of_classes_are_named():
    names = ["cat", "a dog with a name that is much too long", "cow"]
    images = pictures(label=np.arange(12) % 3).cast_column("label", ClassLabel(names=names))
    figure = before_after_figure(BASE, ALIGNED, images, np.arange(12), *EMBEDDINGS, show_pictures=False)
    (shown,) = figure.legends
    assert legend(shown) == ["a dog with a name that …", "cat", "cow"] and shown.get_title().get_text() == "label"
    for axes, vectors in zip(figure.axes[:2], EMBEDDINGS, strict=True):
        cats = next(dots for dots in axes.collections if dots.get_label() == "cat")
        np.testing.assert_allclose(cats.get_offsets(), PCA(2, random_state=0).fit_transform(vectors)[::3])


def test_colours_without_classes_are_explained():
    images = pictures(concept=[f"thing {row}" for row in range(12)])  # more than there are colours
    figure = before_after_figure(BASE, ALIGNED, images, np.arange(12), *EMBEDDINGS, show_pictures=False)
    bar = next(axes for axes in figure.axes if axes.get_label() == "<colorbar>")
    assert bar.get_ylabel() == "colour: place on the 1st component before alignment"
    assert "thing " in "".join(texts(figure.axes[-1]) + texts(figure.axes[-2]))


def test_what_moved_is_listed_by_label_or_row_and_never_by_file():
    base = np.eye(8)[[0, 0, 1, 1, 2, 2, 3, 3]] + np.eye(8) / 100
    aligned = base.copy()
    aligned[0] = base[7] + np.eye(8)[1] / 50  # only the first moves: from its twin to the last pair
    names = ["apple", "apple two", "bus", "bus two", "cat", "cat two", "dog", "dog two"]
    for columns, expected in (
        ({"concept": names}, ["apple", "apple two", "dog two"]),
        ({"filename": [f"{name}.png" for name in names]}, ["row 0", "row 1", "row 7"]),
    ):
        images = Dataset.from_dict({"image": [Image.new("RGB", (8, 8))] * 8, **columns})
        figure = before_after_figure(BASE, ALIGNED, images, np.arange(8), base, aligned, show_pictures=False)
        said = next(texts(axes) for axes in figure.axes if texts(axes))
        assert said[:3] == ["picture", "nearest before", "nearest after"]
        picture, before, after = said[3:6]
        assert [picture, before.split("\n")[0], after.split("\n")[0]] == expected


def test_most_moved_follows_a_naive_search():
    base, aligned = np.random.default_rng(1).normal(size=(2, 9, 5))
    moved = most_moved(base, aligned, number=4)

    def order(vectors, row):
        cosine = [np.dot(vectors[row], v) / np.linalg.norm(vectors[row]) / np.linalg.norm(v) for v in vectors]
        return sorted((other for other in range(9) if other != row), key=lambda other: -cosine[other])

    way = []
    for row in range(9):
        orders = [order(base, row), order(aligned, row)]
        way.append(sum(orders[1].index(i) for i in orders[0][:3]) + sum(orders[0].index(i) for i in orders[1][:3]))
    assert sorted(np.array(way)[moved.pictures], reverse=True) == sorted(way, reverse=True)[:4]
    for row, before, after in zip(moved.pictures, moved.before, moved.after, strict=True):
        assert (before.tolist(), after.tolist()) == (order(base, row)[:3], order(aligned, row)[:3])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, (None, ["row 0", "row 2"])),
        ({"label": [7, 7, 3]}, ("label", ["class 7", "class 3"])),
        ({"label": [None, 7, 3], "concept": ["a", "b", "c"]}, ("concept", ["a", "c"])),
        ({"filename": ["a", "b", "c"]}, (None, ["row 0", "row 2"])),
    ],
)
def test_labels_of_pictures(columns, expected):
    images = Dataset.from_dict({"image": [Image.new("RGB", (8, 8))] * 3, **columns})
    assert picture_labels(images, np.array([0, 2])) == expected
    few = images.select([0, 1, 2])
    assert picture_labels(few, np.array([2, 0]))[1] == expected[1][::-1]


def test_curves_of_several_runs(tmp_path):
    x = np.arange(5.0)
    runs = [np.stack([x, x**2 + shift], 1) for shift in (0, 1)]
    figure = curves_figure({"one": runs, "two": runs[:1]}, "images", "agreement", base=0.5)
    (axes,) = figure.axes
    np.testing.assert_array_equal(line(axes, "one"), np.stack([x, x**2 + 0.5], 1))  # the mean
    np.testing.assert_array_equal(line(axes, "two"), runs[0])
    assert len(axes.collections[0].get_offsets()) == 10  # a dot for every run
    assert line(axes, "before training")[0, 1] == 0.5
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("images", "agreement")
    figure.savefig(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG" and picture.size[0] >= 600


def test_more_runs_than_colours():
    ends = {f"run {i}": np.array([i / 20, 0.4]) for i in range(12)}
    (axes,) = trade_off_figure(ends, (0.5, 0.3), "accuracy", "agreement").axes
    places = {dots.get_label(): dots.get_offsets()[0].tolist() for dots in axes.collections}
    assert places == {name: end.tolist() for name, end in ends.items()} | {"before training": [0.5, 0.3]}
    looks = {(tuple(dots.get_facecolor()[0]), dots.get_paths()[0].vertices.tobytes()) for dots in axes.collections}
    assert len(looks) == 13  # no two runs look the same


def test_calibration():
    table = pd.DataFrame({"predicted": [0.1, 0.5, 0.9], "observed": [0.2, 0.4, 0.8], "n": [9, 9, 6]})
    half = table.assign(predicted=table.predicted / 2)
    (axes,) = calibration_figure({"base": table, "aligned": half}).axes
    for name, shown in (("base", table), ("aligned", half)):
        points = line(axes, f"{name} (3 bins of 9 judged pairs)")
        np.testing.assert_array_equal(points, shown[["predicted", "observed"]].to_numpy())
    np.testing.assert_allclose(axes.collections[0].get_sizes(), [40, 40, 40 * 6 / 9])
    assert axes.get_xlim() == axes.get_ylim() == (0, 1)


def test_elbow():
    curve = pd.DataFrame({"num_clusters": [2, 4, 8], "inertia": [9.0, 4.0, 3.5]})
    (axes,) = elbow_figure(curve, 4).axes
    np.testing.assert_array_equal(line(axes, "k-means"), curve.to_numpy())
    assert line(axes, "elbow: 4")[0, 0] == 4


@pytest.mark.parametrize("name", ["$5 and $6", r"a$\frac{$", "$$", r"$\undefined$"])
def test_names_are_no_formulas(name, tmp_path):
    table = pd.DataFrame({"predicted": [0.1], "observed": [0.2], "n": [3]})
    figures = [
        benchmark_figure({name: {f"{name}/{name}/odd_one_out_accuracy": METRIC}}, {}),
        curves_figure({name: [np.ones((2, 2))]}, name, name),
        trade_off_figure({name: np.ones(2)}, (0, 0), name, name),
        calibration_figure({name: table}),
    ]
    for figure in figures:
        figure.savefig(tmp_path / "figure.svg")
        texts = [text for text in figure.findobj(Text) if name in text.get_text()]
        assert texts and not any(text.get_parse_math() for text in texts)


@pytest.mark.filterwarnings("error")
def test_models_beside_chance_and_people():
    accuracies = {f"levels/{level}/odd_one_out_accuracy": METRIC for level in ("coarse", "fine")}
    more = {"levels/all/response_time_spearman": METRIC | {"value": -0.2, "ci95": [-0.3, 0.1], "chance": 0.0}}
    name = "a/very/long/path/to/a/model/that/is/called/like/another/one"
    people = {accuracy: METRIC | {"value": 0.7} for accuracy in accuracies}
    figure = benchmark_figure({"one": accuracies | more, name: accuracies}, people)
    assert isinstance(figure, Figure)
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == (
        "odd one out accuracy\n95 % intervals over objects",
        "response time spearman\n95 % intervals over objects",
    )
    assert heights(first, "one") == heights(first, name) == [0.5, 0.5] and heights(second, "one") == [-0.2]
    assert [label.get_text() for label in first.get_xticklabels()] == ["coarse", "fine"]
    np.testing.assert_allclose(line(first, "chance")[:, 1], 1 / 3)
    np.testing.assert_allclose(line(first, "people")[:, 1], 0.7)
    np.testing.assert_allclose(line(second, "chance")[:, 1], 0)
    errors = next(bars for bars in second.containers if bars.get_label() == "one").errorbar.lines[2][0]
    np.testing.assert_allclose(errors.get_segments()[0][:, 1], [-0.3, 0.1])
    (shown,) = figure.legends
    assert set(legend(shown)) == {"one", name, "chance", "people"}

    error = {"x/test/expected_calibration_error": METRIC | {"chance": None, "ci95": None, "unit": None}}
    (lower,) = benchmark_figure({"one": error}, {}).axes  # neither chance nor interval
    assert lower.get_title() == "expected calibration error, lower is better"
    assert "chance" not in {shown.get_label() for shown in lower.lines}
    (alone,) = benchmark_figure({"one": {"rdm48/rsa_spearman": METRIC}}, {}).axes
    assert heights(alone, "one") == [0.5]
