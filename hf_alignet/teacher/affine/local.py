"""The local term of gLocal (Muttenthaler et al. 2023b): what is similar to what, on another set of images, stays."""

import numpy as np
import torch


class LocalTerm:
    """gLocal's local term: similar images of another set stay as similar as they are.

    Cross-entropy between softmax(cos(x_i, x_j) / τ) of untransformed and softmax(cos(z_i, z_j) / τ) of transformed
    features over the other images j of a batch, averaged over all images i (Muttenthaler et al. 2023b, eq. 6).

    Args:
        untransformed: (k, B, p) features x of k batches of B images.
        features: (k, B, p) what the weight and the bias are applied to, to give z.
        temperature: τ.
    """

    def __init__(self, untransformed: np.ndarray, features: np.ndarray, temperature: float):
        self.features, self.temperature = features, temperature
        self.targets = [np.exp(self._log_softmax(_cosines(_normalize(batch)[0]))) for batch in untransformed]

    def value_and_gradient(self, weight: np.ndarray, bias: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The mean over all images, and its gradients with respect to weight (p, p) and bias (p,)."""
        value, d_weight, d_bias = 0.0, np.zeros_like(weight), np.zeros_like(bias)
        for features, target in zip(self.features, self.targets, strict=True):
            directions, norms = _normalize(features @ weight + bias)
            log_probabilities = self._log_softmax(_cosines(directions))
            count = len(features) * len(self.targets)
            value -= (target * np.where(target > 0, log_probabilities, 0)).sum(dtype=np.float64) / count
            slope = (np.exp(log_probabilities) - target) / (count * self.temperature)
            slope = (slope + slope.T) @ directions
            # Only what is orthogonal to z changes its direction
            slope = (slope - directions * (slope * directions).sum(1, keepdims=True)) / norms
            d_weight += features.T @ slope
            d_bias += slope.sum(0)
        return value, d_weight, d_bias

    def _log_softmax(self, cosines: np.ndarray) -> np.ndarray:
        return torch.from_numpy(cosines / self.temperature).log_softmax(dim=1).numpy()


def _normalize(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True).clip(np.finfo(vectors.dtype).tiny)
    return vectors / norms, norms


def _cosines(directions: np.ndarray) -> np.ndarray:
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -np.inf)  # an image is not compared with itself
    return cosines
