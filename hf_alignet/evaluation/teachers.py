"""How well a teacher predicts the choices of people: before its transform, after it, and the VICE it learned from."""

from collections.abc import Callable, Mapping
from typing import Self

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from hf_alignet.evaluation.choices import choice_accuracy, choice_cross_entropy, fit_temperature, reliability
from hf_alignet.metric import Metric
from hf_alignet.similarity import choice_log_probabilities, triplet_similarities
from hf_alignet.teacher.choices import pair_counts
from hf_alignet.teacher.fitting import FittedTeacher
from hf_alignet.teacher.vice import Vice

Predictor = Callable[[np.ndarray], np.ndarray]  # triplets (m, 3) -> log-probabilities (m, 3) in pair order

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
        """Of each predictor, predicted against observed (see `hf_alignet.evaluation.choices`)."""
        counts = np.concatenate(self._counts)
        return {name: reliability(np.concatenate(parts), counts) for name, parts in self._predicted.items()}
