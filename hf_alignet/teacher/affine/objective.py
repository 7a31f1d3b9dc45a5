"""The objective of an affine fit: the cross-entropy of choices, a penalty, and for gLocal a local term.

The loss depends on the transform z = xW + b only through M = WW' and v = Wb. The cross-entropy is convex in M and v.
So are both penalties, if each M gets the W with the smallest penalty: tr M - (tr M^½)² / p and tr M. The symmetric
W = M^½ has that smallest penalty, so a symmetric W loses nothing, and there is only one optimum of full rank.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
import torch

from hf_alignet.teacher.choice_likelihood import ChoiceLikelihood

Penalty = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""From a weight (p, p) to its penalty and the gradient."""

BIAS_PENALTY = 0.03  # relative to the penalty of the weight; see `Objective`


def distance_to_scaled_identity(weight: np.ndarray) -> tuple[float, np.ndarray]:
    """‖W - mean(diag W) I‖²_F (eq. 3) and its gradient. The derivative of the mean contributes 0 to the gradient."""
    difference = weight - np.diag(np.full(len(weight), np.trace(weight) / len(weight)))
    return float((difference**2).sum()), 2 * difference


def squared_norm(weight: np.ndarray) -> tuple[float, np.ndarray]:
    """‖W‖²_F and its gradient, as in the papers. gLocal's code uses the square root of the penalty."""
    return float((weight**2).sum()), 2 * weight


class LocalTerm:
    """The local term of gLocal: it keeps the similarities of another set of images.

    Cross-entropy between softmax(cos(x_i, x_j) / τ) of untransformed and softmax(cos(z_i, z_j) / τ) of transformed
    features over the other images j of a batch, as a mean over all images i (Muttenthaler et al. 2023b, eq. 6).

    Args:
        untransformed: (k, B, p) features x of k batches of B images.
        features: (k, B, p) features from which weight and bias make z.
        temperature: τ.
    """

    def __init__(self, untransformed: np.ndarray, features: np.ndarray, temperature: float):
        self.features, self.temperature = features, temperature
        self.targets = [np.exp(self._log_softmax(_normalize(batch)[0])) for batch in untransformed]

    def value_and_gradient(self, weight: np.ndarray, bias: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The mean over all images, and its gradients with respect to weight (p, p) and bias (p,)."""
        value, d_weight, d_bias = 0.0, np.zeros_like(weight), np.zeros_like(bias)
        for features, target in zip(self.features, self.targets, strict=True):
            directions, norms = _normalize(features @ weight + bias)
            log_probabilities = self._log_softmax(directions)
            count = len(features) * len(self.targets)
            value -= (target * np.where(target > 0, log_probabilities, 0)).sum(dtype=np.float64) / count
            slope = (np.exp(log_probabilities) - target) / (count * self.temperature)
            slope = (slope + slope.T) @ directions
            # Only the part that is orthogonal to z changes the direction of z
            slope = (slope - directions * (slope * directions).sum(1, keepdims=True)) / norms
            d_weight += features.T @ slope
            d_bias += slope.sum(0)
        return value, d_weight, d_bias

    def _log_softmax(self, directions: np.ndarray) -> np.ndarray:
        cosines = directions @ directions.T
        np.fill_diagonal(cosines, -np.inf)  # an image is not compared with itself
        return torch.from_numpy(cosines / self.temperature).log_softmax(dim=1).numpy()


def _normalize(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True).clip(np.finfo(vectors.dtype).tiny)
    return vectors / norms, norms


@dataclass
class Objective:
    """(1 - α) cross-entropy + α local term + λ (penalty(W) + 0.03 ‖b‖²), and its gradients.

    The papers do not penalise the bias, but they also do not reach the optimum. Near the optimum, a bias without
    penalty has 512 free numbers for 1,854 objects. The penalty predicts choices among new objects better (THINGS and
    CLIP in 5 folds: cross-entropy .939 instead of .942, the same for factors of 0.003 to 0.03), and needs less than
    half of the steps. The bias belongs to centred features, so a shift of all features changes nothing.
    """

    features: np.ndarray  # (n, p) features of the objects, centred over these and maybe others
    choices: ChoiceLikelihood  # among the objects
    penalty: Penalty
    regularization: float  # λ
    local: LocalTerm | None = None
    local_weight: float = 0.0  # α

    def __call__(self, weight: np.ndarray, bias: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The value, and its gradients with respect to weight (p, p) and bias (p,), as precise as the features."""
        w, b = weight.astype(self.features.dtype), bias.astype(self.features.dtype)
        value, d_weight, d_bias = self._cross_entropy(w, b)
        if self.local is not None:
            local, local_d_weight, local_d_bias = self.local.value_and_gradient(w, b)
            value += self.local_weight * (local - value)
            d_weight += self.local_weight * (local_d_weight - d_weight)
            d_bias += self.local_weight * (local_d_bias - d_bias)
        penalty, d_penalty = self.penalty(weight)
        value += self.regularization * (penalty + BIAS_PENALTY * float(bias @ bias))
        d_weight = d_weight + self.regularization * d_penalty
        return value, d_weight, d_bias + self.regularization * BIAS_PENALTY * 2 * bias

    def _cross_entropy(self, weight: np.ndarray, bias: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        # BLAS stores arrays by columns, NumPy by rows. So BLAS gets the transpose Z' with shape (p, n)
        transformed = (self.features @ weight + bias).T
        rank_k, symmetric_product = scipy.linalg.get_blas_funcs(("syrk", "symm"), (transformed,))
        similarities = rank_k(1.0, transformed, trans=1)  # only the half of Z Z' that is used, in half of the time
        value, slope = self.choices.value_and_gradient(torch.from_numpy(similarities.T))
        d_transformed = symmetric_product(1.0, slope.numpy().T, transformed, side=1).T  # (G + G') Z
        return value, self.features.T @ d_transformed, d_transformed.sum(0, dtype=np.float64)
