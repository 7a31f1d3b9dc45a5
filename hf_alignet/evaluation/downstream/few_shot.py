"""Few-shot accuracy: how much of a class a linear classifier learns from one or ten images of it.

Alignment moves an embedding towards what people find similar. Whether it costs the fine structure inside and between
classes, which people were never asked about, shows here.
"""

import numpy as np
from scipy.stats import t
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler

from hf_alignet.errors import InputError
from hf_alignet.metric import Metric

RIDGES = np.logspace(-4, 2, 7)  # per image of the shots, on standardised dimensions


def few_shot_accuracy(
    embeddings: np.ndarray, labels: np.ndarray, shots: int, num_draws: int = 20, seed: int = 0
) -> Metric:
    """Accuracy of a ridge classifier on frozen embeddings, fitted to `shots` images of each class.

    Every draw takes other shots. Of all other images one half chooses the strength of the ridge, and the other half
    is measured on. One strength for all models would not do: where alignment has only stretched some directions of an
    embedding, a ridge that was right before shrinks the others. What is drawn depends on the labels and the seed
    alone, so that two models are measured on the same.

    Args:
        embeddings: (n, d).
        labels: (n,) classes.
        shots: images of each class to learn from; the smallest class has two more.
        num_draws: at least 2.
        seed: of the draws.

    Returns:
        The mean over draws; `n` counts draws, and the interval is Student's over them. It covers the choice of shots;
        that of the images, which draws have in common, is not in it.

    Raises:
        InputError: a class has too few images, or an embedding is not finite.
    """
    classes, positions, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if sizes.min() < shots + 2:
        raise InputError(
            f"class {classes[sizes.argmin()]} has {sizes.min()} images, too few for {shots} shots and 2 to measure on"
        )
    if not np.isfinite(embeddings).all():
        raise InputError(f"row {np.argwhere(~np.isfinite(embeddings))[0][0]} of the embeddings is not finite")
    rng = np.random.default_rng(seed)
    accuracies = [_accuracy(embeddings, positions, *_draw(positions, shots, rng)) for _ in range(num_draws)]
    mean, error = np.mean(accuracies), np.std(accuracies, ddof=1) / np.sqrt(num_draws)
    half = t.ppf(0.975, num_draws - 1) * error
    return Metric(
        value=float(mean), n=num_draws, chance=1 / len(classes), ci95=[float(mean - half), float(mean + half)]
    )


def _accuracy(x: np.ndarray, y: np.ndarray, shots: np.ndarray, choosing: np.ndarray, measured: np.ndarray) -> float:
    """Of the classifier fitted to rows `shots` that is best on rows `choosing`, on rows `measured`."""
    scaler = StandardScaler().fit(x[shots])
    x = scaler.transform(x)
    fitted = [RidgeClassifier(alpha=ridge * len(shots)).fit(x[shots], y[shots]) for ridge in RIDGES]
    best = max(fitted, key=lambda classifier: classifier.score(x[choosing], y[choosing]))
    return best.score(x[measured], y[measured])


def _draw(positions: np.ndarray, shots: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of three sets: `shots` of each class, and two halves of the rest of each."""
    order = rng.permutation(len(positions))
    order = order[np.argsort(positions[order], kind="stable")]  # by class, in random order inside
    rank = np.arange(len(order)) - np.searchsorted(positions[order], positions[order]) - shots
    return order[rank < 0], order[(rank >= 0) & (rank % 2 == 0)], order[(rank >= 0) & (rank % 2 == 1)]
