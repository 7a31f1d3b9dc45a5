"""Few-shot accuracy: how much of a class a linear classifier learns from one or ten images of it.

Alignment moves an embedding towards what people find similar. Whether it costs the fine structure inside and between
classes, which people were never asked about, shows here.
"""

import numpy as np
from scipy.stats import t
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_alignet.errors import InputError
from hf_alignet.evaluation.odd_one_out import Metric

RIDGE = 1.0  # per image of the shots, on standardised dimensions


def few_shot_accuracy(
    embeddings: np.ndarray, labels: np.ndarray, shots: int, num_draws: int = 10, seed: int = 0
) -> Metric:
    """Accuracy of a ridge classifier on frozen embeddings, fitted to `shots` images of each class.

    Every draw takes other shots and measures on all other images. Which images are drawn depends on the labels and
    the seed alone, so that two models are measured on the same.

    Args:
        embeddings: (n, d).
        labels: (n,) classes.
        shots: images of each class to learn from, fewer than the smallest class has.
        num_draws: at least 2.
        seed: of the draws.

    Returns:
        The mean over draws; `n` counts draws, and the interval is Student's over them.

    Raises:
        InputError: a class has too few images, or an embedding is not finite.
    """
    classes, positions, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if sizes.min() <= shots:
        raise InputError(f"class {classes[sizes.argmin()]} has {sizes.min()} images, too few for {shots} shots")
    if not np.isfinite(embeddings).all():
        raise InputError(f"row {np.argwhere(~np.isfinite(embeddings))[0][0]} of the embeddings is not finite")
    rng = np.random.default_rng(seed)
    accuracies = []
    for _ in range(num_draws):
        is_shot = _draw(positions, shots, rng)
        classifier = make_pipeline(StandardScaler(), RidgeClassifier(alpha=RIDGE * is_shot.sum()))
        classifier.fit(embeddings[is_shot], positions[is_shot])
        accuracies.append(classifier.score(embeddings[~is_shot], positions[~is_shot]))
    mean, error = np.mean(accuracies), np.std(accuracies, ddof=1) / np.sqrt(num_draws)
    half = t.ppf(0.975, num_draws - 1) * error
    return Metric(
        value=float(mean), n=num_draws, chance=1 / len(classes), ci95=[float(mean - half), float(mean + half)]
    )


def _draw(positions: np.ndarray, shots: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool with `shots` images of each class true."""
    order = rng.permutation(len(positions))
    order = order[np.argsort(positions[order], kind="stable")]  # by class, in random order inside
    starts = np.searchsorted(positions[order], positions[order])
    is_shot = np.zeros(len(positions), bool)
    is_shot[order[np.arange(len(order)) - starts < shots]] = True
    return is_shot
