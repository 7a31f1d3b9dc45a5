"""The principal axes of features, in which an affine transform is fitted.

Neither the cross-entropy of choices nor a penalty of the weight changes when the features are rotated, x -> R'x and
W -> R'WR, nor when they are shifted, which the bias takes up. In the principal axes of the centred features the
curvature of the loss is nearly diagonal and known.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.errors import InputError


@dataclass
class PrincipalAxes:
    """The change of coordinates (x - mean) / std -> ((x - mean) / std - center) @ axes.

    Attributes:
        mean, std: scalars of the whole matrix of features (gLocal).
        center: (p,) means of the standardised columns.
        axes: (p, p) orthonormal columns.
        variances: (p,) along the axes, descending, positive but for directions in which the features do not vary.
    """

    mean: float
    std: float
    center: np.ndarray
    axes: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Self:
        """Of features (n, p).

        Raises:
            InputError: all features are the same number.
        """
        mean, std = check_varied(features)
        features = features.astype(np.float64)
        centred = (features - mean) / std
        center = centred.mean(0)
        variances, axes = np.linalg.eigh(np.cov(centred.T, bias=True).reshape(len(center), -1))
        return cls(mean, std, center, axes[:, ::-1], variances[::-1].clip(0))

    def project(self, features: np.ndarray) -> np.ndarray:
        """(n, p) float32 features in these coordinates."""
        return (((features.astype(np.float64) - self.mean) / self.std - self.center) @ self.axes).astype(np.float32)

    def transform(self, weight: np.ndarray, bias: np.ndarray) -> AffineTransform:
        """The transform of the original features that a weight and a bias in these coordinates stand for."""
        weight = self.axes @ weight @ self.axes.T
        return AffineTransform(weight, self.axes @ bias - self.center @ weight, self.mean, self.std)


def check_varied(features: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of all numbers in features (n, p).

    Raises:
        InputError: they are all the same.
    """
    mean, std = features.mean(dtype=np.float64), features.std(dtype=np.float64)
    if not std > 1e-12 * abs(mean):
        raise InputError(f"the features are constant: every one is {mean:g}")
    return float(mean), float(std)
