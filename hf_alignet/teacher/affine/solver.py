"""Minimises the objective of an affine fit by full-batch L-BFGS, from the best multiple of the identity.

It needs no learning rate and no random numbers. The curvature in the principal axes is known and scales the variables,
so the fit takes only some tens of evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from hf_alignet.errors import RunError
from hf_alignet.teacher.affine.objective import BIAS_PENALTY, Objective


@dataclass
class Solution:
    """An optimum."""

    weight: np.ndarray  # (p, p) symmetric float64
    bias: np.ndarray  # (p,) float64
    values: list[float]  # of the objective, after each step
    is_converged: bool  # False if the fit used all its steps


def solve(objective: Objective, scale: float, variances: np.ndarray, tolerance: float, max_iter: int) -> Solution:
    """Minimises an objective with λ > 0 whose features, with `variances` (p,), are in their principal axes.

    The start is W = `scale`·I and b = 0. The fit stops after `max_iter` steps, or when a step lowers the value by less
    than the share `tolerance` of it. Raises a RunError if a value or a gradient is not finite.
    """
    p = len(variances)
    # Half of the second derivatives by W_ij and b_j at the start, where E[z_j²] = c² Var x_j, up to a factor near 1.
    # If the variables are divided by the root of these, each of them has a curvature of about 1
    of_bias = scale**2 * variances
    weight_unit = 1 / np.sqrt(np.outer(variances, of_bias) + 2 * objective.regularization)
    bias_unit = 1 / np.sqrt(of_bias + 2 * BIAS_PENALTY * objective.regularization)
    values: list[float] = []

    def unpack(variables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return variables[: p * p].reshape(p, p) * weight_unit, variables[p * p :] * bias_unit

    def value_and_gradient(variables: np.ndarray) -> tuple[float, np.ndarray]:
        value, d_weight, d_bias = objective(*unpack(variables))
        d_weight = (d_weight + d_weight.T) / 2 * weight_unit
        gradient = np.concatenate([d_weight.ravel(), d_bias * bias_unit]).astype(np.float64)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            raise RunError(f"the fit diverged: value {value} at regularization {objective.regularization:g}")
        return value, gradient

    def note(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        values.append(float(intermediate_result.fun))

    result = scipy.optimize.minimize(
        value_and_gradient,
        np.concatenate([(scale * np.eye(p) / weight_unit).ravel(), np.zeros(p)]),
        method="L-BFGS-B",
        jac=True,
        callback=note,
        # No limit for the gradient: float32 features leave noise in it
        options={"ftol": tolerance, "gtol": 0.0, "maxiter": max_iter, "maxfun": 2 * max_iter},
    )
    weight, bias = unpack(result.x)
    return Solution(weight, bias, values, is_converged=result.status != 1 and bool(values))
