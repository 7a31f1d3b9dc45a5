"""Noise ceiling of a similarity matrix: how well a model can agree at best with people, who disagree with each other.

The method is that of Nili et al. 2014 (doi 10.1371/journal.pcbi.1003553), as in rsatoolbox. The mean correlation of
the true model with single participants lies between

- the upper bound: each participant's correlation with the mean of all participants. The mean is over ranks for
  Spearman and Kendall, and over z values for Pearson. For Kendall it is nearly, not exactly, the best matrix;
- the lower bound: each participant's correlation with the mean of the other participants.
"""

import numpy as np
from scipy.stats import rankdata

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.rsa import FEWEST_PAIRS, RsaMetric
from hf_alignet.evaluation.human.rsm import Rsm
from hf_alignet.evaluation.statistics.correlations import CorrelationWith, Measure, codes
from hf_alignet.evaluation.statistics.intervals import student_interval
from hf_alignet.judgments.similarity_matrices import SimilarityMatrix


def rsa_noise_ceiling(human: SimilarityMatrix, measure: Measure = "spearman") -> dict[str, RsaMetric]:
    """`{"lower", "upper"}`, means over participants, to compare with a model's mean correlation with participants.

    A pair that one participant did not judge is left out for all, and counted as `masked`. `n` counts participants,
    and intervals are Student's over participants.

    Args:
        human: similarities with the matrices of at least two participants.
        measure: `spearman`, `pearson` or `kendall`.

    Raises:
        InputError: there are fewer than two matrices of single participants, or one judged all pairs alike.
    """
    number = 0 if human.participants is None else len(human.participants)
    if human.participants is None or number < 2:
        raise InputError(
            f"{human.source} has the matrices of {number or 'no'} single participants, so that it has no noise "
            "ceiling, which needs two participants or more"
        )
    vectors, masked = _judged_by_all(human.participants)
    scaled = np.stack([_scaled(vector, measure, row) for row, vector in enumerate(vectors)])
    total = scaled.sum(0)
    upper = [_correlation(row, total / number, measure) for row in scaled]
    lower = [_correlation(row, (total - row) / (number - 1), measure) for row in scaled]
    return {name: _mean(np.array(values), masked) for name, values in (("lower", lower), ("upper", upper))}


def _judged_by_all(participants: np.ndarray) -> tuple[np.ndarray, int]:
    """(p, m) entries above the diagonal that all participants judged, and the number of the other entries."""
    for matrix in participants:
        Rsm.from_matrix(matrix)  # its errors name the bad entry
    i, j = np.triu_indices(participants.shape[1], 1)
    vectors = participants[:, i, j].astype(np.float64)
    is_judged = ~np.isnan(vectors).any(0)
    if is_judged.sum() < FEWEST_PAIRS:
        raise InputError(f"all participants judged only {is_judged.sum()} pairs; at least {FEWEST_PAIRS} are needed")
    return vectors[:, is_judged], int((~is_judged).sum())


def _scaled(vector: np.ndarray, measure: Measure, row: int) -> np.ndarray:
    if vector.min() == vector.max():
        raise InputError(f"participant {row} judged all pairs alike; leave this participant out")
    return (vector - vector.mean()) / vector.std() if measure == "pearson" else rankdata(vector)


def _correlation(x: np.ndarray, y: np.ndarray, measure: Measure) -> float:
    value = CorrelationWith(y, measure).of(codes(x, measure))
    if np.isnan(value):
        raise InputError("participants disagree so much that their mean is the same for all pairs")
    return value


def _mean(values: np.ndarray, masked: int) -> RsaMetric:
    # Student's interval of two people may be wider than what a correlation can be
    low, high = np.clip(student_interval(values), -1, 1).tolist()
    return RsaMetric(value=float(values.mean()), n=len(values), chance=0.0, ci95=[low, high], masked=masked)
