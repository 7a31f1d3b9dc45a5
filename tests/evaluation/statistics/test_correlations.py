"""Correlations, weighted or not, against SciPy's of repeated entries."""

import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr, spearmanr

from hf_alignet.errors import InputError
from hf_alignet.evaluation import spearman
from hf_alignet.evaluation.statistics.correlations import CorrelationWith, codes

MEASURES = ["spearman", "pearson", "kendall"]


def tau_a(x, y):
    """Kendall's τ-a by its definition: the mean of sign(xi - xj) sign(yi - yj) over all pairs of entries."""
    i, j = np.triu_indices(len(x), 1)
    return np.mean(np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]))


NAIVE = {"spearman": lambda x, y: spearmanr(x, y)[0], "pearson": lambda x, y: pearsonr(x, y)[0], "kendall": tau_a}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("ties", [False, True])
def test_weights_count_entries_several_times_or_not_at_all(measure, ties):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 80))
    y += x
    if ties:
        x, y = x.round(), y.round()
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
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 60))
    y += x
    if ties:
        x, y = x.round(), y.round()
    found = spearman(x, y, seed=3, draws=50)
    assert found.metric["value"] == pytest.approx(spearmanr(x, y).statistic)
    again, values = np.random.default_rng(3), []
    for _ in range(50):
        rows = again.integers(0, 60, 60)
        values.append(spearmanr(x[rows], y[rows]).statistic)
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    np.testing.assert_allclose(found.metric["ci95"], np.quantile(values, [0.025, 0.975]))
    assert found.metric["n"] == 60 and not found.is_constant


def test_spearman_leaves_out_what_is_not_known_and_never_is_nan():
    x, y = np.array([1.0, 2.0, np.nan, 4.0, 5.0]), np.array([2.0, 1.0, 0.0, np.nan, 9.0])
    assert spearman(x, y).metric["value"] == pytest.approx(0.5) and spearman(x, y).metric["n"] == 3
    assert np.isfinite(spearman(x, y).metric["ci95"]).all()  # also where a draw is constant
    constant = spearman(np.ones(9), np.arange(9.0))
    assert constant == ({"value": 0.0, "n": 9, "chance": 0.0, "ci95": [0.0, 0.0]}, 0.0, True)
    with pytest.raises(InputError, match="three items with both values, got 2"):
        spearman(x[:2], y[:2])
