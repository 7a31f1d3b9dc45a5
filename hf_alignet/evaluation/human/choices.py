"""How well predicted choice probabilities fit the choices of people: accuracy, cross-entropy, divergence.

Predictions are (m, 3) log-probabilities that each pair of a triplet is kept together, in pair order. People are (m, 3)
counts: how often they kept each pair together. With `triplets` (m, 3), the rows of their objects, intervals are over
objects, or else over triplets. All raise an InputError if there are no choices, or a prediction is not finite.
"""

import math

import numpy as np
import torch

from hf_alignet.evaluation.statistics.calibration import check_predictions
from hf_alignet.evaluation.statistics.intervals import mean_metric, share_metric
from hf_alignet.metric import Metric
from hf_alignet.similarity import CHANCE, of_chosen_pair


def choice_accuracy(scores: np.ndarray, pair_counts: np.ndarray, triplets: np.ndarray | None = None) -> Metric:
    """Share of choices that are the most probable one; ties are wrong. The interval is Wilson's.

    Args:
        scores: (m, 3) log-probabilities, or anything that grows with them, such as similarities.
        pair_counts: (m, 3).
        triplets: (m, 3) rows of the objects.
    """
    check_predictions(scores, pair_counts)
    correct = of_chosen_pair(torch.as_tensor(scores), torch.as_tensor(pair_counts)).numpy()
    return share_metric(*_judged(correct, pair_counts, triplets), CHANCE)


def choice_cross_entropy(
    log_probabilities: np.ndarray, pair_counts: np.ndarray, triplets: np.ndarray | None = None
) -> Metric:
    """Mean of -log p of the choices made, in nats; lower is better, and ln 3 is guessing."""
    check_predictions(log_probabilities, pair_counts)
    sums = -(log_probabilities * pair_counts).sum(1)
    return mean_metric(*_judged(sums, pair_counts, triplets), chance=math.log(3))


def human_model_divergence(
    log_probabilities: np.ndarray, pair_counts: np.ndarray, triplets: np.ndarray | None = None
) -> Metric:
    """Mean over triplets of KL(people's shares ‖ model) in nats; 0 is best, chance is that of an even guess.

    Shares of few people are noisy, which adds the same to every model.
    """
    check_predictions(log_probabilities, pair_counts)
    is_judged = pair_counts.any(1)
    counts = pair_counts[is_judged]
    shares = counts / counts.sum(1, keepdims=True)
    of_people = -torch.special.entr(torch.from_numpy(shares)).sum(-1).numpy()
    divergences = of_people - (shares * log_probabilities[is_judged]).sum(1)
    members = None if triplets is None else triplets[is_judged]
    return mean_metric(divergences, members=members, chance=math.log(3) + float(of_people.mean()))


def _judged(
    sums: np.ndarray, pair_counts: np.ndarray, triplets: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Sums over choices, numbers of choices, and objects of the triplets that people judged."""
    judged = pair_counts.sum(1)
    is_judged = judged > 0
    return sums[is_judged], judged[is_judged], None if triplets is None else triplets[is_judged]
