"""Correlations, weighted or not, against SciPy's of repeated entries."""

import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr, spearmanr

from hf_alignet.errors import InputError
from hf_alignet.evaluation import spearman
from hf_alignet.evaluation.statistics.correlations import CorrelationWith, codes, correlation_metric, influences

MEASURES = ["spearman", "pearson", "kendall"]


def draw_related(rng, number, ties):
    """Two vectors (number,) that go together, with many equal values if asked for."""
    x, y = rng.normal(size=(2, number))
    y += x
    return (x.round(), y.round()) if ties else (x, y)


def tau_a(x, y):
    """Kendall's τ-a by its definition: the mean of sign(xi - xj) sign(yi - yj) over all pairs of entries."""
    i, j = np.triu_indices(len(x), 1)
    return np.mean(np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]))


NAIVE = {"spearman": lambda x, y: spearmanr(x, y)[0], "pearson": lambda x, y: pearsonr(x, y)[0], "kendall": tau_a}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("ties", [False, True])
def test_weights_count_entries_several_times_or_not_at_all(measure, ties):
    rng = np.random.default_rng(0)
    x, y = draw_related(rng, 80, ties)
    with_y = CorrelationWith(y, measure)
    assert with_y.of(codes(x, measure)) == pytest.approx(NAIVE[measure](x, y), abs=1e-12)
    for _ in range(5):
        times = rng.integers(0, 4, 80)
        expected = NAIVE[measure](np.repeat(x, times), np.repeat(y, times))
        assert with_y.of(codes(x, measure), times) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_constant_sides(measure):
    x, y, times = np.array([0.1, 0.1, 0.7]), np.array([1.0, 2.0, 3.0]), np.array([2, 3, 0])
    assert CorrelationWith(y, measure).of(codes(x, measure), times) == 0
    assert np.isnan(CorrelationWith(x, measure).of(codes(y, measure), times))


def test_kendall_is_scipys_where_nothing_is_tied():
    rng = np.random.default_rng(2)
    x, y = rng.permutation(300), rng.permutation(300)
    assert CorrelationWith(y, "kendall").of(codes(x, "kendall")) == pytest.approx(kendalltau(x, y)[0])


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_and_its_bootstrap_are_scipys(ties):
    x, y = draw_related(np.random.default_rng(1), 60, ties)
    found = spearman(x, y, seed=3, draws=50)
    assert found.metric["value"] == pytest.approx(spearmanr(x, y).statistic)
    again, values = np.random.default_rng(3), []
    for _ in range(50):
        rows = again.integers(0, 60, 60)
        values.append(spearmanr(x[rows], y[rows]).statistic)
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    np.testing.assert_allclose(found.metric["ci95"], np.quantile(values, [0.025, 0.975]), atol=0.1)
    assert found.metric["unit"] == "triplets" and found.metric["n"] == 60 and not found.is_constant


def test_spearman_leaves_out_what_is_not_known_and_never_is_nan():
    x, y = np.array([1.0, 2.0, np.nan, 4.0, 5.0]), np.array([2.0, 1.0, 0.0, np.nan, 9.0])
    assert spearman(x, y).metric["value"] == pytest.approx(0.5) and spearman(x, y).metric["n"] == 3
    assert np.isfinite(spearman(x, y).sd) and spearman(x, y).metric["ci95"] is None  # of three items
    constant = spearman(np.ones(9), np.arange(9.0))
    assert constant.metric.pop("note") == "one side is the same for all: scored 0"
    assert constant == ({"value": 0.0, "n": 9, "chance": 0.0, "ci95": None, "unit": None}, 0.0, True)
    with pytest.raises(InputError, match="three items with both values, got 2"):
        spearman(x[:2], y[:2])


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("ties", [False, True])
def test_influence_is_what_leaving_out_an_entry_changes(measure, ties):
    """(n - 1)(r - r without i) is Tukey's jackknife of the influence, equal to it as n grows."""
    x, y = draw_related(np.random.default_rng(4), 400, ties)
    with_y, of_x = CorrelationWith(y, measure), codes(x, measure)
    found, whole = influences(of_x, with_y), with_y.of(of_x)
    left_out = [with_y.of(of_x, 1 - np.eye(400, dtype=np.int64)[i]) for i in range(400)]
    assert abs(found.mean()) < 1e-12
    np.testing.assert_allclose(found, 399 * (whole - np.array(left_out)), atol=0.1)
    assert np.corrcoef(found, left_out)[0, 1] < -0.999


@pytest.mark.parametrize("measure", MEASURES)
def test_interval_of_a_correlation_covers_the_truth(measure):
    """Pairs of 40 objects, whose distances on both sides depend on the same positions, as in RSA."""
    rng = np.random.default_rng(5)
    i, j = np.triu_indices(40, 1)
    found = []
    for _ in range(200):
        places = rng.normal(size=(40, 3))
        sides = [places + rng.normal(0, 0.8, places.shape) for _ in range(2)]
        x, y = (((side[i] - side[j]) ** 2).sum(1) for side in sides)
        metric = correlation_metric(
            codes(x, measure), CorrelationWith(y, measure), np.stack([i, j], axis=1), "objects"
        )
        found.append((metric["value"], *metric["ci95"]))
    value, low, high = np.array(found).T
    assert 0.9 < np.mean((low < value.mean()) & (value.mean() < high)) < 0.99


def test_interval_of_a_perfect_correlation_holds_it():
    for y in (np.arange(10.0), -np.arange(10.0)):
        found = spearman(np.arange(10.0), y).metric
        assert found["ci95"][0] <= found["value"] <= found["ci95"][1] and abs(found["value"]) == 1


def test_constant_sides_have_no_influence():
    x = np.arange(5.0)
    assert influences(codes(np.ones(5), "spearman"), CorrelationWith(x, "spearman")) is None
    assert influences(codes(x, "pearson"), CorrelationWith(np.ones(5), "pearson")) is None
