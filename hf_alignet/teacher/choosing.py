"""Chooses how a teacher is fitted, by the choices of people that it predicts best about held-out objects.

With few choices, VICE keeps one dimension or none, and a teacher that believes it alone is worse than the unchanged
features. So the candidates are the unchanged features, people's choices as they are, choices smoothed by an even
guess, and choices smoothed by VICE. What decides is the cross-entropy of choices that none of them has seen.

The concentrations are few: in 9 simulated studies of 30 or 90 objects with 2,000 choices, VICE alone or with a
concentration of 10 never was better than with 0.3 or 1, each with its best λ, and up to 0.1 nats worse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy

from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.similarity.products import measured_similarities
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.affine.affine_teacher import AffineMethod, AffineTeacher
from hf_alignet.teacher.affine.held_out import Split
from hf_alignet.teacher.affine.selection import Selection, cross_entropies, evaluate

CONCENTRATIONS = (0.3, 1.0)
Key = tuple[str, float | None]  # method and concentration
OF_PAPER: Key = ("uncertainty_distillation", 1.0)
UNCHANGED: Key = ("identity", None)
LOG_SCALES = (-7.0, 7.0)


@dataclass(frozen=True)
class Candidate:
    """A way to fit: the probabilities (m, 3) of all triplets, and those for each fold, which know less."""

    method: AffineMethod
    concentration: float | None
    targets: np.ndarray
    fold_targets: Sequence[np.ndarray] | None = None


@dataclass(frozen=True)
class Choice:
    """The candidate to fit (None: leave the features unchanged) with its λ, all that was tried, and the reason."""

    candidate: Candidate | None
    regularization: float | None
    table: pd.DataFrame  # that of the selection of λ, with the columns `method` and `concentration` besides
    reason: str


def select(data: AffineData, candidate: Candidate, settings: dict[str, Any], progress: bool = True) -> Selection:
    """How well a candidate predicts held-out choices, with each λ that is tried; for the arguments see `choose`."""
    fitted = (data.features, data.triplets, candidate.targets, data.weights, data.probabilities)
    return AffineTeacher(candidate.method, **settings).select(*fitted, progress, candidate.fold_targets)


def choose(
    data: AffineData, candidates: Sequence[Candidate], selections: Sequence[Selection], settings: dict[str, Any]
) -> Choice:
    """The candidate with the least cross-entropy of held-out choices.

    Where the unchanged features are not worse by more than the standard error of the difference, they are kept. Else
    choices and VICE together (the paper's method), under the same rule.

    Args:
        data: features, and people's choices.
        candidates: at least one.
        selections: of each, by `select`.
        settings: of `AffineTeacher`, but the method.
    """
    splits = AffineTeacher(**settings).splits(data.triplets, data.weights, len(data.features))
    tested = np.concatenate([np.flatnonzero(split.is_tested) for split in splits])
    losses: dict[Key, np.ndarray] = {UNCHANGED: unchanged_losses(data, splits)}
    found: dict[Key, tuple[Candidate | None, float | None]] = {UNCHANGED: (None, None)}
    tables = []
    for candidate, selection in zip(candidates, selections, strict=True):
        key = (candidate.method, candidate.concentration)
        losses[key] = selection.losses[selection.best]
        found[key] = (candidate, selection.best)
        tables.append(selection.table.assign(method=candidate.method, concentration=candidate.concentration))
    weights = data.weights[tested]
    means = {key: float(np.average(loss, weights=weights)) for key, loss in losses.items()}
    best = min(means, key=lambda key: means[key])
    errors = {key: standard_error(losses[key] - losses[best], tested, weights) for key in losses}
    tied = [key for key in (UNCHANGED, OF_PAPER) if key in means and means[key] - means[best] <= errors[key]]
    chosen = (tied or [best])[0]
    number = data.weights[np.unique(tested)].sum()
    return Choice(*found[chosen], pd.concat(tables, ignore_index=True), _reason(chosen, means, errors, number))


def unchanged_losses(data: AffineData, splits: Sequence[Split]) -> np.ndarray:
    """Held-out cross-entropies of features as they are, at the scale that fits the choices among seen objects best."""
    found = []
    for split in splits:
        held_out = data.of_triplets(split.is_tested)
        found.append(evaluate(best_scale(data.among(split.is_seen)) * held_out.features, held_out)[0])
    return np.concatenate(found)


def best_scale(data: AffineData) -> float:
    """The factor of all features under which their dot products predict the choices best, with temperature 1."""
    spread = float(np.sqrt(data.features.var(axis=0).sum()))
    similarities = measured_similarities(data.features / spread, data.triplets)

    def loss(log_scale: float) -> float:
        return float(np.average(cross_entropies(np.exp(2 * log_scale) * similarities, data), weights=data.weights))

    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=LOG_SCALES, method="bounded").x) / spread)


def scaled(dim: int, scale: float) -> AffineTransform:
    """The transform that multiplies features by one factor."""
    return AffineTransform(scale * np.eye(dim), np.zeros(dim))


def standard_error(differences: np.ndarray, triplets: np.ndarray, weights: np.ndarray) -> float:
    """Of their weighted mean. Differences of one triplet, tested in several folds, count as one observation."""
    residuals = weights * (differences - np.average(differences, weights=weights))
    return float(np.sqrt((np.bincount(triplets, residuals) ** 2).sum()) / weights.sum())


def _reason(
    chosen: Key,
    means: dict[Key, float],
    errors: dict[Key, float],
    number: float,
) -> str:
    best = min(means, key=lambda key: means[key])
    others = [
        f"{_name(key)} {means[key]:.4f} (± {errors[key]:.4f})" for key in sorted(means, key=lambda key: means[key])
    ]
    why = "it is the best" if chosen == best else "it is within a standard error of the best, and preferred"
    return (
        f"{_name(chosen)}: {why} on {number:.0f} held-out choices. Cross-entropy in nats (standard error of the "
        f"difference from the best): {', '.join(others)}"
    )


def _name(key: Key) -> str:
    method, concentration = key
    return method if concentration is None else f"{method} with concentration {concentration:g}"
