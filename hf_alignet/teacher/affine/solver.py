"""Minimises the objective of an affine transform: from the best multiple of the identity by full-batch L-BFGS.

It needs no learning rate and no random number, and takes some tens of evaluations, because the variables are scaled by
the curvature that is known in the principal axes.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from hf_alignet.errors import RunError
from hf_alignet.teacher.affine.objective import BIAS_PENALTY, Objective


@dataclass
class Solution:
    """An optimum.

    Attributes:
        weight: (p, p) symmetric float64.
        bias: (p,) float64.
        values: of the objective after each step.
        is_converged: False where the number of steps ran out.
    """

    weight: np.ndarray
    bias: np.ndarray
    values: list[float]
    is_converged: bool


def solve(objective: Objective, scale: float, variances: np.ndarray, tolerance: float, max_iter: int) -> Solution:
    """Minimises an objective whose features are in their principal axes.

    Args:
        objective: with a positive λ.
        scale: c of the start, W = c·I and b = 0.
        variances: (p,) of the features.
        tolerance: stops when a step lowers the value by less than this, relative to the value.
        max_iter: greatest number of steps.

    Raises:
        RunError: a value or a gradient is not finite.
    """
    p = len(variances)
    # Half the second derivatives with respect to W_ij and b_j at the start, where E[z_j²] = c² Var x_j, to a factor
    # near 1. Variables divided by the root of these have a curvature of about 1 each
    of_bias = scale**2 * variances
    weight_unit = 1 / np.sqrt(np.outer(variances, of_bias) + 2 * objective.regularization)
    bias_unit = 1 / np.sqrt(of_bias + 2 * BIAS_PENALTY * objective.regularization)

    def unpack(variables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return variables[: p * p].reshape(p, p) * weight_unit, variables[p * p :] * bias_unit

    def value_and_gradient(variables: np.ndarray) -> tuple[float, np.ndarray]:
        value, d_weight, d_bias = objective(*unpack(variables))
        d_weight = (d_weight + d_weight.T) / 2 * weight_unit
        gradient = np.concatenate([d_weight.ravel(), d_bias * bias_unit]).astype(np.float64)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            raise RunError(f"the fit diverged: value {value} at regularization {objective.regularization:g}")
        return value, gradient

    values: list[float] = []

    def note(intermediate_result: OptimizeResult) -> None:
        values.append(float(intermediate_result.fun))

    result = minimize(
        value_and_gradient,
        np.concatenate([(scale * np.eye(p) / weight_unit).ravel(), np.zeros(p)]),
        method="L-BFGS-B",
        jac=True,
        callback=note,
        # No bound on the gradient: float32 features leave noise in it
        options={"ftol": tolerance, "gtol": 0.0, "maxiter": max_iter, "maxfun": 2 * max_iter},
    )
    weight, bias = unpack(result.x)
    return Solution(weight, bias, values, is_converged=result.status != 1 and bool(values))
