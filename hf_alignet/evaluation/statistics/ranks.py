"""Ranks, with the mean rank for equal values. Values that differ by rounding alone are equal.

All ranks here are doubled and centred: the number of entries below, plus the number of entries not above, minus the
number of all entries. These are whole numbers, so that sums of a few 100,000 products of them are exact.
"""

import numpy as np
from numba import njit

# Differences as a share of the value that float32 arithmetic makes
ROUNDING = 32 * float(np.finfo(np.float32).eps)


def codes_of(values: np.ndarray) -> np.ndarray:
    """(m,) int32, how many smaller values there are among the distinct values (m,)."""
    distinct, inverse = np.unique(values, return_inverse=True)
    joined = distinct.astype(np.float64)
    join_equal(joined)
    return np.unique(joined, return_inverse=True)[1].astype(np.int32)[inverse]


@njit(cache=True, nogil=True)
def join_equal(ascending: np.ndarray) -> None:
    """Gives values (n,) that ascend the value of the first one from which they differ by rounding alone, in place.

    What is joined is never wider than rounding, however many values lie close together.
    """
    first = ascending[0]
    for i in range(1, len(ascending)):
        if ascending[i] - first <= ROUNDING * max(abs(ascending[i]), abs(first)):
            ascending[i] = first
        else:
            first = ascending[i]


def ranks_among(block: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """(m,) float64 ranks of the values `block` (m,) among all values (n,), which contained them and ascend.

    Equal values among all of them are joined (`join_equal`). The ranks of all values may not fit into memory.
    """
    return _ranks_among(block, block.argsort(), ascending)


def weighted_ranks(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) float64 ranks of entries that count `weights` (m,) int64 times; 0 for an entry that does not count.

    `codes` (m,) are whole numbers from 0 in the order of the values.
    """
    # NumPy gets large arrays from the system several times faster than compiled code does
    ranks, counts = np.zeros(len(codes)), np.zeros(int(codes.max()) + 1, np.int64)
    _fill_ranks(ranks, counts, codes, weights)
    return ranks


@njit(cache=True, nogil=True)
def _fill_ranks(ranks: np.ndarray, counts: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> None:
    for i in range(len(codes)):
        if weights[i]:
            counts[codes[i]] += weights[i]
    below, total = 0, counts.sum()
    for code in range(len(counts)):
        count = counts[code]
        counts[code] = 2 * below + count - total
        below += count
    for i in range(len(codes)):
        if weights[i]:
            ranks[i] = counts[codes[i]]


@njit(cache=True, nogil=True)
def _ranks_among(block: np.ndarray, order: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(block))
    below = not_above = 0
    for i in order:
        # In ascending order, each search starts where the last one ended
        end = _first(ascending, not_above, block[i], True)
        if end > not_above:
            below = _first(ascending, not_above, ascending[end - 1], False)
            not_above = end
        ranks[i] = below + not_above - len(ascending)
    return ranks


@njit(cache=True, nogil=True)
def _first(ascending: np.ndarray, start: int, value: float, is_above: bool) -> int:
    """The first position from `start` whose value is not below `value`, or, if `is_above`, is above it.

    The steps double until they pass the value, because the position is mostly near.
    """
    stop, step = start, 1
    while stop < len(ascending) and (ascending[stop] < value or (is_above and ascending[stop] == value)):
        start, stop, step = stop + 1, stop + step, 2 * step
    stop = min(stop, len(ascending))
    while start < stop:
        middle = (start + stop) // 2
        if ascending[middle] < value or (is_above and ascending[middle] == value):
            start = middle + 1
        else:
            stop = middle
    return start
