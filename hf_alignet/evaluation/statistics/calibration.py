"""How well predicted choice probabilities fit the shares of people's choices: temperature, reliability, ECE.

Predictions are (m, 3) log-probabilities that each pair of a triplet is kept together, in pair order. People are (m, 3)
counts: how often they kept each pair together. All raise an InputError if there are no choices, or a prediction is
not finite.
"""

import math

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar

from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.intervals import quantile_interval, resampled
from hf_alignet.metric import Metric
from hf_alignet.similarity import choice_log_probabilities

LOWEST, HIGHEST = 1e-6, 1e6  # temperatures, in units of the spread of the similarities
RELIABILITY_BINS = 20
CONFIDENCE_BINS = 10  # of equal width, as in gLocal's calibration


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

    found = minimize_scalar(cross_entropy, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded")
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
    order = predicted.argsort(kind="stable")
    bins = np.empty(len(order), np.int64)
    bins[order] = np.minimum(RELIABILITY_BINS * np.cumsum(judged[order]) // judged.sum(), RELIABILITY_BINS - 1)
    sums = pd.DataFrame({"predicted": predicted * judged, "observed": pair_counts.ravel(), "n": judged})
    sums = sums.groupby(bins).sum().query("n > 0")
    return sums.assign(predicted=sums.predicted / sums.n, observed=sums.observed / sums.n).reset_index(drop=True)


def expected_calibration_error(
    log_probabilities: np.ndarray, pair_counts: np.ndarray, num_bins: int = CONFIDENCE_BINS, seed: int = 0
) -> Metric:
    """How far a model's confidence is from the share of people who agree with it; 0 is best.

    ECE = sum_b n_b / n |mean confidence - share of agreement| over bins of equal width of the largest probability. If
    pairs are tied for it, their mean share counts, so that an even guess is calibrated.

    Args:
        log_probabilities: (m, 3) in pair order.
        pair_counts: (m, 3) of people's choices.
        num_bins: Number of bins from 0 to 1; with three pairs, confidence begins at 1/3.
        seed: Seed of the bootstrap over triplets. Its values lie above the ECE, since noise can only raise it. So the
            interval is mirrored at the value (the basic bootstrap) and cut at 0.
    """
    check_predictions(log_probabilities, pair_counts)
    probabilities, judged = np.exp(log_probabilities), pair_counts.sum(1)
    confidence = probabilities.max(1)
    is_largest = log_probabilities == log_probabilities.max(axis=1, keepdims=True)
    agreeing = (pair_counts * is_largest).sum(1) / is_largest.sum(1)
    bins = np.minimum((confidence * num_bins).astype(np.int64), num_bins - 1)
    gaps = confidence * judged - agreeing

    def error(times: np.ndarray) -> float:
        return float(np.abs(np.bincount(bins, gaps * times, num_bins)).sum() / max(judged @ times, 1))

    value = error(np.ones(len(judged)))
    low, high = quantile_interval(np.array([error(times) for times in resampled(len(judged), seed)]))
    ci95 = [max(2 * value - high, 0.0), max(2 * value - low, 0.0)]
    return Metric(value=value, n=int(judged.sum()), chance=0.0, ci95=ci95)
