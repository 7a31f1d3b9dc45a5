"""Intervals of 95 % for the share of triplets that a model gets right.

`wilson` and `triplets` ask how the share would vary with other triplets of the same images: by Wilson's formula, and
by the bootstrap. `objects` asks how it would vary with other images: objects are drawn anew with replacement, and a
triplet counts as often as it can be made of the drawn ones, the product of the times that its three objects were
drawn. Triplets share objects, so that this interval is the wider one.
"""

from typing import Literal, get_args

import numpy as np
from numba import njit
from scipy.stats import binomtest

from hf_alignet.errors import InputError
from hf_alignet.metric import Metric
from hf_alignet.similarity import CHANCE

Interval = Literal["wilson", "triplets", "objects"]

DRAWS = 1000  # of a bootstrap
BLOCK = 64  # draws at once: their multiplicities of 2,000 objects stay in a core's own cache
LEVELS_OF_95 = (0.025, 0.975)


def share_correct(
    correct: np.ndarray, interval: Interval = "wilson", triplets: np.ndarray | None = None, seed: int = 0
) -> Metric:
    """Share of triplets that are right, with its interval.

    Args:
        correct: (m,) bool.
        interval: see the module.
        triplets: (m, 3) rows of the objects; `objects` needs them.
        seed: of the bootstraps.

    Raises:
        InputError: there are no triplets, or the interval is unknown or cannot be given.
    """
    if interval not in get_args(Interval):
        raise InputError(f"the interval must be one of {', '.join(get_args(Interval))}, got {interval!r}")
    if len(correct) == 0:
        raise InputError("there are no triplets to measure")
    right, total = int(np.count_nonzero(correct)), len(correct)
    if interval == "wilson":
        ci = binomtest(right, total).proportion_ci(0.95, method="wilson")
        low, high = float(ci.low), float(ci.high)
    elif interval == "triplets":
        # Of m triplets drawn with replacement from m, the right ones are binomial: no need to draw them one by one.
        shares = np.random.default_rng(seed).binomial(total, right / total, DRAWS) / total
        low, high = np.quantile(shares, LEVELS_OF_95).tolist()
    elif triplets is None:
        raise InputError("the interval over objects needs the triplets")
    else:
        low, high = np.nanquantile(object_bootstrap(correct, triplets, seed), LEVELS_OF_95).tolist()
    return Metric(value=right / total, n=total, chance=CHANCE, ci95=[low, high])


def object_bootstrap(values: np.ndarray, triplets: np.ndarray, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
    """Weighted means of values of triplets, objects drawn anew with replacement each time.

    mean_b = sum_t w_bt v_t / sum_t w_bt, w_bt = c_bi c_bj c_bk for the triplet t = (i, j, k), where c_b are the times
    that each object was drawn, multinomial with as many draws as there are objects in the triplets.

    Args:
        values: (m,) one number a triplet, such as whether it is right.
        triplets: (m, 3) rows of the objects.
        seed: of the draws.
        draws: b.

    Returns:
        (b,) float64, NaN where no triplet can be made of the drawn objects.

    Raises:
        InputError: that is so in all draws.
    """
    triplets = np.ascontiguousarray(triplets, np.int64)
    is_used = np.zeros(triplets.max() + 1, bool)
    is_used[triplets.ravel()] = True
    number = int(is_used.sum())
    triplets = (np.cumsum(is_used) - 1)[triplets]
    rng = np.random.default_rng(seed)
    found = np.empty(draws)
    for start in range(0, draws, BLOCK):
        size = min(BLOCK, draws - start)
        times = rng.multinomial(number, np.full(number, 1 / number), size=size)
        sums = _weighted_sums(np.ascontiguousarray(times.T, np.float64), triplets, np.asarray(values, np.float64))
        found[start : start + size] = np.divide(sums[1], sums[0], out=np.full(size, np.nan), where=sums[0] > 0)
    if np.isnan(found).all():
        raise InputError(f"{number} objects are too few for an interval over objects")
    return found


@njit(cache=True, nogil=True)
def _weighted_sums(times: np.ndarray, triplets: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(2, b) sums of the weights of triplets, and of weights times values; `times` (objects, b) as float64."""
    sums = np.zeros((2, times.shape[1]))
    weights, weighted = sums[0], sums[1]
    for t in range(len(triplets)):
        first, second, third = times[triplets[t, 0]], times[triplets[t, 1]], times[triplets[t, 2]]
        value = values[t]
        for b in range(times.shape[1]):
            weight = first[b] * second[b] * third[b]
            weights[b] += weight
            weighted[b] += weight * value
    return sums
