"""Correlations of two long vectors of similarities: Spearman's, Pearson's, Kendall's.

Spearman's ρ gives ties the mean of their ranks. Kendall's τ is τ-a, (concordant - discordant) / all pairs of entries,
as rsatoolbox recommends for models with ties: a model that leaves a difference undecided gains nothing by it. Values
are compared in float32, as they come.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
from numba import njit

Measure = Literal["spearman", "pearson", "kendall"]
Blocks = Iterable[tuple[np.ndarray, np.ndarray]]

MOST_BINS = 1 << 24  # of a table of positions: 67 MB


class Ordered(NamedTuple):
    """A sorted vector, and a table of where its values are."""

    values: np.ndarray  # (n,) float32, ascending
    starts: np.ndarray  # (bins + 1,) int32: the first position of a value in each of equal bins of the range
    scale: float  # bins a unit


def order(values: np.ndarray) -> Ordered:
    """Sorts a float32 vector of fewer than 2^31 values in place."""
    values.sort()
    bins = min(max(1, len(values) // 4), MOST_BINS)
    span = float(values[-1]) - float(values[0])
    scale = bins / span if span > 0 else 0.0
    return Ordered(values, _starts(values, bins, scale), scale)


def spearman_sums(x: np.ndarray, y: np.ndarray, of_x: Ordered, of_y: Ordered) -> np.ndarray:
    """(3,) sums of xx, yy and xy of twice the centred ranks of some entries among all."""
    # Looked up in ascending order, most positions are next to the last one
    a, b = (_doubled_ranks(block, block.argsort(), *of).astype(np.float64) for block, of in ((x, of_x), (y, of_y)))
    return np.array([a @ a, b @ b, a @ b])


def pearson(blocks: Blocks) -> float:
    """Pearson's r of vectors that come in blocks, which are gone through twice."""
    n, totals = 0, np.zeros(2)
    for x, y in blocks:
        n += len(x)
        totals += x.sum(dtype=np.float64), y.sum(dtype=np.float64)
    means, sums = totals / n, np.zeros(3)
    for x, y in blocks:
        a, b = x - means[0], y - means[1]
        sums += a @ a, b @ b, a @ b
    return from_sums(sums)


def from_sums(sums: np.ndarray) -> float:
    """xy / √(xx · yy), where neither xx nor yy is 0."""
    return float(np.clip(sums[2] / np.sqrt(sums[0]) / np.sqrt(sums[1]), -1, 1))


def codes(values: np.ndarray, measure: Measure) -> np.ndarray:
    """What a measure needs to know of a vector (n,): its values, or how many smaller values there are, int32."""
    if measure == "pearson":
        return values.astype(np.float64)
    return np.unique(values, return_inverse=True)[1].astype(np.int32)


class AgainstJudged:
    """Correlation of any vectors with one that stays, over entries that may count several times, or not at all.

    Args:
        y: (n,) that stays.
        measure: `spearman`, `pearson` or `kendall`.
    """

    def __init__(self, y: np.ndarray, measure: Measure):
        self.measure = measure
        self.y = codes(y, measure)
        self.order = self.y.argsort(kind="stable") if measure == "kendall" else None

    def correlate(self, x: np.ndarray, weights: np.ndarray | None = None) -> float:
        """The correlation of a vector.

        Args:
            x: (n,) `codes` of it, of all values that it takes or of more.
            weights: (n,) int64, how often each entry counts; once by default.

        Returns:
            In [-1, 1]; 0 where x is constant, NaN where y is.
        """
        if weights is None:
            weights = np.ones(len(x), np.int64)
        if self.measure == "pearson":
            return _weighted_pearson(x, self.y, weights)
        sizes = [int(vector.max(initial=0)) + 1 for vector in (x, self.y)]
        if self.measure == "spearman":
            return _weighted_spearman(x, self.y, weights, *(np.zeros(size, np.int64) for size in sizes))
        tree = np.zeros(sizes[0] + 1, np.int64)
        return _weighted_kendall(x[self.order], self.y[self.order], weights[self.order], tree)


@njit(cache=True, nogil=True)
def _bin(value: float, low: float, scale: float, bins: int) -> int:
    # The same arithmetic for all, so that it never falls as values grow
    return min(bins - 1, max(0, int((np.float64(value) - low) * scale)))


@njit(cache=True, nogil=True)
def _starts(values: np.ndarray, bins: int, scale: float) -> np.ndarray:
    starts = np.empty(bins + 1, np.int32)
    done, low = 0, np.float64(values[0])
    for position in range(len(values)):
        at = _bin(values[position], low, scale, bins)
        while done <= at:
            starts[done] = position
            done += 1
    starts[done:] = len(values)
    return starts


@njit(cache=True, nogil=True)
def _first(values: np.ndarray, low: int, high: int, value: float, is_above: bool) -> int:
    """The first position from `low` to `high` whose value is not below `value`, or, if `is_above`, is above it."""
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value or (is_above and values[middle] == value):
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _doubled_ranks(
    block: np.ndarray, ascending: np.ndarray, values: np.ndarray, starts: np.ndarray, scale: float
) -> np.ndarray:
    """Entries below plus entries not above, minus all: twice the mean rank of equal entries, centred."""
    ranks = np.empty(len(block), np.int32)
    origin, bins = np.float64(values[0]), len(starts) - 1
    last, rank, end = np.float32(np.nan), 0, 0
    for i in ascending:
        if block[i] != last:
            last = block[i]
            at = _bin(last, origin, scale, bins)
            below, high = max(end, starts[at]), starts[at + 1]
            if below < high and values[below] < last:
                below = _first(values, below + 1, high, last, False)
            end = below
            if below < high and values[below] <= last:
                end = below + 1
                # Similarities are seldom equal, so that the end of the equal ones is mostly the next entry
                if end < high and values[end] <= last:
                    end = _first(values, end + 1, high, last, True)
            rank = below + end - len(values)
        ranks[i] = rank
    return ranks


@njit(cache=True, nogil=True)
def _ranks_of_codes(counts: np.ndarray, total: int) -> None:
    """Counts of each code to twice the centred mean rank of its entries, in place."""
    below = 0
    for code in range(len(counts)):
        count = counts[code]
        counts[code] = 2 * below + count - total
        below += count


@njit(cache=True, nogil=True)
def _ratio(xx: float, yy: float, xy: float) -> float:
    if yy == 0:
        return np.nan
    if xx == 0:
        return 0.0
    return min(1.0, max(-1.0, xy / np.sqrt(xx) / np.sqrt(yy)))


@njit(cache=True, nogil=True)
def _weighted_spearman(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, x_counts: np.ndarray, y_counts: np.ndarray
) -> float:
    total = 0
    for i in range(len(x)):
        if weights[i]:
            x_counts[x[i]] += weights[i]
            y_counts[y[i]] += weights[i]
            total += weights[i]
    _ranks_of_codes(x_counts, total)
    _ranks_of_codes(y_counts, total)
    xx = yy = xy = 0.0
    for i in range(len(x)):
        if weights[i]:
            a, b, weight = np.float64(x_counts[x[i]]), np.float64(y_counts[y[i]]), np.float64(weights[i])
            xx += weight * a * a
            yy += weight * b * b
            xy += weight * a * b
    return _ratio(xx, yy, xy)


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
    if y_low >= y_high:  # told by the range: the mean of equal numbers may be off by rounding
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
    return _ratio(xx, yy, xy)


@njit(cache=True, nogil=True)
def _sum_below(tree: np.ndarray, code: int) -> int:
    """Of the counts of all smaller codes, in a Fenwick tree."""
    total = 0
    while code > 0:
        total += tree[code]
        code -= code & -code
    return total


@njit(cache=True, nogil=True)
def _weighted_kendall(x: np.ndarray, y: np.ndarray, weights: np.ndarray, tree: np.ndarray) -> float:
    """Entries ascend by y; the tree counts, by x, those with a smaller y."""
    difference = 0.0
    inserted = start = steps = 0
    n = len(x)
    while start < n:
        stop, before = start, inserted
        while stop < n and y[stop] == y[start]:
            if weights[stop]:
                below = _sum_below(tree, x[stop])
                above = inserted - _sum_below(tree, x[stop] + 1)
                difference += np.float64(weights[stop]) * (below - above)
            stop += 1
        for i in range(start, stop):
            if weights[i]:
                inserted += weights[i]
                at = x[i] + 1
                while at < len(tree):
                    tree[at] += weights[i]
                    at += at & -at
        steps += inserted > before
        start = stop
    if steps < 2:
        return np.nan
    return difference / (np.float64(inserted) * (inserted - 1) / 2)
