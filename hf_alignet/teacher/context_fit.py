"""Fits a ContextTransform: weights of dimensions that depend on the three images in view.

The affine transform stays as it is. The gate is fitted to people's choices themselves (eq. 1 of Muttenthaler et al.
2025, the negative log-likelihood), with the penalty λ (‖M‖² + ‖b‖²), where M acts on standardised dimensions. λ, or no
gate at all, is chosen by choices that neither the gate nor the transform below it has seen.
"""

import numpy as np
import pandas as pd
import torch

from hf_alignet.encoder.context_transform import ContextTransform
from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.similarity import of_chosen_pair
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.affine.selection import cross_entropies
from hf_alignet.teacher.weighed import NUM_DIMENSIONS, Weighed, minimised, strongest_within_error

REGULARIZATIONS = (3e-4, 1e-3, 3e-3, 1e-2)  # best for THINGS and CLIP: 0.001
HELD_OUT_SHARE = 0.1  # of the triplets


def fit_context(
    transform: AffineTransform, data: AffineData, regularization: float, num_dimensions: int = NUM_DIMENSIONS
) -> ContextTransform:
    """The gate that makes choices most likely, on an affine transform that is given.

    Args:
        transform: of the features of `data`.
        data: features, and people's choices.
        regularization: λ > 0.
        num_dimensions: greatest number of dimensions that are weighed.
    """
    weighed = Weighed.of(transform, data.features, data.triplets, data.probabilities, data.weights, num_dimensions)
    center, spread = weighed.leading.mean(0, dtype=np.float64), weighed.leading.std(0, dtype=np.float64)
    spread = np.where(spread > 0, spread, 1.0)
    standard = np.column_stack([(weighed.leading - center) / spread, np.ones(len(weighed.leading))])
    shape = (standard.shape[1], weighed.leading.shape[1])

    def objective(variables: np.ndarray) -> tuple[float, np.ndarray]:
        value, slopes = weighed.value_and_gradient(standard @ variables.reshape(shape), weighed.triplets)
        gradient = (standard.T @ slopes).ravel() + 2 * regularization * variables
        return value + regularization * float(variables @ variables), gradient

    found = minimised(objective, np.zeros(shape[0] * shape[1])).reshape(shape)
    gate_weight = found[:-1] / spread[:, None]
    info = transform.info | {"context_regularization": regularization, "context_dimensions": shape[1]}
    return ContextTransform(transform, weighed.axes, gate_weight, found[-1] - center @ gate_weight, info)


def select_context(transform: AffineTransform, fitted: AffineData, held_out: AffineData) -> tuple[pd.DataFrame, float]:
    """How well gates on a transform, both fitted to the same choices, predict others.

    Returns:
        One row for each λ, and one without a gate (λ infinite): `regularization`, `cross_entropy` (nats), `accuracy`;
        and the largest λ within a standard error of the best.
    """
    rows, losses = [], {}
    for regularization in (*REGULARIZATIONS, np.inf):
        is_plain = np.isinf(regularization)
        gated = without_gate(transform) if is_plain else fit_context(transform, fitted, regularization)
        similarities = gated.similarities(held_out.features, held_out.triplets)
        losses[regularization] = cross_entropies(similarities, held_out)
        right = of_chosen_pair(torch.from_numpy(similarities), torch.from_numpy(held_out.probabilities)).numpy()
        measures = [float(np.average(each, weights=held_out.weights)) for each in (losses[regularization], right)]
        rows.append((regularization, *measures))
    table = pd.DataFrame(rows, columns=["regularization", "cross_entropy", "accuracy"])
    return table, strongest_within_error(losses, held_out.weights)


def without_gate(transform: AffineTransform) -> ContextTransform:
    """The context transform of any context, whose similarities are those of the plain transform."""
    return ContextTransform(transform, np.eye(transform.dim, 1), np.zeros((1, 1)), np.zeros(1))


def chosen_context(
    transform: AffineTransform, data: AffineData, table: pd.DataFrame, regularization: float
) -> ContextTransform:
    """The gate on the final transform with the λ that was chosen, or none where it is infinite."""
    losses = table.set_index("regularization")["cross_entropy"]
    if np.isinf(regularization):
        context = without_gate(transform)
        choice = "The weights do not change with the context: no fit of them predicted held-out choices clearly better"
    else:
        context = fit_context(transform, data, regularization)
        choice = (
            f"Weights that change with the context (λ {regularization:g}) predict held-out choices better than the "
            f"transform alone, by {losses[np.inf] - losses[regularization]:.4f} nats from {losses[np.inf]:.4f}"
        )
    context.info = context.info | {"method": "context", "context_choice": choice}
    return context
