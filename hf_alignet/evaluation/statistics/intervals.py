"""Intervals of 95 %: Wilson's, the normal one, Student's, and those of bootstraps.

Of the share of triplets that a model gets right, `wilson` and `triplets` ask how it would vary with other triplets of
the same images: by Wilson's formula, and by the bootstrap. `objects` asks how it would vary with other images: objects
are drawn again with replacement, and a triplet counts as often as it can be made of the drawn ones, which is the
product of the times that its three objects were drawn. Triplets share objects, so that this interval is wider.
"""

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from numba import njit
from scipy import stats

from hf_alignet.errors import InputError
from hf_alignet.metric import Metric
from hf_alignet.similarity import CHANCE

Interval = Literal["wilson", "triplets", "objects"]

DRAWS = 1000  # of a bootstrap
BLOCK = 64  # bootstrap samples at once: how often 2,000 objects are in them fits into a core's own cache
Z95 = float(stats.norm.ppf(0.975))


def wilson_interval(share: float, n: float) -> list[float]:
    """Wilson's interval of a share of `n` independent cases. Cases that go together make `n` smaller, and no integer.

    The formula of `scipy.stats.binomtest(…).proportion_ci(method="wilson")`, which takes whole numbers only.
    """
    scale = 2 * (n + Z95**2)
    centre, half = (2 * n * share + Z95**2) / scale, Z95 / scale * np.sqrt(4 * n * share * (1 - share) + Z95**2)
    return [0.0 if share == 0 else float(centre - half), 1.0 if share == 1 else float(centre + half)]


def normal_interval(mean: float, error: float) -> list[float]:
    """The interval of a mean with a known standard error."""
    return [mean - Z95 * error, mean + Z95 * error]


def student_interval(values: np.ndarray) -> list[float]:
    """Student's interval of the mean of two or more independent values (m,), such as those of runs or folds."""
    mean, error = np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))
    half = stats.t.ppf(0.975, len(values) - 1) * error
    return [float(mean - half), float(mean + half)]


def quantile_interval(values: np.ndarray) -> list[float]:
    """The interval between quantiles of bootstrap values; NaN is left out."""
    return np.nanquantile(values, (0.025, 0.975)).tolist()


def resampled(number: int, seed: int, draws: int = DRAWS) -> Iterator[np.ndarray]:
    """Bootstrap samples of `number` cases: how often (number,) int64 each case is drawn, sample after sample."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        yield np.bincount(rng.integers(number, size=number), minlength=number)


def resampled_kinds(frequencies: np.ndarray, seed: int, draws: int = DRAWS) -> Iterator[np.ndarray]:
    """As `resampled`, of cases of k kinds that were observed with frequencies (k,): blocks (b, k) of samples."""
    rng, total = np.random.default_rng(seed), int(frequencies.sum())
    for start in range(0, draws, BLOCK):
        yield rng.multinomial(total, frequencies / total, size=min(BLOCK, draws - start))


def share_correct(
    correct: np.ndarray, interval: Interval = "wilson", triplets: np.ndarray | None = None, seed: int = 0
) -> Metric:
    """Share of triplets that are right, with its interval.

    Args:
        correct: (m,) bool.
        interval: `wilson`, `triplets` or `objects` (see the module).
        triplets: (m, 3) rows of the objects; `objects` needs them.
        seed: Seed of the bootstraps.

    Raises:
        InputError: there are no triplets, or the interval is unknown or cannot be given.
    """
    if interval not in get_args(Interval):
        raise InputError(f"`interval` must be one of {', '.join(get_args(Interval))}, got {interval!r}")
    if len(correct) == 0:
        raise InputError("there are no triplets to measure")
    right, total = int(np.count_nonzero(correct)), len(correct)
    if interval == "wilson":
        ci95 = wilson_interval(right / total, total)
    elif interval == "triplets":
        # Of m triplets drawn with replacement from m, the number of right ones is binomial: one draw gives it
        ci95 = quantile_interval(np.random.default_rng(seed).binomial(total, right / total, DRAWS) / total)
    elif triplets is None:
        raise InputError("the interval over objects needs the triplets: give `triplets`")
    else:
        ci95 = quantile_interval(object_bootstrap(correct, triplets, seed))
    return Metric(value=right / total, n=total, chance=CHANCE, ci95=ci95)


def object_bootstrap(values: np.ndarray, triplets: np.ndarray, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
    """Weighted means of values of triplets, for objects drawn with replacement.

    mean_b = sum_t w_bt v_t / sum_t w_bt, w_bt = c_bi c_bj c_bk for the triplet t = (i, j, k), where c_b are the times
    that each object was drawn. A sample draws as many objects as the triplets have.

    Args:
        values: (m,) one number a triplet, such as whether it is right.
        triplets: (m, 3) rows of the objects.
        seed: Seed of the bootstrap.
        draws: Number of bootstrap samples, b.

    Returns:
        (b,) float64, NaN where no triplet can be made of the drawn objects.

    Raises:
        InputError: no sample has a triplet.
    """
    triplets = np.ascontiguousarray(triplets, np.int64)
    is_used = np.zeros(triplets.max() + 1, bool)
    is_used[triplets.ravel()] = True
    number = int(is_used.sum())
    triplets = (np.cumsum(is_used) - 1)[triplets]
    found = []
    for times in resampled_kinds(np.ones(number), seed, draws):
        sums = _weighted_sums(np.ascontiguousarray(times.T, np.float64), triplets, np.asarray(values, np.float64))
        found.append(np.divide(sums[1], sums[0], out=np.full(len(times), np.nan), where=sums[0] > 0))
    means = np.concatenate(found)
    if np.isnan(means).all():
        raise InputError(f"{number} objects are too few for an interval over objects")
    return means


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
