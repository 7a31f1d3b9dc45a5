"""One fit of an affine transform, ready to be solved for any λ."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.affine.axes import PrincipalAxes
from hf_alignet.teacher.affine.local import LocalTerm
from hf_alignet.teacher.affine.objective import Objective, Penalty
from hf_alignet.teacher.affine.solver import Solution, solve


@dataclass(frozen=True)
class AffineProblem:
    """What is fitted to what; the parts that do not depend on λ are computed once.

    Attributes:
        data: the objects and choices to fit to.
        penalty: of the weight.
        local_batches: (k, B, p) features of other images, None without a local term.
        local_weight: α.
        local_temperature: τ.
    """

    data: AffineData
    penalty: Penalty
    local_batches: np.ndarray | None = None
    local_weight: float = 0.0
    local_temperature: float = 1.0

    @cached_property
    def axes(self) -> PrincipalAxes:
        return PrincipalAxes.of(self.data.features)

    @cached_property
    def features(self) -> np.ndarray:
        """(n, p) in the principal axes."""
        return self.axes.project(self.data.features)

    @cached_property
    def local(self) -> LocalTerm | None:
        if self.local_batches is None:
            return None
        projected = np.stack([self.axes.project(batch) for batch in self.local_batches])
        return LocalTerm(self.local_batches, projected, self.local_temperature)

    @cached_property
    def scale(self) -> float:
        """The c > 0 of least cross-entropy with W = c·I and b = 0, to some percent.

        Bounded below, since from W = 0 no gradient leads anywhere.
        """
        similarities = torch.from_numpy(self.features @ self.features.T)
        unit = 1 / similarities.std().item()
        found = minimize_scalar(
            lambda log_scale: self.data.choices.value(similarities * (unit * np.exp(2 * log_scale))),
            bounds=(-1, 3),
            options={"xatol": 0.02},
        )
        return float(np.sqrt(unit) * np.exp(found.x))

    @property
    def collapse_regularization(self) -> float:
        """The least λ with which λ‖W‖² makes W = 0 the optimum: a size for λ that comes from the data.

        Around W = 0 the cross-entropy is ln 3 - tr(K M) in M = WW', and the penalty is λ tr M, so it is the largest
        eigenvalue of K; 0 where no W does better.
        """
        n = len(self.features)
        slope = self.data.choices.value_and_gradient(torch.zeros(n, n))[1].numpy()
        signal = -self.features.T @ (slope + slope.T) @ self.features / 2
        return max(0.0, float(np.linalg.eigvalsh(signal)[-1]))

    def solve(self, regularization: float, tolerance: float, max_iter: int) -> Solution:
        """The optimum for one λ."""
        objective = Objective(
            self.features, self.data.choices, self.penalty, regularization, self.local, self.local_weight
        )
        return solve(objective, self.scale, self.axes.variances, tolerance, max_iter)

    def transform(self, solution: Solution) -> AffineTransform:
        """The transform of the original features."""
        return self.axes.transform(solution.weight, solution.bias)
