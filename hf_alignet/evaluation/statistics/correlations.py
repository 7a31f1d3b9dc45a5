"""Correlations: Spearman's, Pearson's, Kendall's.

Spearman's ρ gives equal values their mean rank. Kendall's τ is τ-a, (concordant - discordant) / all pairs of entries.
rsatoolbox recommends it for models with ties: a model gains nothing by leaving a difference undecided.

The loops are compiled, since a bootstrap computes a correlation 1,000 times (see `benchmarks/evaluation.py`).
"""

from typing import Literal, NamedTuple

import numpy as np
from numba import njit

from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.intervals import DRAWS, quantile_interval, resampled
from hf_alignet.evaluation.statistics.ranks import weighted_ranks
from hf_alignet.metric import Metric

Measure = Literal["spearman", "pearson", "kendall"]


class Correlation(NamedTuple):
    """Spearman's ρ over items, the SD of its bootstrap, and whether one side was constant, so that ρ is set to 0."""

    metric: Metric
    sd: float
    is_constant: bool


def spearman(x: np.ndarray, y: np.ndarray, seed: int = 0, draws: int = DRAWS) -> Correlation:
    """Spearman's ρ of two measures of items, with the bootstrap over items.

    Args:
        x: (m,) such as a model's entropies.
        y: (m,) such as mean log response times; items where either is NaN are left out.
        seed: Seed of the bootstrap.
        draws: Number of bootstrap samples. A sample in which one side is constant gives 0.

    Raises:
        InputError: fewer than three items are left.
    """
    is_known = ~(np.isnan(x) | np.isnan(y))
    number = int(is_known.sum())
    if number < 3:
        raise InputError(f"a correlation needs three items with both values, got {number}")
    of_x, with_y = codes(np.asarray(x)[is_known], "spearman"), CorrelationWith(np.asarray(y)[is_known], "spearman")
    if not (of_x.any() and with_y.y.any()):
        return Correlation(Metric(value=0.0, n=number, chance=0.0, ci95=[0.0, 0.0]), 0.0, True)
    found = np.nan_to_num([with_y.of(of_x, times) for times in resampled(number, seed, draws)])
    metric = Metric(value=with_y.of(of_x), n=number, chance=0.0, ci95=quantile_interval(found))
    return Correlation(metric, float(found.std(ddof=1)), False)


def codes(values: np.ndarray, measure: Measure) -> np.ndarray:
    """What a measure needs to know of a vector (n,): its values, or how many smaller values there are, int32."""
    if measure == "pearson":
        return values.astype(np.float64)
    return np.unique(values, return_inverse=True)[1].astype(np.int32)


class CorrelationWith:
    """Correlation of any vectors (n,) with `y` (n,), which stays. Entries may count several times, or not at all."""

    def __init__(self, y: np.ndarray, measure: Measure):
        self.measure = measure
        self.y = codes(y, measure)
        self.order = self.y.argsort(kind="stable") if measure == "kendall" else None

    def of(self, x: np.ndarray, weights: np.ndarray | None = None) -> float:
        """In [-1, 1]; 0 where x is constant, NaN where y is.

        Args:
            x: (n,) `codes` of the other vector.
            weights: (n,) int64, how often each entry counts; once by default.
        """
        if weights is None:
            weights = np.ones(len(x), np.int64)
        if self.measure == "kendall":
            return _weighted_kendall(x[self.order], self.y[self.order], weights[self.order])
        if self.measure == "spearman":
            return _weighted_pearson(weighted_ranks(x, weights), weighted_ranks(self.y, weights), weights)
        return _weighted_pearson(x, self.y, weights)


@njit(cache=True, nogil=True)
def ratio(xx: float, yy: float, xy: float) -> float:
    """xy / √(xx · yy), within [-1, 1]; 0 where xx is 0, NaN where yy is."""
    if yy == 0:
        return np.nan
    if xx == 0:
        return 0.0
    return min(1.0, max(-1.0, xy / np.sqrt(xx) / np.sqrt(yy)))


@njit(cache=True, nogil=True)
def _weighted_pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    total = x_sum = y_sum = 0.0
    x_low = y_low = np.inf
    x_high = y_high = -np.inf
    for i in range(len(x)):
        if weights[i]:
            total += weights[i]
            x_sum += weights[i] * x[i]
            y_sum += weights[i] * y[i]
            x_low, x_high = min(x_low, x[i]), max(x_high, x[i])
            y_low, y_high = min(y_low, y[i]), max(y_high, y[i])
    # Only the range shows a constant: the mean of equal numbers may differ from them by rounding
    if y_low >= y_high:
        return np.nan
    if x_low == x_high:
        return 0.0
    x_mean, y_mean = x_sum / total, y_sum / total
    xx = yy = xy = 0.0
    for i in range(len(x)):
        if weights[i]:
            a, b = x[i] - x_mean, y[i] - y_mean
            xx += weights[i] * a * a
            yy += weights[i] * b * b
            xy += weights[i] * a * b
    return ratio(xx, yy, xy)


@njit(cache=True, nogil=True)
def _sum_below(tree: np.ndarray, code: int) -> int:
    """Sum of the counts of all smaller codes in a Fenwick tree."""
    total = 0
    while code > 0:
        total += tree[code]
        code -= code & -code
    return total


@njit(cache=True, nogil=True)
def _weighted_kendall(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    """τ-a of codes that ascend by y. A Fenwick tree counts, by x, the entries with a smaller y."""
    tree = np.zeros(x.max() + 2, np.int64)
    difference = 0.0
    inserted = steps = start = 0
    for i in range(len(x)):
        if weights[i]:
            below, above = _sum_below(tree, x[i]), inserted - _sum_below(tree, x[i] + 1)
            difference += np.float64(weights[i]) * (below - above)
        if i + 1 == len(x) or y[i + 1] != y[i]:
            before = inserted
            for done in range(start, i + 1):
                inserted += weights[done]
                at = x[done] + 1
                while at < len(tree) and weights[done]:
                    tree[at] += weights[done]
                    at += at & -at
            steps += inserted > before
            start = i + 1
    return difference / (np.float64(inserted) * (inserted - 1) / 2) if steps > 1 else np.nan
