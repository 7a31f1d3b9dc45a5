"""Intervals of 95 %, each over units that it names: of a share, of a mean, and of what is drawn again and again.

Where fewer than five units carry a number, it has no interval, and a note says so. The interval of a number on
triplets is over the objects of the triplets (see `hf_alignet.evaluation.statistics.spread`): it tells what other
objects of the same kind would give, with other triplets of them and other people.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.spread import LEAST, Error, Influence
from hf_alignet.metric import Metric
from hf_alignet.similarity import CHANCE

DRAWS = 1000  # of a bootstrap
BLOCK = 64  # bootstrap samples at once: how often 2,000 objects are in them fits into a core's own cache
FEWEST_UNITS = 5
Z95 = 1.959963984540054  # 97.5 % of a standard normal distribution lie below it


def wilson_interval(share: float, n: float, quantile: float = Z95) -> list[float]:
    """Wilson's interval of a share of `n` independent cases. Cases that go together make `n` smaller, and no integer.

    With the default quantile it is the one of `scipy.stats.binomtest`, which takes whole numbers only.
    """
    scale = 2 * (n + quantile**2)
    centre = (2 * n * share + quantile**2) / scale
    half = quantile / scale * np.sqrt(4 * n * share * (1 - share) + quantile**2)
    return [0.0 if share == 0 else float(centre - half), 1.0 if share == 1 else float(centre + half)]


def share_interval(share: float, error: Error) -> list[float]:
    """Wilson's interval of a share for the number of independent cases that would have this standard error."""
    spread = share * (1 - share)
    if spread == 0 or error.value == 0:
        return wilson_interval(share, error.units)
    return wilson_interval(share, spread / error.value**2, error.quantile)


def basic_interval(value: float, draws: np.ndarray) -> list[float]:
    """The basic bootstrap interval: the quantiles of draws (b,), mirrored at the value."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return [float(2 * value - high), float(2 * value - low)]


def quantile_interval(values: np.ndarray) -> list[float]:
    """The interval between quantiles of bootstrap values."""
    return np.quantile(values, (0.025, 0.975)).tolist()


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


def with_interval(value: float, ci95: list[float], units: float, unit: str, **more: Any) -> Metric:
    """A metric with its interval, or with a note instead if fewer than five units, in effect, carry it.

    Also without one if the interval is not finite, since all cases have a unit in common.
    """
    are_enough = units >= FEWEST_UNITS - 1e-9
    if are_enough and np.isfinite(ci95).all():
        return Metric(value, ci95=ci95, unit=unit, **more)
    why = f"all cases have one of the {unit} in common" if are_enough else f"fewer than {FEWEST_UNITS} {unit} carry it"
    note = f"no interval: {why}"
    return Metric(value, **({"note": note} | more))


def mean_metric(
    sums: np.ndarray,
    weights: np.ndarray | None = None,
    members: np.ndarray | None = None,
    *,
    unit: str = "triplets",
    chance: float | None,
    n: int | None = None,
) -> Metric:
    """A mean over cases, with Student's interval.

    Args:
        sums: (m,) of each case, such as of the log-likelihoods of the choices of a triplet.
        weights: (m,) how many there are in each sum. Default: 1.
        members: (m, k) rows of the objects of each case. Without them, cases are independent.
        unit: what a case is, if it is independent.
        chance: what guessing gives.
        n: number to report. Default: the sum of weights.
    """
    value, influence = _mean(sums, weights, members, unit)
    error = influence.error()
    half = error.quantile * error.value
    n = int(influence.weights.sum()) if n is None else n
    ci95 = [value - half, value + half]
    return with_interval(value, ci95, error.units, influence.unit, n=n, chance=chance, spread=influence)


def share_metric(right: np.ndarray, weights: np.ndarray, members: np.ndarray | None, chance: float | None) -> Metric:
    """A share of right choices, with Wilson's interval for the number of independent choices that vary as much.

    Args:
        right: (m,) number of right choices of each triplet.
        weights: (m,) number of choices of each.
        members: (m, 3) rows of the objects of each triplet. Without them, triplets are independent.
        chance: what guessing gives.
    """
    value, influence = _mean(right, weights, members, "triplets")
    error = influence.error()
    if members is None and (weights == 1).all():
        ci95 = wilson_interval(value, len(weights))
    else:
        ci95 = wilson_interval(value, _independent(value, error, influence), error.quantile)
    n = int(weights.sum())
    return with_interval(value, ci95, error.units, influence.unit, n=n, chance=chance, spread=influence)


def share_correct(correct: np.ndarray, triplets: np.ndarray | None = None) -> Metric:
    """Share of triplets that are right, with its interval.

    Args:
        correct: (m,) bool.
        triplets: (m, 3) rows of the objects, for the interval over objects. Without them it is Wilson's over triplets.

    Raises:
        InputError: there are no triplets.
    """
    if len(correct) == 0:
        raise InputError("there are no triplets to measure")
    return share_metric(np.asarray(correct, np.float64), np.ones(len(correct)), triplets, CHANCE)


def _mean(
    sums: np.ndarray, weights: np.ndarray | None, members: np.ndarray | None, unit: str
) -> tuple[float, Influence]:
    sums = np.asarray(sums, np.float64)
    weights = np.ones(len(sums)) if weights is None else np.asarray(weights, np.float64)
    value, total = float(sums.sum() / weights.sum()), weights.sum()
    unit = unit if members is None else "objects"
    members = np.arange(len(sums))[:, None] if members is None else members
    return value, Influence((sums - value * weights) / total, weights, members, unit)


def _independent(value: float, error: Error, influence: Influence) -> float:
    """The number of independent choices whose share would vary as much."""
    spread = value * (1 - value)
    if spread == 0 or error.value == 0:
        return error.cases  # all alike: nothing tells how much objects differ
    return min(spread / error.value**2, float(influence.weights.sum()) / LEAST)
