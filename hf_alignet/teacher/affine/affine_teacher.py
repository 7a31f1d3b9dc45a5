"""AffineTeacher: fits an affine transform of features to human choices, or to the probabilities of a model of people.

Muttenthaler et al. 2025 (AligNet), equations 1 to 3, and the earlier methods. The cost hardly depends on the number of
triplets (`choice_likelihood`). There is one optimum, and the fit finds it without a learning rate (`objective`,
`solver`).
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd

from hf_alignet import __version__
from hf_alignet.errors import InputError
from hf_alignet.ranges import Count, Positive, ProperShare, Range, Seed, check_fields
from hf_alignet.teacher.affine.affine_data import AffineData, check_features
from hf_alignet.teacher.affine.axes import check_varied
from hf_alignet.teacher.affine.held_out import Split, draw_splits
from hf_alignet.teacher.affine.objective import Penalty, distance_to_scaled_identity, squared_norm
from hf_alignet.teacher.affine.problem import AffineProblem
from hf_alignet.teacher.affine.selection import (
    AT_CHANCE,
    Selection,
    make_folds,
    mean_cross_entropy,
    select_regularization,
)

AffineMethod = Literal["hard", "uncertainty_distillation", "global", "glocal"]
PENALTIES: dict[AffineMethod, Penalty] = {
    "hard": distance_to_scaled_identity,
    "uncertainty_distillation": distance_to_scaled_identity,
    "global": squared_norm,
    "glocal": distance_to_scaled_identity,
}
START_SHARE = 1 / 30  # of the collapse regularization: near the best λ of THINGS and CLIP with each method


@dataclass(eq=False)
class AffineTeacher:
    """Fits an affine transform z = xW + b of features, so that dot products of z predict choices.

    The probability of a pair of a triplet is softmax([z0·z1, z0·z2, z1·z2]) at temperature 1. All methods minimise
    (1 - α) · mean cross-entropy + α · local term + λ · (penalty(W) + 0.03 ‖b‖²), where b is the bias of centred
    features:

    | method | probabilities for `fit` | penalty | α |
    | --- | --- | --- | --- |
    | `uncertainty_distillation` | of a model of people, such as VICE (eq. 2) | ‖W - mean(diag W)·I‖²_F (eq. 3) | 0 |
    | `hard` | 1 for the pair that was kept together (eq. 1), or shares of people | the same | 0 |
    | `global` | as `hard` | ‖W‖²_F (Muttenthaler et al. 2023b; its code has no square) | 0 |
    | `glocal` | as `hard` | as `hard` | `local_weight` |

    Each fit goes to its only optimum, and λ alone prevents overfitting. gLocal also stops early on held-out objects.
    That made their cross-entropy 0.0005 nats worse on THINGS and CLIP (3 folds). The cross-entropy to soft
    probabilities is their KL divergence plus a constant. The papers do not penalise the bias;
    `hf_alignet.teacher.affine.objective` says why this class does.

    Args:
        method: see the table.
        regularization: λ > 0. None selects the λ with the least held-out cross-entropy of choices, by cross-validation
            over objects on a grid of half powers of ten. The grid grows until the best λ is not at its edge.
        num_folds: folds of that cross-validation. More than 5 leave few triplets in a fold. With few choices the folds
            are other ones, see `hf_alignet.teacher.affine.held_out`.
        local_weight: α of `glocal`, in [0, 1).
        local_temperature: τ > 0 of its softmax over cosine similarities.
        local_batch_size: number of images in each softmax (B_C).
        num_local_batches: greatest number of batches. They are drawn once, so the objective does not change.
        tolerance: a fit ends when a step lowers the objective by less than this share of it (in the cross-validation:
            by less than ten times this share).
        max_iter: greatest number of steps of a fit.
        random_state: seed of the folds and the local batches. Nothing else is random.

    Attributes:
        transform_: the `AffineTransform`.
        regularization_: λ of the fit.
        selection_: table of `regularization`, `fold`, `cross_entropy`, `accuracy`, `weight` and `iterations`, one row
            for each fit of the cross-validation. None without cross-validation.
        history_: values of the objective after each step of the final fit.
        n_iter_: number of steps of the final fit.

    References:
        Muttenthaler et al. 2025, https://arxiv.org/abs/2409.06509; Muttenthaler et al. 2023b,
        https://arxiv.org/abs/2306.04507. The defaults of `glocal` are those of its code: α 0.1, τ 1, B_C 1024.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> features = rng.normal(size=(12, 2)).astype(np.float32)
        >>> triplets = np.array([rng.permutation(12)[:3] for _ in range(200)])
        >>> kept_together = np.eye(3)[rng.integers(0, 3, 200)]
        >>> teacher = AffineTeacher("hard", regularization=0.1).fit(features, triplets, kept_together, progress=False)
        >>> teacher.transform_(features).shape
        (12, 2)
    """

    method: AffineMethod = "uncertainty_distillation"
    regularization: Positive | None = None
    num_folds: Annotated[int, Range(2)] = 5
    local_weight: Annotated[float, Range(0, below=1)] = 0.1
    local_temperature: Positive = 1.0
    local_batch_size: Annotated[int, Range(3)] = 1024
    num_local_batches: Count = 4
    tolerance: ProperShare = 1e-6
    max_iter: Count = 200
    random_state: Seed = 0

    # What scikit-learn asks of an estimator. To inherit from its BaseEstimator would make every command, and its help,
    # wait 0.7 CPU seconds for an import that most do not need

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name."""
        return {field.name: getattr(self, field.name) for field in sorted(fields(self), key=lambda field: field.name)}

    def set_params(self, **params: Any) -> Self:
        """Changes settings."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"{type(self).__name__} has no setting {name!r}")
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.base import BaseEstimator

        return BaseEstimator.__sklearn_tags__(self)

    def fit(
        self,
        features: np.ndarray,
        triplets: np.ndarray,
        probabilities: np.ndarray,
        weights: np.ndarray | None = None,
        local_features: np.ndarray | None = None,
        observed: np.ndarray | None = None,
        progress: bool = True,
        fold_targets: Sequence[np.ndarray] | None = None,
    ) -> Self:
        """Fits the transform. `teacher.fit(features, *observed_choices(judgments))` fits it to a judgments Dataset.

        Args:
            features: (n, p) of the stimuli, from the encoder that the transform is for.
            triplets: (m, 3) rows of the features.
            probabilities: (m, 3) in pair order `[p01, p02, p12]`. Each row sums to 1.
            weights: (m,) such as numbers of choices. Default: 1 for each.
            local_features: (k, p) of other images, for `glocal` only.
            observed: (m, 3) shares of people's choices, which select λ. Default: the probabilities.
            progress: show a bar over the fits of the cross-validation.
            fold_targets: (m, 3) probabilities for each fold of `splits`, from a model of people that did not see the
                choices that test the fold. Default: `probabilities` in all folds.

        Raises:
            InputError: an argument is wrong, or the features are constant or not finite.
            RunError: a fit diverged.
        """
        problem = self._problem(AffineData.checked(features, triplets, probabilities, weights), local_features)
        self.selection_: pd.DataFrame | None = None
        self.regularization_ = float(self.regularization or 0)
        if self.regularization is None:
            selection = self._select(problem, observed, fold_targets, progress)
            self.selection_, self.regularization_ = selection.table, selection.best
            self._warn_of(selection)
        solution = problem.solve(self.regularization_, self.tolerance, self.max_iter)
        if not solution.is_converged:
            warnings.warn(f"the fit has not converged in {self.max_iter} steps: raise `max_iter`", stacklevel=2)
        self.history_, self.n_iter_ = solution.values, len(solution.values)
        self.transform_ = problem.transform(solution)
        self.transform_.info = self._describe(problem.data)
        return self

    def select(
        self,
        features: np.ndarray,
        triplets: np.ndarray,
        probabilities: np.ndarray,
        weights: np.ndarray | None = None,
        observed: np.ndarray | None = None,
        progress: bool = True,
        fold_targets: Sequence[np.ndarray] | None = None,
    ) -> Selection:
        """What `fit` selects λ by, without the final fit. With λ given, only this one is tested."""
        problem = self._problem(AffineData.checked(features, triplets, probabilities, weights), None)
        return self._select(problem, observed, fold_targets, progress)

    def splits(self, triplets: np.ndarray, weights: np.ndarray, num_objects: int) -> list[Split]:
        """The folds by which λ is selected. Raises an InputError if the triplets are too few for any."""
        return draw_splits(triplets, weights, num_objects, self.num_folds, self.random_state)

    def check(self, data: AffineData, local_features: np.ndarray | None = None) -> None:
        """Raises the InputError that `fit` would raise, without a fit. `data` has the first four arguments of it."""
        self._problem(data, local_features)
        if self.regularization is None:
            self.splits(data.triplets, data.weights, len(data.features))

    def _problem(self, data: AffineData, local_features: np.ndarray | None) -> AffineProblem:
        check_fields(self)
        check_varied(data.features)
        batches = self._draw_local_batches(local_features, data.features.shape[1])
        local_weight = self.local_weight if self.method == "glocal" else 0.0
        return AffineProblem(data, PENALTIES[self.method], batches, local_weight, self.local_temperature)

    def _select(
        self,
        problem: AffineProblem,
        observed: np.ndarray | None,
        fold_targets: Sequence[np.ndarray] | None,
        progress: bool,
    ) -> Selection:
        data = problem.data
        judged = data if observed is None else AffineData.checked(data.features, data.triplets, observed, data.weights)
        splits = self.splits(data.triplets, data.weights, len(data.features))
        # The selection needs less precision: held-out cross-entropies of THINGS still are exact to 0.0005 nats
        tolerance = 10 * self.tolerance
        return select_regularization(
            make_folds(problem, judged, splits, fold_targets),
            self.regularization or START_SHARE * problem.collapse_regularization,
            lambda fold, regularization: fold.solve(regularization, tolerance, self.max_iter),
            progress,
            only_start=self.regularization is not None,
        )

    def _warn_of(self, selection: Selection) -> None:
        scores = mean_cross_entropy(selection.table)
        best = selection.best
        if best in (scores.index[0], scores.index[-1]):
            warnings.warn(f"the best regularization, {best:g}, is at the edge of the tested values", stacklevel=3)
        if scores[best] > math.log(3) - AT_CHANCE:
            warnings.warn("no regularization predicts choices about new objects better than chance", stacklevel=3)

    def _draw_local_batches(self, features: np.ndarray | None, dim: int) -> np.ndarray | None:
        """Random batches (k, B, p) of different images."""
        if (features is None) == (self.method == "glocal"):
            raise InputError(f"`local_features` belong to `method='glocal'` and no other, got {self.method!r}")
        if features is None:
            return None
        features = check_features(features, "local_features")
        if features.shape[1] != dim or len(features) < 3:
            raise InputError(f"`local_features` must be (k, {dim}) with 3 images or more, got {features.shape}")
        size = min(self.local_batch_size, len(features))
        count = min(self.num_local_batches, len(features) // size)
        rows = np.random.default_rng(self.random_state).permutation(len(features))[: count * size]
        return features[rows].reshape(count, size, dim)

    def _describe(self, data: AffineData) -> dict[str, Any]:
        settings = self.get_params()
        return {
            **{name: value for name, value in settings.items() if self.method == "glocal" or "local" not in name},
            "regularization": self.regularization_,
            "num_objects": len(data.features),
            "num_triplets": len(data.triplets),
            "hf_alignet": __version__,
        }
