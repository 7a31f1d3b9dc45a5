"""Fits a teacher to judgments and features: first VICE, if the method needs it, then the affine transform."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from datasets import Dataset

from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.errors import InputError
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.affine.affine_teacher import AffineTeacher
from hf_alignet.teacher.choice_likelihood import observed_choices
from hf_alignet.teacher.vice import Vice

Method = Literal["uncertainty_distillation", "hard", "global", "glocal", "identity"]


@dataclass
class FittedTeacher:
    """The transform, VICE if the method used it, and the scores of the tried regularizations."""

    transform: AffineTransform
    vice: Vice | None = None
    selection: pd.DataFrame | None = None


def fit_teacher(
    features: np.ndarray,
    judgments: Dataset,
    method: Method = "uncertainty_distillation",
    *,
    regularization: float | None = None,
    vice: Vice | str | None = None,
    vice_settings: Mapping[str, Any] | None = None,
    concentration: float | None = None,
    local_features: np.ndarray | None = None,
    checkpoint: str | Path | None = None,
    seed: int = 42,
    progress: bool = True,
) -> FittedTeacher:
    """Fits a transform of features to people's choices.

    Args:
        features: (n, p) of the stimuli. The judgments name their rows.
        judgments: people's choices, see `load_judgments`.
        method: `uncertainty_distillation` fits the choice probabilities of VICE (the paper's method), `hard` the
            choices themselves. `global` and `glocal` are the methods of gLocal. `identity` leaves the features
            unchanged (the paper's control).
        regularization: weight of the penalty, above 0. None selects it by cross-validation over objects.
        vice: a fitted VICE, or its path or Hub id. None fits VICE to the judgments.
        vice_settings: arguments of `Vice` for that fit.
        concentration: weight of VICE's probabilities of a triplet, as a number of choices, beside the real choices
            (mean of a Dirichlet posterior). None uses VICE's probabilities alone, as the paper does.
        local_features: (k, p) of other images. `glocal` keeps their similarities.
        checkpoint: directory for the state of VICE. A fit that was stopped continues from it.
        seed: seed of the random draws.
        progress: show bars.

    Raises:
        InputError: settings exclude each other, or the data cannot be used.

    Example:
        >>> teacher = fit_teacher(features, load_judgments("choices.csv", names)["train"])  # doctest: +SKIP
        >>> teacher.transform.save_pretrained("outputs/teacher")  # doctest: +SKIP
    """
    check_method(method, vice, vice_settings, concentration, local_features)
    if method == "identity":
        return FittedTeacher(AffineTransform.identity(features.shape[1]))
    triplets, observed, weights = observed_choices(judgments)
    teacher = AffineTeacher(method, regularization, random_state=seed)
    data = AffineData.checked(features, triplets, observed, weights)
    teacher.check(data, local_features)  # before the minutes that VICE needs
    fitted, probabilities = None, observed
    if method == "uncertainty_distillation":
        if vice is None:
            fitted = Vice(**{"random_state": seed, **(vice_settings or {})})
            fitted.fit(judgments, len(features), checkpoint, progress)
        else:
            fitted = Vice.from_pretrained(vice) if isinstance(vice, str) else vice
            if (number := len(fitted.loc_)) != len(features):
                raise InputError(f"the VICE {vice!r} has {number} objects, but there are {len(features)} stimuli")
        probabilities = fitted.choice_probabilities(triplets)
        if concentration is not None:
            probabilities = posterior_mean(probabilities, observed * weights[:, None], concentration)
    teacher.fit(features, triplets, probabilities, weights, local_features, observed, progress)
    return FittedTeacher(teacher.transform_, fitted, teacher.selection_)


def check_method(
    method: Method, vice: object, vice_settings: Mapping[str, Any] | None, concentration: float | None, local: object
) -> None:
    """Raises an InputError that names the settings of `fit_teacher` that exclude each other."""
    if method not in get_args(Method):
        raise InputError(f"`method` must be one of {', '.join(get_args(Method))}, got {method!r}")
    if (method == "glocal") != (local is not None):
        raise InputError(
            f"`method=glocal`, and no other, takes `local_images` or `local_features`; the method here is {method!r}"
        )
    for name, value in (("vice", vice), ("vice_settings", vice_settings), ("concentration", concentration)):
        if value is not None and method != "uncertainty_distillation":
            raise InputError(f"`method={method}` takes no `{name}`; only uncertainty_distillation does")
    if concentration is not None and not 0 < concentration < math.inf:
        raise InputError(f"`concentration` must be positive and finite, got {concentration}")
    if vice is not None and vice_settings is not None:
        raise InputError("give either `vice`, a fitted one, or `vice_settings` for a new fit")
    known = [field.name for field in fields(Vice)]
    if unknown := sorted(set(vice_settings or ()).difference(known)):
        raise InputError(f"`vice_settings` has no {', '.join(unknown)}; settings are {', '.join(known)}")


def posterior_mean(probabilities: np.ndarray, counts: np.ndarray, concentration: float) -> np.ndarray:
    """Posterior mean of choice probabilities (m, 3): a Dirichlet prior from VICE, updated by people's choices.

    (κ p + counts) / (κ + n) with the concentration κ > 0 and the `counts` (m, 3) of choices of each pair. With κ = 1,
    VICE and the choice have equal weight in a triplet that one person judged. In a triplet that many people judged,
    their choices have most of the weight.
    """
    return (concentration * probabilities + counts) / (concentration + counts.sum(1, keepdims=True))
