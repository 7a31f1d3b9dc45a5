"""Few-shot accuracy and linear probes: how well simple classifiers learn classes from frozen embeddings.

Alignment moves an embedding towards what people find similar. These measures show whether the structure that other
tasks need, inside and between classes, gains or is lost.
"""

from functools import partial
from typing import Literal

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.evaluation.downstream.classifiers import Fit, fit_neighbours, fit_prototypes, fit_ridge
from hf_alignet.evaluation.downstream.labelled import Labelled, draw_shots, only_in
from hf_alignet.evaluation.downstream.logistic import fit_logistic, fit_probe
from hf_alignet.evaluation.downstream.mlp_head import fit_mlp
from hf_alignet.evaluation.statistics.crossed import crossed_share
from hf_alignet.metric import Metric
from hf_alignet.ranges import Count, Seed, checked

ClassifierKind = Literal["ridge", "chosen_ridge", "logistic", "prototypes", "neighbours", "one_hidden", "two_hidden"]
FITS: dict[str, Fit] = {
    "ridge": fit_ridge,
    "chosen_ridge": partial(fit_ridge, ridge=None),
    "logistic": fit_logistic,
    "prototypes": fit_prototypes,
    "neighbours": fit_neighbours,
    "one_hidden": partial(fit_mlp, hidden_layers=1, seed=0),
    "two_hidden": partial(fit_mlp, hidden_layers=2, seed=0),
}


@checked
def few_shot(
    train: Labelled,
    test: Labelled,
    shots: Count,
    classifier: ClassifierKind = "ridge",
    num_draws: Count = 10,
    seed: Seed = 0,
) -> Metric:
    """Accuracy on all test images of a classifier that has seen `shots` images of each class.

    Args:
        train: images to draw from. No two draws have an image in common, so there can be fewer draws than asked for.
        test: other images of the same classes.
        shots: number of images of each class in a draw, at least 1.
        classifier: `ridge` with the penalty 2**10, as in big_vision; `chosen_ridge`, with the penalty chosen by
            leaving out one image; `logistic`, scikit-learn's defaults, as Sucholutsky & Griffiths (2023) use;
            `prototypes`, the nearest mean; `neighbours`, the five nearest images; or `one_hidden` and `two_hidden`, a
            head with hidden layers (`mlp_head`).
        num_draws: largest number of draws.
        seed: seed of the draws.

    Returns:
        The mean over draws, with an interval over images and shots, or over images if there is only one draw.

    Raises:
        InputError: a class has too few images, or the classes of train and test differ.
    """
    check_same_classes(train, test)
    draws = draw_shots(train, shots, num_draws, seed)
    fit = FITS[classifier]
    correct = [fit(*_of(train, rows), len(train.classes)).predict(test.embeddings) == test.labels for rows in draws]
    return crossed_share(np.stack(correct), (*draws, test.labels), test.chance)


@checked
def linear_probe(train: Labelled, test: Labelled, seed: Seed = 0) -> Metric:
    """Accuracy of a logistic regression on all training images, with its interval over test images.

    The strength of its penalty is chosen on a fifth of the training images. Errors are those of `few_shot`.
    """
    check_same_classes(train, test)
    fitted = fit_probe(train.embeddings, train.labels, len(train.classes), seed)
    return crossed_share((fitted.predict(test.embeddings) == test.labels)[None], (test.labels,), test.chance)


@checked
def mlp_head(train: Labelled, test: Labelled, hidden_layers: Literal[1, 2] = 1, seed: Seed = 0) -> Metric:
    """Accuracy of a head with one or two hidden layers on all training images, as `linear_probe` gives it."""
    check_same_classes(train, test)
    fitted = fit_mlp(train.embeddings, train.labels, len(train.classes), hidden_layers, seed)
    return crossed_share((fitted.predict(test.embeddings) == test.labels)[None], (test.labels,), test.chance)


def check_same_classes(train: Labelled, test: Labelled) -> None:
    """Raises an InputError, which names some, if train and test have other classes, or have them in another order."""
    if list(train.classes) != list(test.classes):
        only = [", ".join(only_in(a.classes, b.classes)) for a, b in ((train, test), (test, train))]
        raise InputError(
            f"train and test have different classes: only in train are {only[0] or 'none'}, only in test "
            f"{only[1] or 'none'}"
        )


def _of(images: Labelled, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return images.embeddings[rows], images.labels[rows]
