"""How well a teacher predicts the choices of people: without its transform, with it, and by the VICE behind it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Self

import numpy as np
import pandas as pd
import torch
from datasets import Dataset, DatasetDict

from hf_alignet.encoder.context_transform import ContextTransform
from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.choices import choice_accuracy, choice_cross_entropy
from hf_alignet.evaluation.human.odd_one_out import similarities_of_triplets
from hf_alignet.evaluation.statistics.calibration import fit_temperature, reliability
from hf_alignet.judgments import object_folds, objects_within, triplets_within
from hf_alignet.judgments.rows import TRIPLET, column
from hf_alignet.metric import Metric
from hf_alignet.processes import share_tasks
from hf_alignet.ranges import Count, Seed, checked
from hf_alignet.similarity import choice_log_probabilities, of_chosen_pair
from hf_alignet.teacher.choice_likelihood import pair_counts
from hf_alignet.teacher.choosing import standard_error
from hf_alignet.teacher.fitting import FittedTeacher
from hf_alignet.teacher.vice import Vice

Predictor = Callable[[np.ndarray], np.ndarray]  # triplets (m, 3) -> log-probabilities (m, 3) in pair order

logger = logging.getLogger(__name__)

BASE, ALIGNED, VICE, PLAIN = "base", "aligned", "vice", "without_context"


def base_temperature(features: np.ndarray, judgments: Dataset) -> float:
    """The temperature at which untransformed features (n, p), whose unit is arbitrary, predict judgments best."""
    triplets, counts = pair_counts(judgments)
    return fit_temperature(similarities_of_triplets(features, triplets).numpy(), counts)


def predictors(features: np.ndarray, teacher: FittedTeacher, temperature: float) -> dict[str, Predictor]:
    """`base`, by features (n, p) at a temperature; `aligned`, by transformed ones; `vice`, if the teacher has one.

    Where the context counts, `aligned` heeds it, and `without_context` are the transformed features alone.
    """
    plain = partial(dot_product_choices, teacher.transform(features))
    found: dict[str, Predictor] = {
        BASE: lambda rows: dot_product_choices(features, rows, temperature),
        ALIGNED: plain,
    }
    if teacher.context is not None:
        found |= {ALIGNED: partial(context_choices, teacher.context, features), PLAIN: plain}
    return found | ({VICE: partial(vice_choices, teacher.vice)} if teacher.vice is not None else {})


def dot_product_choices(vectors: np.ndarray, triplets: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(m, 3) float64 log-probabilities by the dot products of vectors (n, p).

    In double precision, since they are nearly equal at the high temperature that fits an uninformative model.
    """
    return choice_log_probabilities(similarities_of_triplets(vectors, triplets).double(), temperature).numpy()


def context_choices(context: ContextTransform, features: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    """(m, 3) float64 log-probabilities by features (n, p) in the context of their triplet."""
    similarities = similarities_of_triplets(features, triplets, context.similarities)
    return choice_log_probabilities(similarities.double()).numpy()


def vice_choices(vice: Vice, triplets: np.ndarray) -> np.ndarray:
    """(m, 3) float64 log-probabilities by VICE. Probabilities that float32 rounded to zero are raised a little."""
    return np.log(vice.choice_probabilities(triplets).clip(np.finfo(np.float32).tiny).astype(np.float64))


class Predictions:
    """Predictions of the same choices of people by several predictors, collected part after part."""

    def __init__(self) -> None:
        self._predicted: dict[str, list[np.ndarray]] = {}
        self._counts: list[np.ndarray] = []
        self._triplets: list[np.ndarray] = []

    @classmethod
    def of(cls, found: Mapping[str, Predictor], judgments: Dataset) -> Self:
        predictions = cls()
        predictions.add(found, judgments)
        return predictions

    def add(self, found: Mapping[str, Predictor], judgments: Dataset, objects: np.ndarray | None = None) -> None:
        """Adds judgments. Without `objects` (n,), their names, the rows of triplets name them."""
        triplets, counts = pair_counts(judgments)
        self._counts.append(counts)
        self._triplets.append(triplets if objects is None else objects[triplets])
        for name, predict in found.items():
            self._predicted.setdefault(name, []).append(predict(triplets))

    def measure(self, prefix: str) -> dict[str, dict[str, Metric]]:
        """By predictor, `{prefix/odd_one_out_accuracy: …, prefix/choice_cross_entropy: …}`."""
        judged = np.concatenate(self._counts), np.concatenate(self._triplets)
        return {
            name: {
                f"{prefix}/odd_one_out_accuracy": choice_accuracy(np.concatenate(parts), *judged),
                f"{prefix}/choice_cross_entropy": choice_cross_entropy(np.concatenate(parts), *judged),
            }
            for name, parts in self._predicted.items()
        }

    def shortfall(self) -> dict[str, tuple[float, float]]:
        """How much worse `aligned` is than `base`, with the standard error over triplets.

        By measure: `accuracy` that is lost, and `cross_entropy` in nats that is added.
        """
        counts = np.concatenate(self._counts)
        base, aligned = (np.concatenate(self._predicted[name]) for name in (BASE, ALIGNED))
        right = [of_chosen_pair(*map(torch.from_numpy, (scores, counts))).numpy() for scores in (base, aligned)]
        lost = {"accuracy": right[0] - right[1], "cross_entropy": ((base - aligned) * counts).sum(1)}
        judged = counts.sum(1)
        return {
            name: (
                float(np.average(sums / judged, weights=judged)),
                standard_error(sums / judged, np.arange(len(judged)), judged),
            )
            for name, sums in lost.items()
        }

    def reliability(self) -> dict[str, pd.DataFrame]:
        """By predictor, predicted against observed (see `hf_alignet.evaluation.reliability`)."""
        counts = np.concatenate(self._counts)
        return {name: reliability(np.concatenate(parts), counts) for name, parts in self._predicted.items()}


@checked
def draw_folds(splits: DatasetDict, num_objects: int, number: Count, seed: Seed) -> np.ndarray:
    """(num_objects,) the random fold of each object. Some triplets lie inside a fold, and each leaves some of `train`.

    Raises an InputError if there are too few judgments for this number of folds.
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
    """Predictions for new objects: for each fold everything, also VICE, is fitted again without its objects.

    The processes of a launch share the folds, so all must call it.

    Args:
        features: (n, p) of the stimuli.
        splits: judgments. The teacher is fitted to `train`; those of all splits about the left-out objects are
            predicted.
        folds: (n,) from `draw_folds`.
        fit: fits a teacher to features and their judgments, given the number of the fold that is left out.
    """

    def fit_without(fold: int) -> tuple[FittedTeacher, float]:
        logger.info("fold %d of %d of the objects is left out", fold + 1, folds.max() + 1)
        is_old = folds != fold
        train = objects_within(splits["train"], is_old)
        teacher = replace(fit(features[is_old], train, fold), vice=None)  # VICE cannot predict new objects
        return teacher, base_temperature(features[is_old], train)

    predictions = Predictions()
    for fold, fitted in enumerate(share_tasks([partial(fit_without, fold) for fold in range(folds.max() + 1)])):
        is_old = folds != fold
        found = predictors(features[~is_old], *fitted)
        for judgments in splits.values():
            new = objects_within(judgments, ~is_old)
            if len(new):
                predictions.add(found, new, np.flatnonzero(~is_old))
    return predictions
