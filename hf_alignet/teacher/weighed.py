"""Choices seen through the leading dimensions of a transform, which a fit weighs: by context or by group of people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy

from hf_alignet.encoder.context_transform import LIMIT
from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.errors import RunError
from hf_alignet.similarity.products import products_of_triplets
from hf_alignet.teacher.choosing import standard_error
from hf_alignet.teacher.context_kernel import weighed_cross_entropy

NUM_DIMENSIONS = 50
LEAST_SHARE = 1e-6  # of the largest second moment, for a dimension to be weighed
MAX_ITER, TOLERANCE = 100, 1e-7


@dataclass(frozen=True)
class Weighed:
    """Choices about objects, under a transform whose leading dimensions are weighed."""

    axes: np.ndarray  # (p, r) float64, the orthonormal axes of the largest second moments of transformed features
    leading: np.ndarray  # (n, r) float32 along them
    triplets: np.ndarray  # (m, 3) int64
    similarities: np.ndarray  # (m, 3) with all weights 1
    probabilities: np.ndarray  # (m, 3) of choices
    weights: np.ndarray  # (m,) with the sum 1
    num_choices: float

    @classmethod
    def of(
        cls,
        transform: AffineTransform,
        features: np.ndarray,
        triplets: np.ndarray,
        probabilities: np.ndarray,
        weights: np.ndarray,
        num_dimensions: int = NUM_DIMENSIONS,
    ) -> Self:
        """Choices with the probabilities (m, 3) and weights (m,) about rows of features (n, p)."""
        transformed = transform(features)
        moments, axes = np.linalg.eigh(transformed.T.astype(np.float64) @ transformed / len(transformed))
        axes = np.ascontiguousarray(axes[:, moments > LEAST_SHARE * moments[-1]][:, ::-1][:, :num_dimensions])
        return cls(
            axes,
            (transformed @ axes).astype(np.float32),
            triplets.astype(np.int64),
            products_of_triplets(transformed, triplets),
            probabilities.astype(np.float32),
            (weights / weights.sum()).astype(np.float32),
            float(weights.sum()),
        )

    def value_and_gradient(self, gates: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean cross-entropy in nats, and its gradient (k, r) with respect to gates (k, r); rows (m, 3) of them."""
        slopes = np.zeros(gates.shape)
        arrays = (self.triplets, self.similarities, self.probabilities, self.weights)
        value = weighed_cross_entropy(self.leading, gates.astype(np.float32), rows, *arrays, np.float32(LIMIT), slopes)
        return float(value), slopes


def strongest_within_error(losses: Mapping[float, np.ndarray], weights: np.ndarray) -> float:
    """The largest λ whose losses (m,) of held-out triplets are within a standard error of the best."""
    means = {penalty: float(np.average(each, weights=weights)) for penalty, each in losses.items()}
    best = min(means, key=lambda penalty: means[penalty])
    cases = np.arange(len(weights))
    return max(
        penalty
        for penalty, each in losses.items()
        if means[penalty] - means[best] <= standard_error(each - losses[best], cases, weights)
    )


def minimised(objective, start: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The minimum of a smooth objective, which gives value and gradient, by L-BFGS; RunError if it diverges."""
    result = scipy.optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": MAX_ITER, "ftol": TOLERANCE, "gtol": 0.0}
    )
    if not np.isfinite(result.x).all() or not np.isfinite(result.fun):
        raise RunError(f"the fit of weights diverged: value {result.fun}")
    return result.x
