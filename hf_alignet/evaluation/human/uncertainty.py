"""Is a model uncertain where people are? The entropy of its choices against people's entropy and response times.

A model's choice probabilities are softmax(similarities / temperature). The temperature is fitted by likelihood, to
judgments that are not tested. Entropies are in nats; times are means over people of log seconds (Muttenthaler et al.
2025, section 2.2). A model that finds all images equally similar has no uncertainty to compare: its correlations,
which are not defined, are set to 0, and it is marked as constant.
"""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.choices import choice_cross_entropy, human_model_divergence
from hf_alignet.evaluation.human.odd_one_out import similarities_of_triplets
from hf_alignet.evaluation.statistics.calibration import expected_calibration_error, fit_temperature, reliability
from hf_alignet.evaluation.statistics.correlations import spearman
from hf_alignet.judgments import aggregate, shared_triplets
from hf_alignet.judgments.judgment_dataset import COUNTS, RT_LOG_MEAN, known_times
from hf_alignet.judgments.rows import TRIPLET, column
from hf_alignet.metric import Metric
from hf_alignet.ranges import Seed, checked
from hf_alignet.similarity import (
    PAIRS,
    SimilarityKind,
    TripletSimilarity,
    choice_log_probabilities,
    entropy,
    odd_of_pair,
)

logger = logging.getLogger(__name__)

ROUNDING = 1e-5  # differences between similarities, relative to the largest, that may be float32 rounding
TIME_CORRELATION, ENTROPY_CORRELATION = "response_time_spearman", "human_entropy_spearman"


@dataclass(frozen=True)
class Uncertainty:
    """What `evaluate_uncertainty` gives."""

    metrics: dict[str, Metric]  # by name of the measure
    sds: dict[str, float]  # SD over bootstrap samples of each correlation, by name of the measure
    temperature: float  # the fitted temperature; 1 for a constant model
    is_constant: bool  # whether the model finds all images of each triplet equally similar
    reliability: pd.DataFrame  # predicted against observed probabilities, see `reliability`


@checked
def evaluate_uncertainty(
    embeddings: np.ndarray,
    validation: Dataset,
    test: Dataset,
    similarity: SimilarityKind | TripletSimilarity = "dot",
    seed: Seed = 0,
) -> Uncertainty:
    """Cross-entropy, calibration error, divergence from people, and the correlations of uncertainty, of one model.

    Args:
        embeddings: (n, d) of the images that the judgments name by row.
        validation: judgments to fit the temperature to.
        test: judgments to measure on. No triplet of them may be in `validation`.
        similarity: `dot`, `cosine` or `pearson`.
        seed: Seed of the bootstraps.

    Returns:
        With `response_time_spearman` if at least three triplets of `test` have response times, and
        `human_entropy_spearman` if at least three were judged by two people or more.

    Raises:
        InputError: `validation` and `test` share a triplet, hold no choices, or an embedding is not finite.
    """
    shared = shared_triplets(validation, test)
    if shared:
        raise InputError(
            f"{shared} triplets of the test judgments are in the validation judgments too; the temperature must be "
            "fitted to others: split by triplet (`split_by_triplet`)"
        )
    (_, fitted, fitted_counts, _), (triplets, similarities, counts, times) = (
        _measurable(embeddings, judgments, similarity) for judgments in (validation, test)
    )
    constant = is_constant(similarities) or is_constant(fitted)
    temperature = 1.0 if constant else fit_temperature(fitted, fitted_counts)
    if constant:
        logger.warning("the model finds all images equally similar: its correlations with people are set to 0")
        similarities = np.zeros_like(similarities)
    log_probabilities = choice_log_probabilities(torch.from_numpy(similarities).double(), temperature).numpy()
    metrics = {
        "choice_cross_entropy": choice_cross_entropy(log_probabilities, counts, triplets),
        "expected_calibration_error": expected_calibration_error(log_probabilities, counts, seed=seed),
        "human_model_kl": human_model_divergence(log_probabilities, counts, triplets),
    }
    sds = {}
    targets = {TIME_CORRELATION: times, ENTROPY_CORRELATION: choice_entropies(counts)}
    entropies = entropy(torch.from_numpy(log_probabilities)).numpy()
    for name, target in targets.items():
        if np.isfinite(target).sum() >= 3:
            found = spearman(entropies, target, seed, triplets=triplets)
            metrics[name], sds[name] = found.metric, found.sd
    return Uncertainty(metrics, sds, temperature, constant, reliability(log_probabilities, counts))


def _measurable(
    embeddings: np.ndarray, judgments: Dataset, similarity: SimilarityKind | TripletSimilarity
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Triplets (m, 3), similarities (m, 3), counts in pair order (m, 3), and mean log times (m,), NaN if unknown."""
    judged = aggregate(judgments)
    triplets, counts = column(judged, TRIPLET), column(judged, COUNTS)[:, odd_of_pair(np.arange(len(PAIRS)))]
    is_timed = RT_LOG_MEAN in judged.column_names
    times = known_times(judged, RT_LOG_MEAN) if is_timed else np.full(len(judged), np.nan)
    similarities = similarities_of_triplets(embeddings, triplets, similarity).numpy()
    return triplets, similarities, counts.astype(np.int64), times


def is_constant(similarities: np.ndarray) -> bool:
    """Whether the three similarities of every triplet, (m, 3), are equal up to rounding."""
    spread = np.ptp(similarities, axis=1).max(initial=0)
    return bool(spread <= ROUNDING * np.abs(similarities).max(initial=0))


def choice_entropies(pair_counts: np.ndarray) -> np.ndarray:
    """Entropy in nats of people's choices, (m, 3) counts -> (m,), NaN where fewer than two judged.

    With few people it is too low on average, equally so for triplets with the same number of people.
    """
    judged = pair_counts.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.log(pair_counts) - np.log(judged)[:, None]
    return np.where(judged > 1, entropy(torch.from_numpy(shares)).numpy(), np.nan)
