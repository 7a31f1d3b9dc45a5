"""How well predicted choice probabilities fit the choices of people: accuracy, cross-entropy, calibration.

Predictions are (m, 3) probabilities that each pair of a triplet is kept together, in pair order; people are (m, 3)
counts of the times that they kept it.
"""

import math

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm

from hf_alignet.errors import InputError
from hf_alignet.metric import Metric
from hf_alignet.similarity import CHANCE, choice_log_probabilities, odd_of_pair, odd_one_out

LOWEST, HIGHEST = 1e-6, 1e6  # temperatures, in units of the spread of the similarities
NUM_BINS = 20


def choice_accuracy(scores: np.ndarray, pair_counts: np.ndarray) -> Metric:
    """Share of choices that are the most probable one; ties are wrong. The interval is Wilson's, over choices.

    Args:
        scores: (m, 3) probabilities, or anything that grows with them, such as similarities.
        pair_counts: (m, 3).

    Raises:
        InputError: there are no choices, or a score is not finite.
    """
    _check(scores, pair_counts)
    odd = odd_one_out(torch.as_tensor(scores)).numpy()
    of_odd = pair_counts[:, odd_of_pair(np.arange(3))]
    correct, n = int(of_odd[odd >= 0, odd[odd >= 0]].sum()), int(pair_counts.sum())
    interval = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return Metric(value=correct / n, n=n, chance=CHANCE, ci95=[float(interval.low), float(interval.high)])


def choice_cross_entropy(probabilities: np.ndarray, pair_counts: np.ndarray) -> Metric:
    """Mean of -log p of the choices made, in nats; lower is better, and ln 3 is guessing.

    The interval is the normal one of a mean over choices. A choice of probability 0 makes it infinite.

    Raises:
        InputError: there are no choices, or a probability is not finite.
    """
    _check(probabilities, pair_counts)
    n = int(pair_counts.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = np.where(pair_counts > 0, -np.log(probabilities.astype(np.float64)), 0)
        value = float((surprise * pair_counts).sum() / n)
        error = math.sqrt(float(((surprise - value) ** 2 * pair_counts).sum()) / n / n)
    half = float(norm.ppf(0.975)) * error
    return Metric(value=value, n=n, chance=math.log(3), ci95=[value - half, value + half])


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


def reliability(probabilities: np.ndarray, pair_counts: np.ndarray) -> pd.DataFrame:
    """Predicted against observed: one row a bin of all pairs' probabilities, equally many judged pairs in each.

    Returns:
        Columns `predicted` (mean probability), `observed` (share of people's choices), `n` (choices that the triplets
        of these pairs got).
    """
    _check(probabilities, pair_counts)
    predicted = probabilities.ravel()
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
