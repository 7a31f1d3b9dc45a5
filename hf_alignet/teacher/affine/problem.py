"""One affine fit: what is computed once, and the solution for each λ."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
import torch

from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.affine.axes import PrincipalAxes
from hf_alignet.teacher.affine.objective import LocalTerm, Objective, Penalty, distance_to_scaled_identity
from hf_alignet.teacher.affine.solver import Solution, solve


@dataclass(frozen=True)
class AffineProblem:
    """The data and the terms of an objective, without λ."""

    data: AffineData
    penalty: Penalty
    local_batches: np.ndarray | None = None  # (k, B, p) features of other images; None means no local term
    local_weight: float = 0.0  # α
    local_temperature: float = 1.0  # τ

    @cached_property
    def axes(self) -> PrincipalAxes:
        """Without a local term, only those along which the objects vary: the choices say nothing about the others."""
        return PrincipalAxes.of(self.data.features, only_varied=self.local_batches is None)

    @cached_property
    def features(self) -> np.ndarray:
        """(u, r) of the objects that a triplet names, in the principal axes of all objects."""
        return self.axes.project(self.data.features[self.data.named])

    @cached_property
    def local(self) -> LocalTerm | None:
        if self.local_batches is None:
            return None
        projected = np.stack([self.axes.project(batch) for batch in self.local_batches])
        return LocalTerm(self.local_batches, projected, self.local_temperature)

    @cached_property
    def scale(self) -> float:
        """The c > 0 with the least cross-entropy for W = c·I and b = 0, with an error of a few percent.

        It has a lower bound, because the gradient at W = 0 is 0.
        """
        similarities = torch.from_numpy(self.features @ self.features.T)
        unit = 1 / similarities.std().item()
        found = scipy.optimize.minimize_scalar(
            lambda log_scale: self.data.choices.value(similarities * (unit * np.exp(2 * log_scale))),
            bounds=(-1, 3),
            options={"xatol": 0.02},
        )
        return float(np.sqrt(unit) * np.exp(found.x))

    @property
    def collapse_regularization(self) -> float:
        """The smallest λ for which W = 0 is the optimum with the penalty λ‖W‖²: a unit for λ.

        Around W = 0, the cross-entropy is ln 3 - tr(K M) with M = WW', and the penalty is λ tr M. So this λ is the
        largest eigenvalue of K, or 0 if no W is better than W = 0.
        """
        n = len(self.features)
        slope = self.data.choices.value_and_gradient(torch.zeros(n, n))[1].numpy()
        signal = -self.features.T @ (slope + slope.T) @ self.features / 2
        return max(0.0, float(np.linalg.eigvalsh(signal)[-1]))

    def transform(self, solution: Solution) -> AffineTransform:
        """The transform of a solution. What no object shows is transformed as the penalty alone would have it."""
        is_scaled_identity = self.penalty is distance_to_scaled_identity
        outside = float(np.trace(solution.weight)) / len(solution.weight) if is_scaled_identity else 0.0
        return self.axes.transform(solution.weight, solution.bias, outside)

    def solve(self, regularization: float, tolerance: float, max_iter: int) -> Solution:
        """The optimum for one λ."""
        terms = (self.penalty, regularization, self.local, self.local_weight)
        objective = Objective(self.features, self.data.choices, *terms)
        return solve(objective, self.scale, self.axes.variances, tolerance, max_iter)
