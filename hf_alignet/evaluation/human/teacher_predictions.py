"""How well a teacher predicts the choices of people: before its transform, after it, and the VICE it learned from."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Self

import numpy as np
import pandas as pd
import torch
from datasets import Dataset, DatasetDict

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.choices import choice_accuracy, choice_cross_entropy, fit_temperature, reliability
from hf_alignet.judgments import object_folds, objects_within, triplets_within
from hf_alignet.judgments.rows import TRIPLET, column
from hf_alignet.metric import Metric
from hf_alignet.similarity import choice_log_probabilities, triplet_similarities
from hf_alignet.teacher.choice_likelihood import pair_counts
from hf_alignet.teacher.fitting import FittedTeacher
from hf_alignet.teacher.vice import Vice

Predictor = Callable[[np.ndarray], np.ndarray]  # triplets (m, 3) -> log-probabilities (m, 3) in pair order

logger = logging.getLogger(__name__)

BASE, ALIGNED, VICE = "base", "aligned", "vice"


def base_temperature(features: np.ndarray, judgments: Dataset) -> float:
    """The temperature at which features (n, p) as they are predict judgments best: their unit means nothing."""
    triplets, counts = pair_counts(judgments)
    return fit_temperature(_similarities(features, triplets).numpy(), counts)


def predictors(features: np.ndarray, teacher: FittedTeacher, temperature: float) -> dict[str, Predictor]:
    """`base`, the features as they are; `aligned`, transformed; and `vice` if there is one.

    Args:
        features: (n, p) of the stimuli.
        teacher: what was fitted.
        temperature: of `base`.
    """
    transformed = teacher.transform(features)
    found: dict[str, Predictor] = {
        BASE: lambda rows: dot_product_choices(features, rows, temperature),
        ALIGNED: lambda rows: dot_product_choices(transformed, rows),
    }
    vice = teacher.vice
    return found | ({VICE: lambda rows: vice_choices(vice, rows)} if vice is not None else {})


def dot_product_choices(vectors: np.ndarray, triplets: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(m, 3) float64 log-probabilities by the dot products of vectors (n, p).

    In double precision, since at the high temperature that fits an uninformative model all are nearly the same.
    """
    return choice_log_probabilities(_similarities(vectors, triplets).double(), temperature).numpy()


def vice_choices(vice: Vice, triplets: np.ndarray) -> np.ndarray:
    """(m, 3) float64 log-probabilities by VICE, a mean over draws that float32 could round to zero."""
    return np.log(vice.choice_probabilities(triplets).clip(np.finfo(np.float32).tiny).astype(np.float64))


def _similarities(vectors: np.ndarray, triplets: np.ndarray) -> torch.Tensor:
    return triplet_similarities(torch.from_numpy(vectors), torch.from_numpy(triplets))


class Predictions:
    """What several predictors say of the same choices of people, gathered bit by bit."""

    def __init__(self) -> None:
        self._predicted: dict[str, list[np.ndarray]] = {}
        self._counts: list[np.ndarray] = []

    @classmethod
    def of(cls, found: Mapping[str, Predictor], judgments: Dataset) -> Self:
        predictions = cls()
        predictions.add(found, judgments)
        return predictions

    def add(self, found: Mapping[str, Predictor], judgments: Dataset) -> None:
        triplets, counts = pair_counts(judgments)
        self._counts.append(counts)
        for name, predict in found.items():
            self._predicted.setdefault(name, []).append(predict(triplets))

    def measure(self, prefix: str) -> dict[str, dict[str, Metric]]:
        """Of each predictor, `{prefix/odd_one_out_accuracy: …, prefix/choice_cross_entropy: …}`."""
        counts = np.concatenate(self._counts)
        return {
            name: {
                f"{prefix}/odd_one_out_accuracy": choice_accuracy(np.concatenate(parts), counts),
                f"{prefix}/choice_cross_entropy": choice_cross_entropy(np.concatenate(parts), counts),
            }
            for name, parts in self._predicted.items()
        }

    def reliability(self) -> dict[str, pd.DataFrame]:
        """Of each predictor, predicted against observed (see `hf_alignet.evaluation.human.choices`)."""
        counts = np.concatenate(self._counts)
        return {name: reliability(np.concatenate(parts), counts) for name, parts in self._predicted.items()}


def draw_folds(splits: DatasetDict, num_objects: int, number: int, seed: int) -> np.ndarray:
    """Folds of the objects such that triplets lie inside one of them, and training ones outside of each.

    Args:
        splits: judgments, one of them `train`.
        num_objects: n.
        number: of folds.
        seed: of the draw.

    Returns:
        (n,) numbers of folds.

    Raises:
        InputError: there are too few judgments for so many folds, or so few.
    """
    folds = object_folds(num_objects, number, seed)
    every = [column(judgments, TRIPLET) for judgments in splits.values()]
    train = column(splits["train"], TRIPLET)
    is_inside = [triplets_within(triplets, folds == fold).any() for triplets in every for fold in range(number)]
    is_outside = [triplets_within(train, folds != fold).any() for fold in range(number)]
    if not (any(is_inside) and all(is_outside)):
        raise InputError(
            f"there are too few judgments for {number} folds of the objects: a triplet counts only if all of its "
            "objects are on one side; change `object_folds`, or leave it out"
        )
    return folds


def predict_new_objects(
    features: np.ndarray,
    splits: DatasetDict,
    folds: np.ndarray,
    fit: Callable[[np.ndarray, Dataset, int], FittedTeacher],
) -> Predictions:
    """Predictions for objects that nothing was fitted to, VICE included: everything is fitted anew in each fold.

    Args:
        features: (n, p) of the stimuli.
        splits: judgments of them; `train` is fitted to, in all of them those about the objects left out are predicted.
        folds: (n,) from `draw_folds`.
        fit: a teacher to features, judgments of them, and the number of the fold left out.
    """
    predictions = Predictions()
    for fold in range(folds.max() + 1):
        logger.info("fold %d of %d of the objects is left out", fold + 1, folds.max() + 1)
        is_old = folds != fold
        train = objects_within(splits["train"], is_old)
        teacher = replace(fit(features[is_old], train, fold), vice=None)  # VICE knows nothing of other objects
        found = predictors(features[~is_old], teacher, base_temperature(features[is_old], train))
        for judgments in splits.values():
            new = objects_within(judgments, ~is_old)
            if len(new):
                predictions.add(found, new)
    return predictions
