"""How well predicted choice probabilities fit the choices of people: accuracy, cross-entropy, calibration.

Predictions are (m, 3) log-probabilities that each pair of a triplet is kept together, in pair order; people are (m, 3)
counts of the times that they kept it. Choices of one triplet are not independent: intervals are over triplets.
"""

import math

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar

from hf_alignet.errors import InputError
from hf_alignet.metric import Metric
from hf_alignet.similarity import CHANCE, choice_log_probabilities, odd_of_pair, odd_one_out

LOWEST, HIGHEST = 1e-6, 1e6  # temperatures, in units of the spread of the similarities
NUM_BINS = 20
Z95 = 1.959964  # of the normal distribution, for intervals of 95 %


def choice_accuracy(scores: np.ndarray, pair_counts: np.ndarray) -> Metric:
    """Share of choices that are the most probable one; ties are wrong. The interval is Wilson's, over triplets.

    Args:
        scores: (m, 3) log-probabilities, or anything that grows with them, such as similarities.
        pair_counts: (m, 3).

    Raises:
        InputError: there are no choices, or a score is not finite.
    """
    _check(scores, pair_counts)
    odd = odd_one_out(torch.as_tensor(scores)).numpy()
    of_odd = pair_counts[:, odd_of_pair(np.arange(3))]
    correct = np.where(odd >= 0, np.take_along_axis(of_odd, odd[:, None].clip(0), 1).squeeze(1), 0)
    value, variance = _mean_and_variance(correct, pair_counts)
    n = int(pair_counts.sum())
    # As many choices as there would have to be, each of another triplet, for the same variance
    independent = value * (1 - value) / variance if variance > 0 else np.count_nonzero(pair_counts.sum(1))
    return Metric(value=value, n=n, chance=CHANCE, ci95=_wilson(value, min(float(independent), n)))


def choice_cross_entropy(log_probabilities: np.ndarray, pair_counts: np.ndarray) -> Metric:
    """Mean of -log p of the choices made, in nats; lower is better, and ln 3 is guessing.

    The interval is the normal one of a mean over triplets, whose choices go together.

    Raises:
        InputError: there are no choices, or a log-probability is not finite.
    """
    _check(log_probabilities, pair_counts)
    value, variance = _mean_and_variance(-(log_probabilities * pair_counts).sum(1), pair_counts)
    half = Z95 * math.sqrt(variance)
    return Metric(value=value, n=int(pair_counts.sum()), chance=math.log(3), ci95=[value - half, value + half])


def _mean_and_variance(sums: np.ndarray, pair_counts: np.ndarray) -> tuple[float, float]:
    """Mean over choices of what was summed over the choices of each triplet, and the variance of that mean."""
    judged = pair_counts.sum(1)
    value = float(sums.sum() / judged.sum())
    return value, float(((sums - value * judged) ** 2).sum() / judged.sum() ** 2)


def _wilson(share: float, n: float) -> list[float]:
    centre, scale = share + Z95**2 / (2 * n), 1 + Z95**2 / n
    half = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    return [(centre - half) / scale, (centre + half) / scale]


def fit_temperature(similarities: np.ndarray, pair_counts: np.ndarray) -> float:
    """The temperature at which softmax(similarities / temperature) makes the choices most likely.

    Args:
        similarities: (m, 3) in pair order, such as dot products of features, whose unit means nothing.
        pair_counts: (m, 3).

    Raises:
        InputError: there are no choices, or the similarities are not finite, or all the same.
    """
    _check(similarities, pair_counts)
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
    _check(log_probabilities, pair_counts)
    predicted = np.exp(log_probabilities).ravel()
    judged = np.repeat(pair_counts.sum(1), 3)
    order = predicted.argsort(kind="stable")
    bins = np.empty(len(order), np.int64)
    bins[order] = np.minimum(NUM_BINS * np.cumsum(judged[order]) // judged.sum(), NUM_BINS - 1)
    sums = pd.DataFrame({"predicted": predicted * judged, "observed": pair_counts.ravel(), "n": judged})
    sums = sums.groupby(bins).sum().query("n > 0")
    return sums.assign(predicted=sums.predicted / sums.n, observed=sums.observed / sums.n).reset_index(drop=True)


def _check(scores: np.ndarray, pair_counts: np.ndarray) -> None:
    if scores.shape != pair_counts.shape or scores.shape[1:] != (3,):
        raise ValueError(f"expected two arrays of shape (m, 3), got {scores.shape} and {pair_counts.shape}")
    if not pair_counts.sum():
        raise InputError("there are no choices to measure")
    if not np.isfinite(scores).all():
        row = int(np.argwhere(~np.isfinite(scores))[0][0])
        raise InputError(f"the scores of triplet {row} are not finite: {scores[row].tolist()}")
