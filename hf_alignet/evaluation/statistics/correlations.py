"""Correlations: Spearman's, Pearson's, Kendall's.

Spearman's ρ gives equal values their mean rank. Kendall's τ is τ-a, (concordant - discordant) / all pairs of entries.
rsatoolbox recommends it for models with ties: a model gains nothing by leaving a difference undecided.

The interval of a correlation is over the objects that its entries have in common, or over the entries. It comes from
the influence of each entry (`influences`), without resampling, on Fisher's scale, where it is as wide up as down.

The loops are compiled, since a bootstrap computes a correlation 1,000 times (see `benchmarks/evaluation.py`).
"""

import math
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numba import njit

from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.intervals import DRAWS, resampled, with_interval
from hf_alignet.evaluation.statistics.ranks import codes_of, weighted_ranks
from hf_alignet.evaluation.statistics.spread import Influence
from hf_alignet.metric import Metric
from hf_alignet.ranges import Range, Seed, checked

Measure = Literal["spearman", "pearson", "kendall"]


class Correlation(NamedTuple):
    """Spearman's ρ over items, the SD of its bootstrap, and whether one side was constant, so that ρ is set to 0."""

    metric: Metric
    sd: float
    is_constant: bool


@checked
def spearman(
    x: np.ndarray,
    y: np.ndarray,
    seed: Seed = 0,
    draws: Annotated[int, Range(2)] = DRAWS,
    triplets: np.ndarray | None = None,
) -> Correlation:
    """Spearman's ρ of two measures of items, such as triplets, with the bootstrap over items.

    Args:
        x: (m,) such as a model's entropies.
        y: (m,) such as mean log response times; items where either is NaN are left out.
        seed: Seed of the bootstrap.
        draws: Number of bootstrap samples. A sample in which one side is constant gives 0.
        triplets: (m, 3) rows of the objects of items, for the interval over objects. Without them it is over items.

    Raises:
        InputError: fewer than three items are left.
    """
    is_known = ~(np.isnan(x) | np.isnan(y))
    number = int(is_known.sum())
    if number < 3:
        raise InputError(f"a correlation needs three items with both values, got {number}")
    with_y = CorrelationWith(np.asarray(y)[is_known], "spearman")
    of_x = codes(np.asarray(x)[is_known], "spearman")
    members = np.arange(number)[:, None] if triplets is None else np.asarray(triplets)[is_known]
    metric = correlation_metric(of_x, with_y, members, "triplets" if triplets is None else "objects")
    if not (of_x.any() and with_y.y.any()):
        return Correlation(metric, 0.0, True)
    found = np.nan_to_num([with_y.of(of_x, times) for times in resampled(number, seed, draws)])
    return Correlation(metric, float(found.std(ddof=1)), False)


def correlation_metric(
    x: np.ndarray, with_y: "CorrelationWith", members: np.ndarray, unit: str, value: float | None = None, **more: Any
) -> Metric:
    """A correlation of entries (m,), `codes` of x with `with_y`, with its interval over the units in common.

    Args:
        x: (m,) codes of one side.
        with_y: the other side.
        members: (m, k) rows of the units of each entry.
        unit: what they are.
        value: of more entries than these, if known.
        more: other keys of the metric.

    Returns:
        A metric of value 0 without interval, and with a note, if one side is constant.
    """
    facts = {"n": len(x), "chance": 0.0} | more
    values = influences(x, with_y)
    if values is None:
        return Metric(0.0, **facts, note="one side is the same for all: scored 0")
    value = with_y.of(x) if value is None else value
    influence = Influence(values / len(x), np.ones(len(x)), members, unit)
    error = influence.error()
    # On Fisher's scale, where a correlation near 1 varies as much as one near 0
    centre = math.atanh(min(max(value, -1 + 1e-12), 1 - 1e-12))
    half = error.quantile * error.value / (1 - math.tanh(centre) ** 2)
    ci95 = [min(math.tanh(centre - half), value), max(math.tanh(centre + half), value)]
    return with_interval(value, ci95, error.units, unit, **facts, spread=influence)


def codes(values: np.ndarray, measure: Measure) -> np.ndarray:
    """What a measure needs to know of a vector (n,): its values, or how many smaller values there are, int32."""
    return values.astype(np.float64) if measure == "pearson" else codes_of(values)


def influences(x: np.ndarray, with_y: "CorrelationWith") -> np.ndarray | None:
    """How much each entry moves the correlation, (n,), mean 0: its influence function (Hampel 1974).

    Of Spearman's ρ also through the ranks of the other entries, with equal values at their mean rank. None if one
    side is constant.

    Args:
        x: (n,) `codes` of the other vector.
        with_y: the correlation.
    """
    if x.min() == x.max() or with_y.y.min() == with_y.y.max():
        return None
    if with_y.measure == "kendall":
        assert with_y.order is not None
        agreements = np.empty(len(x))
        agreements[with_y.order] = _agreements(x[with_y.order], with_y.y[with_y.order]) / (len(x) - 1)
        return 2 * (agreements - agreements.mean())
    is_ranked = with_y.measure == "spearman"
    once = np.ones(len(x), np.int64)
    sides = [weighted_ranks(side, once) / (2 * len(x)) if is_ranked else side - side.mean() for side in (x, with_y.y)]
    a, b = sides
    products = {"ab": a * b, "aa": a * a, "bb": b * b}
    moments = {name: float(product.mean()) for name, product in products.items()}
    if is_ranked:
        products["ab"] += _through_ranks(x, b) + _through_ranks(with_y.y, a)
        products["aa"] += 2 * _through_ranks(x, a)
        products["bb"] += 2 * _through_ranks(with_y.y, b)
    scale = math.sqrt(moments["aa"] * moments["bb"])
    centred = {name: product - product.mean() for name, product in products.items()}
    slopes = centred["aa"] / moments["aa"] + centred["bb"] / moments["bb"]
    return (centred["ab"] - moments["ab"] / 2 * slopes) / scale


def _through_ranks(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n,) for each entry the mean over all entries of [it is smaller] · values; of equal ones a half."""
    sums = np.bincount(codes, values)
    return ((sums.sum() - np.cumsum(sums) + sums / 2) / len(codes))[codes]


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


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def sum_of_products(matrix: np.ndarray, values: np.ndarray, objects: np.ndarray) -> float:
    """Of the pairs of `objects` (n,) in a matrix (n, n), and values (n (n - 1) / 2,) of pairs, row by row."""
    total, start = matrix.dtype.type(0), 0
    for i in range(len(objects)):
        row, rest = matrix[objects[i]], len(objects) - i - 1
        for k in range(rest):
            total += row[objects[i + 1 + k]] * values[start + k]
        start += rest
    return total


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
def _agreements(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n,) concordant less discordant pairs that each entry is in, of codes that ascend by y."""
    tree = np.zeros(x.max() + 2, np.int64)
    below_all = np.zeros(x.max() + 2, np.int64)
    for code in x:
        below_all[code + 1] += 1
    below_all = np.cumsum(below_all)
    number, inserted, start = len(x), 0, 0
    found = np.zeros(number)
    for i in range(number):
        if i + 1 == number or y[i + 1] != y[i]:
            for j in range(start, i + 1):  # with a smaller y
                found[j] += _sum_below(tree, x[j]) - (inserted - _sum_below(tree, x[j] + 1))
            for j in range(start, i + 1):
                inserted += 1
                at = x[j] + 1
                while at < len(tree):
                    tree[at] += 1
                    at += at & -at
            for j in range(start, i + 1):  # with a larger y: those that are not in the tree yet
                below = below_all[x[j]] - _sum_below(tree, x[j])
                above = (number - below_all[x[j] + 1]) - (inserted - _sum_below(tree, x[j] + 1))
                found[j] += above - below
            start = i + 1
    return found


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
