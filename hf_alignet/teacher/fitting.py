"""From judgments and features to a teacher: VICE where the method distils it, then the affine transform."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from datasets import Dataset

from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.errors import InputError
from hf_alignet.teacher.affine.affine_teacher import AffineTeacher
from hf_alignet.teacher.choice_likelihood import observed_choices
from hf_alignet.teacher.vice import Vice

Method = Literal["uncertainty_distillation", "hard", "global", "glocal", "identity"]


@dataclass
class FittedTeacher:
    """The transform, the VICE that it learned from if any, and the regularizations that were tried."""

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
        features: (n, p) of the stimuli, in the order of their rows in the judgments.
        judgments: the choices to fit to, see `load_judgments`.
        method: `uncertainty_distillation` (the paper's: to the choice probabilities of VICE), `hard` (to the choices
            themselves), gLocal's `global` and `glocal`, or `identity`, which changes nothing: the paper's control.
        regularization: weight of the penalty, > 0; None chooses it by cross-validation over objects.
        vice: to distil from, or its path or Hub id; None fits one to the judgments.
        vice_settings: of that fit, see `Vice`.
        concentration: for how many choices VICE's probabilities of a triplet count beside the choices made, in the
            mean of a Dirichlet posterior; None takes VICE's alone, as the paper does.
        local_features: (k, p) of other images whose neighbourhoods `glocal` keeps.
        checkpoint: directory in which VICE keeps its state, and from which an interrupted fit goes on.
        seed: of all random draws.
        progress: show bars.

    Returns:
        The transform, the VICE that it learned from if any, and the regularizations that were tried.

    Raises:
        InputError: settings that exclude each other, or data that cannot be fitted to (says which).

    Example:
        >>> teacher = fit_teacher(features, load_judgments("choices.csv", names)["train"])  # doctest: +SKIP
        >>> teacher.transform.save_pretrained("outputs/teacher")  # doctest: +SKIP
    """
    check_method(method, vice, vice_settings, concentration, local_features)
    if method == "identity":
        return FittedTeacher(AffineTransform.identity(features.shape[1]))
    triplets, observed, weights = observed_choices(judgments)
    teacher = AffineTeacher(method, regularization, random_state=seed)
    teacher.check(features, triplets, observed, weights, local_features)  # before VICE takes its minutes
    fitted, probabilities = None, observed
    if method == "uncertainty_distillation":
        fitted = (
            Vice(**{"random_state": seed} | dict(vice_settings or {})).fit(
                judgments, len(features), checkpoint, progress
            )
            if vice is None
            else _known_vice(vice, len(features))
        )
        probabilities = fitted.choice_probabilities(triplets)
        if concentration is not None:
            probabilities = posterior_mean(probabilities, observed * weights[:, None], concentration)
    teacher.fit(features, triplets, probabilities, weights, local_features, observed, progress)
    return FittedTeacher(teacher.transform_, fitted, teacher.selection_)


def check_method(
    method: Method, vice: object, vice_settings: Mapping[str, Any] | None, concentration: float | None, local: object
) -> None:
    """Refuses settings that exclude each other.

    Raises:
        InputError: names the parameters.
    """
    if method not in get_args(Method):
        raise InputError(f"`method` must be one of {', '.join(get_args(Method))}, got {method!r}")
    if (method == "glocal") != (local is not None):
        raise InputError("`method=glocal`, and no other method, takes `local_images` or `local_features`")
    for name, value in (("vice", vice), ("vice_settings", vice_settings), ("concentration", concentration)):
        if value is not None and method != "uncertainty_distillation":
            raise InputError(f"`method={method}` takes no `{name}`; uncertainty_distillation does")
    if concentration is not None and not 0 < concentration < math.inf:
        raise InputError(f"`concentration` must be positive and finite, got {concentration}")
    if vice is not None and vice_settings is not None:
        raise InputError("`vice_settings` are for a fit of VICE; with `vice` none is fitted")
    unknown = set(vice_settings or {}) - Vice().settings().keys()
    if unknown:
        raise InputError(
            f"`vice_settings` has no {', '.join(sorted(unknown))}; settings are {', '.join(Vice().settings())}"
        )


def posterior_mean(probabilities: np.ndarray, counts: np.ndarray, concentration: float) -> np.ndarray:
    """Choice probabilities after choices were seen, by a Dirichlet prior around those that VICE expects.

    (κ p + counts) / (κ + n): with κ = 1 a triplet that one person judged is taken half from VICE and half from the
    person, one that many judged mostly from them.

    Args:
        probabilities: (m, 3) by VICE.
        counts: (m, 3) choices of each pair.
        concentration: κ > 0.
    """
    return (concentration * probabilities + counts) / (concentration + counts.sum(1, keepdims=True))


def _known_vice(vice: Vice | str, num_objects: int) -> Vice:
    known = Vice.from_pretrained(vice) if isinstance(vice, str) else vice
    if len(known.loc_) != num_objects:
        raise InputError(f"the VICE {vice!r} knows {len(known.loc_)} objects, but there are {num_objects} stimuli")
    return known
