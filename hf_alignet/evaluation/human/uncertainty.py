"""Does a model hesitate where people do? Entropy of its choices against theirs and their response times; calibration.

A model's choice probabilities are softmax(similarities / temperature), the temperature fitted by likelihood to other
judgments than those it is tested on. Entropies are in nats, times in log seconds, means over people (Muttenthaler et
al. 2025, section 2.2). A model that finds all images equally similar says nothing about uncertainty: its correlations
are 0, and it is marked, since a correlation with a constant is not defined.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.choices import Z95, fit_temperature, reliability
from hf_alignet.evaluation.statistics.intervals import DRAWS, LEVELS_OF_95
from hf_alignet.judgments import aggregate, shared_triplets
from hf_alignet.judgments.judgment_dataset import COUNTS, RT_LOG_MEAN, known_times
from hf_alignet.judgments.rows import TRIPLET, column
from hf_alignet.metric import Metric
from hf_alignet.similarity import (
    PAIRS,
    SimilarityKind,
    choice_log_probabilities,
    entropy,
    odd_of_pair,
    triplet_similarities,
)

logger = logging.getLogger(__name__)

NUM_BINS = 10  # of confidence, of equal width, as gLocal's calibration has them
ROUNDING = 1e-5  # differences of similarities, relative to the largest, that float32 sums may make of nothing
TIME_CORRELATION, ENTROPY_CORRELATION = "response_time_spearman", "human_entropy_spearman"
CALIBRATION_ERROR, DIVERGENCE = "expected_calibration_error", "human_model_kl"


class Correlation(NamedTuple):
    """Spearman's ρ over items, the SD of its bootstrap, and whether one side was constant, so that ρ is set to 0."""

    metric: Metric
    sd: float
    is_constant: bool


@dataclass(frozen=True)
class Uncertainty:
    """What `evaluate_uncertainty` gives.

    Attributes:
        metrics: by name of the measure.
        sds: SD over bootstraps of the correlations among them.
        temperature: that was fitted; 1 for a constant model.
        is_constant: whether the model finds all images of each triplet equally similar.
        reliability: predicted against observed probabilities (see `choices.reliability`).
    """

    metrics: dict[str, Metric]
    sds: dict[str, float]
    temperature: float
    is_constant: bool
    reliability: pd.DataFrame


def evaluate_uncertainty(
    embeddings: np.ndarray,
    validation: Dataset,
    test: Dataset,
    similarity: SimilarityKind = "dot",
    seed: int = 0,
) -> Uncertainty:
    """All measures of this module for one model.

    Args:
        embeddings: (n, d) of the images that the judgments point into.
        validation: judgments that the temperature is fitted to, by likelihood.
        test: judgments that are measured on, no triplet of which is in `validation`.
        similarity: `dot`, `cosine` or `pearson`.
        seed: of the bootstraps.

    Returns:
        With `response_time_spearman` where at least three triplets of `test` have response times, and
        `human_entropy_spearman` where at least three were judged by two people or more.

    Raises:
        InputError: the two share a triplet, hold no choices, or an embedding is not finite.
    """
    if not np.isfinite(embeddings).all():
        raise InputError(f"row {np.argwhere(~np.isfinite(embeddings))[0][0]} of the embeddings is not finite")
    shared = shared_triplets(validation, test)
    if shared:
        raise InputError(
            f"{shared} triplets of the test judgments are in the validation judgments too; the temperature must be "
            "fitted to others: split by triplet (`split_by_triplet`)"
        )
    (fitted, fitted_counts, _), (similarities, counts, times) = (
        _measurable(embeddings, judgments, similarity) for judgments in (validation, test)
    )
    constant = is_constant(similarities) or is_constant(fitted)
    temperature = 1.0 if constant else fit_temperature(fitted, fitted_counts)
    if constant:
        logger.warning("the model finds all images equally similar: its correlations with people are set to 0")
        similarities = np.zeros_like(similarities)
    log_probabilities = choice_log_probabilities(torch.from_numpy(similarities).double(), temperature).numpy()
    metrics = {
        CALIBRATION_ERROR: expected_calibration_error(log_probabilities, counts, seed=seed),
        DIVERGENCE: human_model_divergence(log_probabilities, counts),
    }
    sds = {}
    targets = {TIME_CORRELATION: times, ENTROPY_CORRELATION: choice_entropies(counts)}
    entropies = entropy(torch.from_numpy(log_probabilities)).numpy()
    for name, target in targets.items():
        if np.isfinite(target).sum() >= 3:
            found = spearman(entropies, target, seed)
            metrics[name], sds[name] = found.metric, found.sd
    return Uncertainty(metrics, sds, temperature, constant, reliability(log_probabilities, counts))


def _measurable(
    embeddings: np.ndarray, judgments: Dataset, similarity: SimilarityKind
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each triplet similarities (m, 3), counts in pair order (m, 3), and mean log time (m,), NaN if unknown."""
    judged = aggregate(judgments)
    triplets, counts = column(judged, TRIPLET), column(judged, COUNTS)[:, odd_of_pair(np.arange(len(PAIRS)))]
    known = RT_LOG_MEAN in judged.column_names
    times = known_times(judged, RT_LOG_MEAN) if known else np.full(len(judged), np.nan)
    similarities = triplet_similarities(torch.as_tensor(embeddings), torch.as_tensor(triplets).long(), similarity)
    return similarities.numpy(), counts.astype(np.int64), times


def is_constant(similarities: np.ndarray) -> bool:
    """Whether the three similarities (m, 3) of every triplet are the same, but for rounding."""
    spread = np.ptp(similarities, axis=1).max(initial=0)
    return bool(spread <= ROUNDING * np.abs(similarities).max(initial=0))


def choice_entropies(pair_counts: np.ndarray) -> np.ndarray:
    """Entropy in nats of people's choices, (m, 3) counts -> (m,), NaN where fewer than two judged.

    With few people it is biased downwards, but alike for triplets that as many judged.
    """
    judged = pair_counts.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.log(pair_counts) - np.log(judged)[:, None]
    return np.where(judged > 1, entropy(torch.from_numpy(shares)).numpy(), np.nan)


def spearman(x: np.ndarray, y: np.ndarray, seed: int = 0, draws: int = DRAWS) -> Correlation:
    """Spearman's ρ of two measures of items, with the bootstrap over items.

    Args:
        x: (m,) such as a model's entropies.
        y: (m,) such as mean log response times; items where either is NaN are left out.
        seed: of the bootstrap.
        draws: of the bootstrap; a draw in which one side is constant gives 0.

    Returns:
        `n` counts items, chance is 0, and the interval is that of the bootstrap's quantiles. Where one side is
        constant, everything is 0 and `is_constant` true.

    Raises:
        InputError: fewer than three items are left.
    """
    is_known = ~(np.isnan(x) | np.isnan(y))
    number = int(is_known.sum())
    if number < 3:
        raise InputError(f"a correlation needs three items that both sides know, there are {number}")
    ranks = [_MidRanks(values[is_known]) for values in (np.asarray(x), np.asarray(y))]
    if any(side.is_constant for side in ranks):
        return Correlation(Metric(value=0.0, n=number, chance=0.0, ci95=[0.0, 0.0]), 0.0, True)
    value = _correlation(ranks, np.ones(number))
    found = _bootstrap(lambda times: _correlation(ranks, times), number, seed, draws)
    low, high = np.quantile(found, LEVELS_OF_95).tolist()
    return Correlation(Metric(value=value, n=number, chance=0.0, ci95=[low, high]), float(found.std(ddof=1)), False)


class _MidRanks:
    """Ranks of values that are drawn several times, ties at their mean rank, sorted once for all draws."""

    def __init__(self, values: np.ndarray):
        distinct, self.codes = np.unique(values, return_inverse=True)
        self.number = len(distinct)
        self.is_constant = self.number == 1

    def __call__(self, times: np.ndarray) -> np.ndarray:
        """Ranks (m,) among the drawn, given how often each item was (m,), up to a constant."""
        of_value = np.bincount(self.codes, times, self.number)
        return (np.cumsum(of_value) - of_value / 2)[self.codes]


def _correlation(ranks: list[_MidRanks], times: np.ndarray) -> float:
    """Pearson's correlation of ranks, each item as often as it was drawn; 0 where one side is constant."""
    first, second = (side(times) for side in ranks)
    first, second = (side - side @ times / times.sum() for side in (first, second))
    variances = (first**2 @ times) * (second**2 @ times)
    return float((first * second) @ times / math.sqrt(variances)) if variances > 0 else 0.0


def _bootstrap(statistic: Callable[[np.ndarray], float], number: int, seed: int, draws: int = DRAWS) -> np.ndarray:
    """Values (draws,) of a statistic, given how often each of `number` items was drawn."""
    rng = np.random.default_rng(seed)
    return np.array(
        [
            statistic(np.bincount(rng.integers(0, number, number), minlength=number).astype(np.float64))
            for _ in range(draws)
        ]
    )


def expected_calibration_error(
    log_probabilities: np.ndarray, pair_counts: np.ndarray, num_bins: int = NUM_BINS, seed: int = 0
) -> Metric:
    """How far a model's confidence is from the share of people who agree with it; 0 is best.

    ECE = sum_b n_b / n |mean confidence - share of agreement| over bins of equal width of the largest probability. Of
    pairs that are tied for it the mean share counts, so that an even guess is calibrated.

    Args:
        log_probabilities: (m, 3) in pair order.
        pair_counts: (m, 3) of people's choices.
        num_bins: from 0 to 1; with three pairs, confidence begins at 1/3.
        seed: of the bootstrap over triplets. Its values lie above the ECE, which noise can only raise, so that the
            interval is mirrored at the value (the basic bootstrap) and cut at 0.

    Raises:
        InputError: there are no choices, or a log-probability is not finite.
    """
    reliability(log_probabilities, pair_counts)  # refuses what cannot be measured
    probabilities, judged = np.exp(log_probabilities), pair_counts.sum(1)
    confidence = probabilities.max(1)
    is_largest = log_probabilities == log_probabilities.max(axis=1, keepdims=True)
    agreeing = (pair_counts * is_largest).sum(1) / is_largest.sum(1)
    bins = np.minimum((confidence * num_bins).astype(np.int64), num_bins - 1)
    gaps = confidence * judged - agreeing

    def error(times: np.ndarray) -> float:
        return float(np.abs(np.bincount(bins, gaps * times, num_bins)).sum() / max(judged @ times, 1))

    value = error(np.ones(len(judged)))
    low, high = np.quantile(_bootstrap(error, len(judged), seed), LEVELS_OF_95)
    ci95 = [max(float(2 * value - high), 0.0), max(float(2 * value - low), 0.0)]
    return Metric(value=value, n=int(judged.sum()), chance=0.0, ci95=ci95)


def human_model_divergence(log_probabilities: np.ndarray, pair_counts: np.ndarray) -> Metric:
    """Mean over triplets of KL(people's shares ‖ model) in nats; 0 is best, chance is that of an even guess.

    The interval is the normal one of a mean over triplets. Shares of few people are noisy, which adds to every model
    alike.

    Raises:
        InputError: there are no choices, or a log-probability is not finite.
    """
    reliability(log_probabilities, pair_counts)  # refuses what cannot be measured
    is_judged = pair_counts.any(1)
    counts = pair_counts[is_judged]
    shares = counts / counts.sum(1, keepdims=True)
    of_people = -torch.special.entr(torch.from_numpy(shares)).sum(-1).numpy()
    divergences = of_people - (shares * log_probabilities[is_judged]).sum(1)
    value, half = float(divergences.mean()), 0.0
    if len(divergences) > 1:
        half = Z95 * float(divergences.std(ddof=1)) / math.sqrt(len(divergences))
    chance = math.log(3) + float(of_people.mean())
    return Metric(value=value, n=len(divergences), chance=chance, ci95=[value - half, value + half])
