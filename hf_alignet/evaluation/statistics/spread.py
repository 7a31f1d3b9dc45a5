"""How a statistic varies when the units behind it are drawn again: objects, triplets, participants, draws.

Triplets share objects, so that they are no independent cases: what makes an object hard makes all its triplets hard.
The variance of a sum of values of triplets is estimated by the sum of all products of two values whose triplets share
an object: of the squared sums over the triplets of each object, less those over each pair of objects, plus those over
each three objects, every two triplets that share an object are counted once. That is the estimator of Fafchamps &
Gubert (2007, doi 10.1016/j.jdeveco.2006.05.005) and Aronow, Samii & Assenova (2015, doi 10.1093/pan/mpv018) for pairs,
by the inclusion and exclusion of Cameron, Gelbach & Miller (2011, doi 10.1198/jbes.2010.07136), for triplets. It needs
no model of why objects differ, and takes seconds for 10 million choices. Resampling objects with replacement, and
multiplying the weights of a triplet's objects, counts what is particular to a triplet 2³ - 1 = 7 times instead (Owen
2007, doi 10.1214/07-AOAS122).

Three corrections make intervals right for few objects, as `benchmarks/coverage.py` shows. Values add up to 0, so that
the products left out take away the share of all products that share an object, which the sum is divided by. The
estimate is not below `LEAST` of what independent triplets would give, since it is lower only by chance. And Student's
distribution has half as many degrees of freedom as there are objects.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

LEAST = 0.7
DENSE_CELLS = 10_000_000  # that sums by pairs of objects may have


class Error(NamedTuple):
    """Standard error of a statistic."""

    value: float
    freedom: float  # degrees of freedom of Student's distribution
    units: float  # effective number of units: (sum of weights)² / sum of squared weights, as Kish has it
    cases: float  # effective number of cases, such as triplets, likewise

    @property
    def quantile(self) -> float:
        """How many standard errors from the value the ends of its 95 % interval are."""
        return float(scipy.stats.t.ppf(0.975, self.freedom))


class Influence(NamedTuple):
    """What each case adds to the error of a statistic: the statistic less its true value is about their sum.

    Example:
        >>> correct = np.array([1.0, 0.0, 1.0, 1.0, 1.0])
        >>> error = Influence((correct - correct.mean()) / 5, np.ones(5), np.arange(5)[:, None], "runs").error()
        >>> bool(np.isclose(error.value, correct.std(ddof=1) / 5**0.5))
        True
    """

    values: np.ndarray  # (m,) sum to 0
    weights: np.ndarray  # (m,) how much each case counts, such as the number of its choices
    members: np.ndarray  # (m, k) the units of each case: 1 if cases are units, 2 objects of a pair, 3 of a triplet
    unit: str  # what members are

    def error(self) -> Error:
        """The standard error, robust to everything that cases with a common unit share."""
        units, codes = pd.factorize(np.asarray(self.members).ravel())
        members = np.sort(units.reshape(self.members.shape), axis=1)
        k, total = members.shape[1], float(self.weights.sum())
        variance = shared = 0.0
        for size in range(1, k + 1):
            squares, counts = self._squares(members, len(codes), size)
            variance -= (-1) ** size * squares
            shared -= (-1) ** size * counts / total**2
            if size == 1:
                of_units = np.bincount(members.ravel(), np.repeat(self.weights, k))
        cases = total**2 / counts  # the last size is that of whole cases
        effective = float(of_units.sum() ** 2 / (of_units**2).sum())
        if cases <= 1 or shared >= 1:
            return Error(float("nan"), 1, effective, cases)
        variance = max(variance / (1 - shared), LEAST * squares / (1 - 1 / cases))
        return Error(variance**0.5, effective / 2 if k > 1 else effective - 1, effective, cases)

    def _squares(self, members: np.ndarray, number: int, size: int) -> tuple[float, float]:
        """Sums over all sets of `size` units: of the squared sum of values, and of the squared sum of weights."""
        of_sets = []
        for columns in combinations(range(members.shape[1]), size):
            codes = members[:, columns[0]].astype(np.int64)
            for column in columns[1:]:
                codes = codes * number + members[:, column]
            of_sets.append(codes)
        sets = np.concatenate(of_sets)
        if number**size > DENSE_CELLS:
            sets = pd.factorize(sets)[0]
        repeats = len(of_sets)
        sums = [np.bincount(sets, np.tile(numbers, repeats)) for numbers in (self.values, self.weights)]
        return float(sums[0] @ sums[0]), float(sums[1] @ sums[1])


class Draws(NamedTuple):
    """Values of a statistic for samples of its units, the same samples for every model."""

    values: np.ndarray  # (draws,)
    unit: str
