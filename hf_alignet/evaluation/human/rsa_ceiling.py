"""Noise ceiling of a similarity matrix: how well any model can agree with people who disagree with each other.

After Nili et al. 2014 (doi 10.1371/journal.pcbi.1003553), as rsatoolbox does it: the true model's mean correlation
with single participants lies between

- the upper bound: each participant's correlation with the mean of all, to which they contributed themselves; the mean
  is of ranks for Spearman and Kendall (for Kendall it is the best matrix only nearly), of z values for Pearson;
- the lower bound: each participant's correlation with the mean of the others.
"""

import numpy as np
from scipy.stats import rankdata, t

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.rsa import FEWEST_PAIRS, RsaMetric
from hf_alignet.evaluation.human.rsm import Rsm
from hf_alignet.evaluation.statistics.correlations import AgainstJudged, Measure, codes
from hf_alignet.judgments.similarity_matrices import SimilarityMatrix


def rsa_noise_ceiling(human: SimilarityMatrix, measure: Measure = "spearman") -> dict[str, RsaMetric]:
    """`{"lower", "upper"}`, means over participants; a model's own mean correlation with them is to be compared.

    Pairs that any participant did not judge are left out for all, and counted as `masked`. `n` counts participants,
    and intervals are Student's over them.

    Args:
        human: with the matrices of at least two participants.
        measure: `spearman`, `pearson` or `kendall`.

    Raises:
        InputError: there are no matrices of single participants, or one, or one judged all pairs alike.
    """
    number = 0 if human.participants is None else len(human.participants)
    if human.participants is None or number < 2:
        raise InputError(
            f"{human.source} has the matrices of {number or 'no'} single participants, so that it has no noise "
            "ceiling: how far people disagree shows in at least two"
        )
    vectors, masked = _judged_by_all(human.participants)
    scaled = np.stack([_scaled(vector, measure, row) for row, vector in enumerate(vectors)])
    total = scaled.sum(0)
    upper = [_correlation(row, total / number, measure) for row in scaled]
    lower = [_correlation(row, (total - row) / (number - 1), measure) for row in scaled]
    return {name: _mean(np.array(values), masked) for name, values in (("lower", lower), ("upper", upper))}


def _judged_by_all(participants: np.ndarray) -> tuple[np.ndarray, int]:
    """(p, m) entries above the diagonal that nobody lacks, and the number of the others."""
    for matrix in participants:
        Rsm.from_matrix(matrix)  # whose errors name the entry
    i, j = np.triu_indices(participants.shape[1], 1)
    vectors = participants[:, i, j].astype(np.float64)
    is_judged = ~np.isnan(vectors).any(0)
    if is_judged.sum() < FEWEST_PAIRS:
        raise InputError(f"all participants judged only {is_judged.sum()} pairs; at least {FEWEST_PAIRS} are needed")
    return vectors[:, is_judged], int((~is_judged).sum())


def _scaled(vector: np.ndarray, measure: Measure, row: int) -> np.ndarray:
    if vector.min() == vector.max():
        raise InputError(f"participant {row} judged all pairs alike; leave them out")
    return (vector - vector.mean()) / vector.std() if measure == "pearson" else rankdata(vector)


def _correlation(x: np.ndarray, y: np.ndarray, measure: Measure) -> float:
    value = AgainstJudged(y, measure).correlate(codes(x, measure))
    if np.isnan(value):
        raise InputError("participants disagree so far that their mean is the same for all pairs")
    return value


def _mean(values: np.ndarray, masked: int) -> RsaMetric:
    n, mean = len(values), float(values.mean())
    half = float(t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    # A correlation is no larger than 1, whatever Student's interval of two people says
    return RsaMetric(value=mean, n=n, chance=0.0, ci95=[max(-1.0, mean - half), min(1.0, mean + half)], masked=masked)
