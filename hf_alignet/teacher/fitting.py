"""From judgments and features to a teacher: VICE where the method distils it, then the affine transform."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset

from hf_alignet.cli.arguments.teacher import TeacherArguments
from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.errors import InputError
from hf_alignet.teacher.affine.affine_teacher import AffineTeacher
from hf_alignet.teacher.choice_likelihood import observed_choices
from hf_alignet.teacher.vice import Vice


@dataclass
class FittedTeacher:
    """The transform, the VICE that it learned from if any, and the regularizations that were tried."""

    transform: AffineTransform
    vice: Vice | None = None
    selection: pd.DataFrame | None = None


def fit_teacher(
    features: np.ndarray,
    judgments: Dataset,
    arguments: TeacherArguments,
    checkpoint: Path,
    local_features: np.ndarray | None = None,
) -> FittedTeacher:
    """Fits what the arguments ask for.

    Args:
        features: (n, p) of the stimuli.
        judgments: of these, to fit to.
        arguments: the settings.
        checkpoint: directory from which VICE goes on after an interruption.
        local_features: (k, p) of other images, for glocal.
    """
    if arguments.method == "identity":
        return FittedTeacher(AffineTransform.identity(features.shape[1]))
    progress = not arguments.disable_tqdm
    triplets, observed, weights = observed_choices(judgments)
    teacher = AffineTeacher(arguments.method, arguments.regularization, random_state=arguments.seed)
    teacher.check(features, triplets, observed, weights, local_features)  # before VICE takes its minutes
    vice, probabilities = None, observed
    if arguments.method == "uncertainty_distillation":
        vice = _vice(judgments, len(features), arguments, checkpoint)
        probabilities = vice.choice_probabilities(triplets)
        if arguments.concentration is not None:
            probabilities = posterior_mean(probabilities, observed * weights[:, None], arguments.concentration)
    teacher.fit(features, triplets, probabilities, weights, local_features, observed, progress)
    return FittedTeacher(teacher.transform_, vice, teacher.selection_)


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


def _vice(judgments: Dataset, num_objects: int, arguments: TeacherArguments, checkpoint: Path) -> Vice:
    if arguments.vice is not None:
        vice = Vice.from_pretrained(arguments.vice)
        if len(vice.loc_) != num_objects:
            raise InputError(
                f"the VICE {arguments.vice!r} knows {len(vice.loc_)} objects, but there are {num_objects} stimuli"
            )
        return vice
    vice = Vice(**{"random_state": arguments.seed} | vice_settings(arguments.vice_settings))
    return vice.fit(judgments, num_objects, checkpoint, progress=not arguments.disable_tqdm)


def vice_settings(text: str) -> dict[str, Any]:
    """Settings of VICE from JSON.

    Raises:
        InputError: it is no JSON object, or a name in it is no setting (lists them).
    """
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--vice_settings is no JSON: {error}: {text!r}") from error
    known = Vice().settings()
    if not isinstance(settings, dict) or not settings.keys() <= known.keys():
        raise InputError(f"--vice_settings must be a JSON object with some of {', '.join(known)}; got {text!r}")
    return settings
