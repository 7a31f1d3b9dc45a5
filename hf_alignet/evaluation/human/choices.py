"""How well predicted choice probabilities fit the choices of people: accuracy, cross-entropy, divergence.

Predictions are (m, 3) log-probabilities that each pair of a triplet is kept together, in pair order. People are (m, 3)
counts: how often they kept each pair together. Choices of one triplet are not independent: intervals are over
triplets. All raise an InputError if there are no choices, or a prediction is not finite.
"""

import math

import numpy as np
import torch

from hf_alignet.evaluation.statistics.calibration import check_predictions
from hf_alignet.evaluation.statistics.intervals import normal_interval, wilson_interval
from hf_alignet.metric import Metric
from hf_alignet.similarity import CHANCE, odd_of_pair, odd_one_out


def choice_accuracy(scores: np.ndarray, pair_counts: np.ndarray) -> Metric:
    """Share of choices that are the most probable one; ties are wrong. The interval is Wilson's, over triplets.

    Args:
        scores: (m, 3) log-probabilities, or anything that grows with them, such as similarities.
        pair_counts: (m, 3).
    """
    check_predictions(scores, pair_counts)
    odd = odd_one_out(torch.as_tensor(scores)).numpy()
    of_odd = pair_counts[:, odd_of_pair(np.arange(3))]
    correct = np.where(odd >= 0, np.take_along_axis(of_odd, odd[:, None].clip(0), 1).squeeze(1), 0)
    value, variance = _mean_and_variance(correct, pair_counts)
    n = int(pair_counts.sum())
    # The number of choices, each of another triplet, that would give the same variance
    independent = value * (1 - value) / variance if variance > 0 else np.count_nonzero(pair_counts.sum(1))
    return Metric(value=value, n=n, chance=CHANCE, ci95=wilson_interval(value, min(float(independent), n)))


def choice_cross_entropy(log_probabilities: np.ndarray, pair_counts: np.ndarray) -> Metric:
    """Mean of -log p of the choices made, in nats; lower is better, and ln 3 is guessing.

    The interval is the normal one of a mean over triplets.
    """
    check_predictions(log_probabilities, pair_counts)
    value, variance = _mean_and_variance(-(log_probabilities * pair_counts).sum(1), pair_counts)
    ci95 = normal_interval(value, math.sqrt(variance))
    return Metric(value=value, n=int(pair_counts.sum()), chance=math.log(3), ci95=ci95)


def human_model_divergence(log_probabilities: np.ndarray, pair_counts: np.ndarray) -> Metric:
    """Mean over triplets of KL(people's shares ‖ model) in nats; 0 is best, chance is that of an even guess.

    The interval is the normal one of a mean over triplets. Shares of few people are noisy, which adds the same to
    every model.
    """
    check_predictions(log_probabilities, pair_counts)
    is_judged = pair_counts.any(1)
    counts = pair_counts[is_judged]
    shares = counts / counts.sum(1, keepdims=True)
    of_people = -torch.special.entr(torch.from_numpy(shares)).sum(-1).numpy()
    divergences = of_people - (shares * log_probabilities[is_judged]).sum(1)
    n, value = len(divergences), float(divergences.mean())
    error = float(divergences.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    chance = math.log(3) + float(of_people.mean())
    return Metric(value=value, n=n, chance=chance, ci95=normal_interval(value, error))


def _mean_and_variance(sums: np.ndarray, pair_counts: np.ndarray) -> tuple[float, float]:
    """Mean over choices, and its variance, of a quantity that is given as its sum over the choices of each triplet."""
    judged = pair_counts.sum(1)
    value = float(sums.sum() / judged.sum())
    return value, float(((sums - value * judged) ** 2).sum() / judged.sum() ** 2)
