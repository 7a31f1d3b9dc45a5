"""Fits a teacher to judgments and features: first VICE, if the method needs it, then the affine transform."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from datasets import Dataset

from hf_alignet.encoder.context_transform import ContextTransform
from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.errors import InputError
from hf_alignet.judgments import split_by_triplet
from hf_alignet.processes import share_tasks, this_process
from hf_alignet.ranges import Positive, Seed, checked
from hf_alignet.similarity import PAIRS
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.affine.affine_teacher import AffineTeacher
from hf_alignet.teacher.affine.held_out import Split
from hf_alignet.teacher.affine.selection import Selection
from hf_alignet.teacher.choice_likelihood import observed_choices
from hf_alignet.teacher.choosing import CONCENTRATIONS, Candidate, best_scale, choose, scaled, select
from hf_alignet.teacher.context_fit import HELD_OUT_SHARE, chosen_context, select_context
from hf_alignet.teacher.expectations import fit_vice, fold_expectation, open_vice, posterior_mean
from hf_alignet.teacher.vice import Vice

Method = Literal["auto", "uncertainty_distillation", "hard", "global", "glocal", "context", "identity"]
# In simulated studies of 90 objects, VICE finds one dimension or none in 7 choices an object, and up to 11 in 22
CHOICES_PER_OBJECT = 20

logger = logging.getLogger(__name__)


@dataclass
class FittedTeacher:
    """The transform, VICE if the method used it, the scores of the tried regularizations, and weights by context."""

    transform: AffineTransform
    vice: Vice | None = None
    selection: pd.DataFrame | None = None
    context: ContextTransform | None = None  # with `transform` inside

    @property
    def result(self) -> AffineTransform | ContextTransform:
        """What is saved and shared."""
        return self.context or self.transform


@checked
def fit_teacher(
    features: np.ndarray,
    judgments: Dataset,
    method: Method = "auto",
    *,
    regularization: Positive | None = None,
    vice: Vice | str | None = None,
    vice_settings: Mapping[str, Any] | None = None,
    concentration: Positive | None = None,
    local_features: np.ndarray | None = None,
    checkpoint: str | Path | None = None,
    seed: Seed = 42,
    progress: bool = True,
) -> FittedTeacher:
    """Fits a transform of features to people's choices.

    Under `accelerate launch` every process must call it: they share what can be fitted side by side, and each gets the
    same teacher, that of one process.

    Args:
        features: (n, p) of the stimuli. The judgments name their rows.
        judgments: people's choices, see `load_judgments`.
        method: `auto` takes that of the next two, or the unchanged features, which predicts held-out choices best
            (`hf_alignet.teacher.choosing`); with a setting of VICE it is the first. `uncertainty_distillation` fits
            the choice probabilities of VICE (the paper's method), `hard` the choices themselves. `global` and `glocal`
            are the methods of gLocal. `context` is `auto`, and then lets the weights of its dimensions depend on the
            three images in view (`ContextTransform`). `identity` leaves the features unchanged (the paper's control).
        regularization: weight of the penalty. None selects it by cross-validation over objects.
        vice: a fitted VICE, or its path or Hub id. None fits VICE to the judgments.
        vice_settings: arguments of `Vice` for that fit.
        concentration: weight of VICE's probabilities of a triplet, as a number of choices, beside the real choices
            (mean of a Dirichlet posterior). None uses VICE's probabilities alone, as the paper does. For `hard`, the
            weight of an even guess. None uses the choices alone.
        local_features: (k, p) of other images. `glocal` keeps their similarities.
        checkpoint: directory for the state of VICE. A fit that was stopped continues from it.
        seed: seed of the random draws.
        progress: show bars, on the first process.

    Returns:
        The teacher. `transform.info["choice"]` says what `auto` took, and why.

    Raises:
        InputError: settings exclude each other, or the data cannot be used.
        RunError: a fit diverged, or the VICE that was asked for finds no dimension.

    Example:
        >>> teacher = fit_teacher(features, load_judgments("choices.csv", names)["train"])  # doctest: +SKIP
        >>> teacher.transform.save_pretrained("outputs/teacher")  # doctest: +SKIP
    """
    check_method(method, vice, vice_settings, concentration, local_features)
    progress = progress and this_process().is_main_process
    if method == "identity":
        return FittedTeacher(AffineTransform.identity(features.shape[1]))
    if method == "context":
        settings = {"regularization": regularization, "vice": vice, "vice_settings": vice_settings}
        settings |= {"concentration": concentration, "seed": seed, "progress": progress}
        return _fit_in_context(features, judgments, settings, checkpoint)
    triplets, observed, weights = observed_choices(judgments)
    data = AffineData.checked(features, triplets, observed, weights)
    if method == "auto" and (vice, vice_settings, concentration) != (None, None, None):
        method = "uncertainty_distillation"
    teacher = AffineTeacher("hard" if method == "auto" else method, regularization, random_state=seed)
    teacher.check(data, local_features)  # before the minutes that VICE needs
    splits = [] if method != "auto" and regularization else teacher.splits(triplets, weights, len(features))
    if splits and not splits[0].is_among_new:
        logger.info("%.0f choices are few: those that name a held-out object test each fit", weights.sum())
    study = _Study(judgments, data, splits, {"random_state": seed, **(vice_settings or {})}, progress)
    if method == "auto":
        return _fit_best(study, {"regularization": regularization, "random_state": seed}, checkpoint)
    if method != "uncertainty_distillation":
        fitted, candidate = None, Candidate(method, concentration, study.smoothed(concentration))
    elif vice is not None:
        fitted = open_vice(vice, len(features))
        candidate = study.of_vice(fitted, concentration)
    else:
        of_all = partial(Vice(**study.vice_settings).fit, judgments, len(features), checkpoint, progress)
        vices: list[Callable[[], Any]] = [of_all, *study.fold_expectations()]
        fitted, *in_folds = share_tasks(vices)
        candidate = study.of_vice(fitted, concentration, in_folds)
    teacher.fit(
        features, triplets, candidate.targets, weights, local_features, observed, progress, candidate.fold_targets
    )
    return FittedTeacher(teacher.transform_, fitted, teacher.selection_)


@dataclass(frozen=True)
class _Study:
    """People's choices with the features of the stimuli, and the folds by which a fit is chosen."""

    judgments: Dataset
    data: AffineData
    splits: list[Split]
    vice_settings: dict[str, Any]
    progress: bool

    def smoothed(self, concentration: float | None) -> np.ndarray:
        """(m, 3) people's choices, beside an even guess that counts as many choices as `concentration`."""
        even = np.full(self.data.probabilities.shape, 1 / len(PAIRS))
        return posterior_mean(even, self._counts, concentration or 0.0)

    def of_vice(self, vice: Vice, concentration: float | None, in_folds: Sequence[np.ndarray] = ()) -> Candidate:
        """Uncertainty distillation of a VICE, and of what VICE expects in each fold; without that, the same in all."""
        expected = vice.choice_probabilities(self.data.triplets)
        return Candidate(
            "uncertainty_distillation",
            concentration,
            posterior_mean(expected, self._counts, concentration),
            [posterior_mean(each, self._counts, concentration) for each in in_folds],
        )

    def fold_expectations(self) -> list[Callable[[], np.ndarray]]:
        """Tasks: what VICE expects without the choices that test a fold; none where these tell it next to nothing.

        VICE has no features: choices among three new objects say nothing about old ones.
        """
        if not self.splits or self.splits[0].is_among_new:
            return []
        of_study = (self.vice_settings, self.progress)
        return [partial(fold_expectation, self.judgments, self.data.triplets, each, *of_study) for each in self.splits]

    @property
    def _counts(self) -> np.ndarray:
        return self.data.probabilities * self.data.weights[:, None]


def _fit_best(study: _Study, settings: dict[str, Any], checkpoint: str | Path | None) -> FittedTeacher:
    """The teacher that predicts held-out choices best."""
    data, num_objects = study.data, len(study.data.features)

    def selected(candidate: Candidate) -> Selection:
        return select(data, candidate, settings, study.progress)

    is_large = study.splits[0].is_among_new
    hard = Candidate("hard", None, data.probabilities)
    smoothed = [Candidate("hard", each, study.smoothed(each)) for each in CONCENTRATIONS]
    vice: Vice | None = None
    candidates: list[Candidate] = []
    selections: list[Selection] = []
    if data.weights.sum() >= CHOICES_PER_OBJECT * num_objects:
        candidates = [hard] if is_large else [hard, *smoothed]
        of_all = partial(fit_vice, study.judgments, num_objects, study.vice_settings, checkpoint, study.progress)
        tasks: list[Callable[[], Any]] = [of_all, *(partial(selected, each) for each in candidates)]
        vice, *selections = share_tasks(tasks)
    if vice is not None:
        in_folds = share_tasks(study.fold_expectations())
        rest = [study.of_vice(vice, each, in_folds) for each in CONCENTRATIONS[-1 if is_large else 0 :]]
    else:
        rest = [hard, *smoothed][len(candidates) :]
    candidates, selections = candidates + rest, selections + [selected(each) for each in rest]
    choice = choose(data, candidates, selections, settings)
    logger.info("%s", choice.reason)
    if choice.candidate is None:
        transform = scaled(data.features.shape[1], best_scale(data))
        transform.info = {"method": "identity", "num_objects": num_objects}
    else:
        teacher = AffineTeacher(choice.candidate.method, **settings | {"regularization": choice.regularization})
        teacher.fit(data.features, data.triplets, choice.candidate.targets, data.weights, progress=study.progress)
        transform = teacher.transform_
        transform.info["concentration"] = choice.candidate.concentration
    transform.info["choice"] = choice.reason
    uses_vice = choice.candidate is not None and choice.candidate.method == "uncertainty_distillation"
    return FittedTeacher(transform, vice if uses_vice else None, choice.table)


def _fit_in_context(
    features: np.ndarray, judgments: Dataset, settings: dict[str, Any], checkpoint: str | Path | None
) -> FittedTeacher:
    """The teacher of `auto`, with weights that depend on the context.

    Their penalty is chosen on a tenth of the triplets, which a second transform, made as the first one, has not seen
    (but a `vice` that was given may have).
    """
    teacher = fit_teacher(features, judgments, checkpoint=checkpoint, **settings)
    splits = split_by_triplet(judgments, HELD_OUT_SHARE, settings["seed"])
    fitted, held_out, every = (
        AffineData.checked(features, *observed_choices(part)) for part in (*splits.values(), judgments)
    )
    plain, info = teacher.transform, teacher.transform.info
    if info["method"] != "identity":
        again = settings | {"regularization": info["regularization"]}
        if info["method"] != "uncertainty_distillation":
            again |= {"vice": None, "vice_settings": None}
        again["concentration"] = info.get("concentration", settings["concentration"])
        plain = fit_teacher(features, splits["train"], info["method"], **again).transform
    table, chosen = select_context(plain, fitted, held_out)
    context = chosen_context(teacher.transform, every, table, chosen)
    logger.info("%s", context.info["context_choice"])
    tables = [table.assign(method="context")]
    if teacher.selection is not None:
        tables.insert(0, teacher.selection)
    return FittedTeacher(teacher.transform, teacher.vice, pd.concat(tables, ignore_index=True), context)


def check_method(
    method: Method, vice: object, vice_settings: Mapping[str, Any] | None, concentration: float | None, local: object
) -> None:
    """Raises an InputError that names the settings of `fit_teacher` that exclude each other."""
    if (method == "glocal") != (local is not None):
        raise InputError(
            f"`method=glocal`, and no other, takes `local_images` or `local_features`; the method here is {method!r}"
        )
    of_vice = ("auto", "context", "uncertainty_distillation")
    for name, value, methods in (
        ("vice", vice, of_vice),
        ("vice_settings", vice_settings, of_vice),
        ("concentration", concentration, (*of_vice, "hard")),
    ):
        if value is not None and method not in methods:
            raise InputError(f"`method={method}` takes no `{name}`; {' and '.join(methods[2:])} do")
    if vice is not None and vice_settings is not None:
        raise InputError("give either `vice`, a fitted one, or `vice_settings` for a new fit")
    known = [field.name for field in fields(Vice)]
    if unknown := sorted(set(vice_settings or ()).difference(known)):
        raise InputError(f"`vice_settings` has no {', '.join(unknown)}; settings are {', '.join(known)}")
    Vice(**(vice_settings or {}))  # refuses what is out of range before the long work begins
