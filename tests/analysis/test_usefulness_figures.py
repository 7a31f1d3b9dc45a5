"""Figures of usefulness show the numbers that they are given, each beside its interval."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from hf_alignet.analysis import downstream_before_after_figure, gains_figure, severity_figure, shots_figure
from hf_alignet.errors import InputError
from hf_alignet.metric import Metric


def metric(value, half=0.05, chance=0.1):
    return Metric(value, 100, chance, None if half is None else [value - half, value + half], "images")


BASE = {
    "birds/1_shot/few_shot_accuracy": metric(0.4),
    "birds/10_shot/few_shot_accuracy": metric(0.6),
    "cars/1_shot/few_shot_accuracy": metric(0.3, half=None),
    "pacs/pacs#sketch/shift_accuracy": metric(0.2),
    "birds_r/test/recall_at_1": metric(0.5),
    "noisy/mean/corruption_accuracy": metric(0.5),
    "noisy/blur/1/corruption_accuracy": metric(0.5),
}
RESULTS = {
    "base": BASE,
    "aligned": {name: metric(value["value"] + 0.1, 0.03) for name, value in BASE.items()},
    "control": {"birds/1_shot/few_shot_accuracy": metric(0.1)},
}


@pytest.fixture(autouse=True)
def _backend_stays():
    """No figure stays open in pyplot."""
    yield
    assert plt.get_fignums() == []


def bars(axes):
    """By label, the points (k, 2) of error bars, and the ends (k, 2, 2) of their intervals, an array a direction."""
    found = {}
    for container in axes.containers:
        line, _, segments = container.lines
        ends = [np.array(part.get_segments()).reshape(-1, 2, 2) for part in segments]
        found[container.get_label()] = (np.asarray(line.get_xydata(), float), ends)
    return found


def texts_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_before_and_after_is_a_point_of_each_dataset_with_both_intervals():
    figure = downstream_before_after_figure(RESULTS)
    titles = ["few shot accuracy", "shift accuracy", "corruption accuracy"]
    assert [axes.get_title() for axes in figure.axes] == titles * 2
    assert {axes.get_ylabel() for axes in figure.axes[:3]} == {"aligned"} and figure.axes[3].get_ylabel() == "control"
    few = bars(figure.axes[0])
    assert list(few) == [name for name in BASE if "few_shot" in name]
    point, (across, up) = few["birds/1_shot/few_shot_accuracy"]
    np.testing.assert_allclose(point, [[0.4, 0.5]])
    np.testing.assert_allclose(across[0], [[0.35, 0.5], [0.45, 0.5]])
    np.testing.assert_allclose(up[0], [[0.4, 0.47], [0.4, 0.53]])
    _, (across, _) = few["cars/1_shot/few_shot_accuracy"]
    np.testing.assert_allclose(across[0, :, 0], 0.3)  # no interval
    assert list(bars(figure.axes[2])) == ["noisy/mean/corruption_accuracy"]  # the mean, not its parts
    assert list(bars(figure.axes[3])) == ["birds/1_shot/few_shot_accuracy"] and not bars(figure.axes[4])
    for axes in figure.axes:
        (line,) = [line for line in axes.lines if line.get_linestyle() == ":"]
        np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
        assert axes.get_xlim() == axes.get_ylim()
    assert texts_of(figure) == ["birds", "cars", "pacs", "noisy", "1_shot", "10_shot", "pacs#sketch", "mean"]


def test_gains_have_the_interval_of_the_difference():
    differences = {
        "aligned": {name: metric(0.1, 0.02) for name in BASE},
        "control": {"birds/1_shot/few_shot_accuracy": metric(-0.3, 0.01)},
    }
    figure = gains_figure(differences, "base")
    assert [axes.get_title() for axes in figure.axes] == [
        "few shot accuracy",
        "shift accuracy",
        "recall at 1",
        "corruption accuracy",
    ]
    few = figure.axes[0]
    labels = [label.get_text() for label in few.get_yticklabels()]
    assert labels == ["birds/1_shot", "birds/10_shot", "cars/1_shot"]
    points, (across,) = bars(few)["aligned"]
    np.testing.assert_allclose(points[:, 0], 0.1)
    np.testing.assert_array_equal(points[:, 1].round(), [0, 1, 2])  # beside their labels
    np.testing.assert_allclose(across[:, :, 0], [[0.08, 0.12]] * 3)
    points, (across,) = bars(few)["control"]
    assert len(points) == 1 and across[0, :, 0] == pytest.approx([-0.31, -0.29])
    assert few.get_ylim()[0] > few.get_ylim()[1]  # the first at the top
    assert figure.axes[-1].get_xlabel() == "difference to base" and texts_of(figure) == ["aligned", "control"]


def test_accuracy_by_shots():
    shuffled = {model: dict(reversed(metrics.items())) for model, metrics in RESULTS.items()}
    figure = shots_figure(shuffled)
    shown = {axes.get_title(): axes for axes in figure.axes}
    assert set(shown) == {"birds", "cars"}
    birds = shown["birds"]
    points, (up,) = bars(birds)["base"]
    np.testing.assert_allclose(points, [[1, 0.4], [10, 0.6]], rtol=0.1)
    np.testing.assert_allclose(up[:, :, 1], [[0.35, 0.45], [0.55, 0.65]])
    assert len({bars(birds)[model][0][0, 0] for model in RESULTS}) == 3  # beside each other
    assert birds.get_xscale() == "log"
    assert [label.get_text() for label in birds.get_xticklabels()] == ["1", "10"]
    (chance,) = [line for line in birds.lines if line.get_label() == "chance"]
    assert set(chance.get_ydata()) == {0.1}


def test_severity_curves_begin_at_the_clean_picture():
    of = {f"x/{kind}/{severity}/corruption_accuracy": 0.8 - severity / 10 for kind in "ab" for severity in (1, 2)}
    of |= {f"x/severity_{severity}/corruption_accuracy": 0.7 - severity / 10 for severity in (1, 2)}
    of |= {"x/clean/corruption_accuracy": 0.9, "x/mean/corruption_accuracy": 0.6, "x/mean/kept_accuracy": 0.7}
    results = {
        model: {name: metric(value - less) for name, value in of.items()} for model, less in (("p", 0), ("q", 0.1))
    }
    figure = severity_figure(results)
    shown = {axes.get_title(): axes for axes in figure.axes}
    assert set(shown) == {"mean", "a", "b"}
    for title, values in (("a", [0.9, 0.7, 0.6]), ("mean", [0.9, 0.6, 0.5])):
        for model, less in (("p", 0), ("q", 0.1)):
            points, (up,) = bars(shown[title])[model]
            np.testing.assert_allclose(points[:, 1], np.array(values) - less)
            np.testing.assert_array_equal(points[:, 0].round(), [0, 1, 2])
            np.testing.assert_allclose(up[:, :, 1] - points[:, [1]], [[-0.05, 0.05]] * 3)
    assert set(texts_of(figure)) == {"p", "q", "chance"}


@pytest.mark.parametrize(
    "draw",
    [
        lambda: downstream_before_after_figure({"base": BASE}),
        lambda: downstream_before_after_figure({"base": BASE, "other": {"birds_r/test/recall_at_1": metric(0.5)}}),
        lambda: gains_figure({}, "base"),
        lambda: shots_figure({"base": {"birds/all/probe_accuracy": metric(0.5)}}),
        lambda: severity_figure({"base": {"birds/all/probe_accuracy": metric(0.5)}}),
    ],
)
def test_nothing_to_draw(draw):
    with pytest.raises(InputError):
        draw()


def test_names_are_no_formulas(tmp_path):
    results = {"$a$": {"$b/1_shot/x_accuracy": metric(0.5)}, "c_$": {"$b/1_shot/x_accuracy": metric(0.6)}}
    for figure in (
        downstream_before_after_figure(results),
        gains_figure({"c_$": results["c_$"]}, "$a$"),
        shots_figure(results),
    ):
        figure.savefig(tmp_path / "figure.svg")
        assert not any(text.get_parse_math() for text in figure.findobj(Text) if "$" in text.get_text())
