"""Few-shot accuracy: how well a linear classifier learns classes from one or ten images of each.

Alignment moves an embedding towards what people find similar. Few-shot accuracy shows whether the fine structure
inside and between classes, which people did not judge, gets lost.
"""

from typing import Annotated

import numpy as np
import scipy

from hf_alignet.errors import InputError
from hf_alignet.evaluation.downstream.labelled import ranks_in_classes
from hf_alignet.evaluation.statistics.intervals import mean_metric
from hf_alignet.metric import Metric
from hf_alignet.ranges import Count, Range, Seed, checked
from hf_alignet.similarity import check_finite

RIDGES = np.logspace(-4, 2, 7)  # per image of the shots, on standardised dimensions


@checked
def few_shot_accuracy(
    embeddings: np.ndarray,
    labels: np.ndarray,
    shots: Count,
    num_draws: Annotated[int, Range(2)] = 20,
    seed: Seed = 0,
) -> Metric:
    """Accuracy of a ridge classifier on frozen embeddings, fitted to `shots` images of each class.

    Every draw takes other shots. One half of the other images chooses the strength of the ridge, and accuracy is
    measured on the other half. The strength is chosen for each model: if alignment only stretches some directions of
    an embedding, the strength that was right before shrinks the other directions. The draws depend on the labels and
    the seed alone, so that two models are measured on the same images.

    `few_shot` is the measure of the command `evaluate`, and the one for new work. This one measured the published
    numbers of the recipes `tiny-imagenet` and `things-vit-tiny`. Neither can give the numbers of the other: here every
    draw divides one dataset anew into images to learn from, to choose by and to test on, there the test images stay;
    here other images than the shots choose the strength, there it is fixed, or chosen on the shots; and here the
    interval is over draws, which share images, there over images and shots.

    Args:
        embeddings: (n, d).
        labels: (n,) classes.
        shots: number of images of each class to learn from. Each class needs two more.
        num_draws: Number of draws.
        seed: Seed of the random draws.

    Returns:
        The mean over draws; `n` counts draws, and the interval is Student's over draws. It covers the choice of the
        shots, not that of the images, which all draws share.

    Raises:
        InputError: a class has too few images, or an embedding is not finite.
    """
    if len(labels) != len(embeddings):
        raise InputError(f"{len(embeddings)} embeddings need one label each, got {len(labels)} labels")
    classes, positions, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise InputError(f"there is nothing to tell apart: the labels have {len(classes)} classes, and need 2 or more")
    if sizes.min() < shots + 2:
        raise InputError(
            f"class {classes[sizes.argmin()]} has {sizes.min()} images, too few for {shots} shots and 2 to measure on"
        )
    check_finite(embeddings)
    rng = np.random.default_rng(seed)
    accuracies = [_accuracy(embeddings, positions, *_draw(positions, shots, rng)) for _ in range(num_draws)]
    return mean_metric(np.array(accuracies), unit="draws", chance=1 / len(classes))


def _accuracy(x: np.ndarray, y: np.ndarray, shots: np.ndarray, choosing: np.ndarray, measured: np.ndarray) -> float:
    """Accuracy on the rows `measured` of a classifier that was fitted to `shots` and is the best on `choosing`.

    One eigendecomposition serves all strengths: (X'X + α)⁻¹ = V (Λ + α)⁻¹ V'.
    """
    from sklearn.preprocessing import StandardScaler

    x = StandardScaler().fit(x[shots].astype(np.float64)).transform(x)
    signs = np.where(y[shots, None] == np.arange(y.max() + 1), 1.0, -1.0)
    mean = signs.mean(0)
    values, vectors = scipy.linalg.eigh(x[shots].T @ x[shots])
    inside = vectors.T @ (x[shots].T @ (signs - mean))
    answers = [inside / (values + ridge * len(shots))[:, None] for ridge in RIDGES]
    for_choice, for_measure = x[choosing] @ vectors, x[measured] @ vectors
    shares = [np.mean((for_choice @ weight + mean).argmax(1) == y[choosing]) for weight in answers]
    best = answers[int(np.argmax(shares))]
    return float(np.mean((for_measure @ best + mean).argmax(1) == y[measured]))


def _draw(positions: np.ndarray, shots: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of three sets: `shots` images of each class, and two halves of the other images of each class."""
    rank = ranks_in_classes(positions, rng)
    order = np.lexsort((rank, positions))  # by class, in random order inside
    rank = rank[order] - shots
    return order[rank < 0], order[(rank >= 0) & (rank % 2 == 0)], order[(rank >= 0) & (rank % 2 == 1)]
