"""How well predicted choice probabilities fit the shares of people's choices: temperature, reliability, ECE.

Predictions are (m, 3) log-probabilities that each pair of a triplet is kept together, in pair order. People are (m, 3)
counts: how often they kept each pair together. All raise an InputError if there are no choices, or a prediction is
not finite.
"""

import math

import numpy as np
import pandas as pd
import scipy
import torch

from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.intervals import basic_interval, resampled, with_interval
from hf_alignet.evaluation.statistics.ranks import codes_of
from hf_alignet.evaluation.statistics.spread import Draws
from hf_alignet.metric import Metric
from hf_alignet.ranges import Count, Seed, checked
from hf_alignet.similarity import choice_log_probabilities

LOWEST, HIGHEST = 1e-6, 1e6  # temperatures, in units of the spread of the similarities
RELIABILITY_BINS = 20
CONFIDENCE_BINS = 10
FEWEST_IN_BIN = 20  # choices; the share of fewer says little


def check_predictions(scores: np.ndarray, pair_counts: np.ndarray) -> None:
    """Refuses scores (m, 3) that are not finite, and counts (m, 3) without a choice, by an InputError."""
    if scores.shape != pair_counts.shape or scores.shape[1:] != (3,):
        raise ValueError(f"expected two arrays of shape (m, 3), got {scores.shape} and {pair_counts.shape}")
    if not pair_counts.sum():
        raise InputError("there are no choices to measure")
    if not np.isfinite(scores).all():
        row = int(np.argwhere(~np.isfinite(scores))[0][0])
        raise InputError(f"the scores of triplet {row} are not finite: {scores[row].tolist()}")


def fit_temperature(similarities: np.ndarray, pair_counts: np.ndarray) -> float:
    """The temperature at which softmax(similarities / temperature) makes the choices most likely.

    Args:
        similarities: (m, 3) in pair order, such as dot products of features. Their unit does not matter.
        pair_counts: (m, 3).

    Raises:
        InputError: also if all similarities of each triplet are the same.
    """
    check_predictions(similarities, pair_counts)
    centred = torch.from_numpy(similarities - similarities.mean(1, keepdims=True)).double()
    counts = torch.from_numpy(pair_counts)
    spread = centred.std().item()
    if spread == 0:
        raise InputError("all similarities of each triplet are the same: no temperature fits them")

    def cross_entropy(log_temperature: float) -> float:
        return -(choice_log_probabilities(centred, math.exp(log_temperature) * spread) * counts).sum().item()

    bounds = (math.log(LOWEST), math.log(HIGHEST))
    found = scipy.optimize.minimize_scalar(cross_entropy, bounds=bounds, method="bounded")
    return math.exp(found.x) * spread


def reliability(log_probabilities: np.ndarray, pair_counts: np.ndarray) -> pd.DataFrame:
    """Predicted against observed: one row a bin of all pairs' probabilities, equally many judged pairs in each.

    Returns:
        Columns `predicted` (mean probability), `observed` (share of people's choices), `n` (choices that the triplets
        of these pairs got).
    """
    check_predictions(log_probabilities, pair_counts)
    predicted = np.exp(log_probabilities).ravel()
    judged = np.repeat(pair_counts.sum(1), 3)
    bins = _equal_bins(predicted, judged, RELIABILITY_BINS)
    sums = pd.DataFrame({"predicted": predicted * judged, "observed": pair_counts.ravel(), "n": judged})
    sums = sums.groupby(bins).sum().query("n > 0")
    return sums.assign(predicted=sums.predicted / sums.n, observed=sums.observed / sums.n).reset_index(drop=True)


@checked
def expected_calibration_error(
    log_probabilities: np.ndarray, pair_counts: np.ndarray, num_bins: Count = CONFIDENCE_BINS, seed: Seed = 0
) -> Metric:
    """How far a model's confidence is from the share of people who agree with it; lower is better, 0 is best.

    ECE = sum_b n_b / n |mean confidence - share of agreement| over bins of the largest probability that hold equally
    many choices. If pairs are tied for it, their mean share counts, so that an even guess is calibrated.

    Args:
        log_probabilities: (m, 3) in pair order.
        pair_counts: (m, 3) of people's choices.
        num_bins: Number of bins; fewer if they would hold fewer than 20 choices.
        seed: Seed of the bootstrap over triplets. Its values lie above the ECE, since noise can only raise it. So the
            interval is mirrored at the value (the basic bootstrap) and cut at 0.
    """
    check_predictions(log_probabilities, pair_counts)
    probabilities, judged = np.exp(log_probabilities), pair_counts.sum(1)
    confidence, n = probabilities.max(1), int(judged.sum())
    is_largest = log_probabilities == log_probabilities.max(axis=1, keepdims=True)
    agreeing = (pair_counts * is_largest).sum(1) / is_largest.sum(1)
    num_bins = max(1, min(num_bins, n // FEWEST_IN_BIN))
    bins = _equal_bins(confidence, judged, num_bins)
    gaps = confidence * judged - agreeing

    def error(times: np.ndarray) -> float:
        return float(np.abs(np.bincount(bins, gaps * times, num_bins)).sum() / max(judged @ times, 1))

    value = error(np.ones(len(judged)))
    draws = np.array([error(times) for times in resampled(len(judged), seed)])
    ci95 = [max(end, 0.0) for end in basic_interval(value, draws)]
    spread = Draws(draws, "triplets")
    return with_interval(value, ci95, int((judged > 0).sum()), "triplets", n=n, chance=None, spread=spread)


def _equal_bins(values: np.ndarray, judged: np.ndarray, number: int) -> np.ndarray:
    """(m,) the bin of each value, in ascending order, so that each bin holds nearly the same number of choices.

    Equal values are in the same bin.
    """
    codes = codes_of(values)
    ends = np.cumsum(np.bincount(codes, judged))
    middles = ends - np.bincount(codes, judged) / 2
    return np.minimum((number * middles / max(ends[-1], 1)).astype(np.int64), number - 1)[codes]
