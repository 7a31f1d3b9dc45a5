"""The principal axes of features. The affine transform is fitted in these coordinates.

Neither the cross-entropy of choices nor a penalty of the weight changes when the features are rotated (x -> R'x and
W -> R'WR). A shift of the features only changes the bias. In the principal axes of the centred features, the curvature
of the loss is nearly diagonal and known.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.errors import InputError


@dataclass
class PrincipalAxes:
    """The change of coordinates (x - mean) / std -> ((x - mean) / std - center) @ axes."""

    mean: float  # of the whole matrix of features, as in gLocal
    std: float  # of the whole matrix
    center: np.ndarray  # (p,) means of the standardised columns
    axes: np.ndarray  # (p, p) orthonormal columns
    variances: np.ndarray  # (p,) along the axes, in descending order; 0 for directions without variation

    @classmethod
    def of(cls, features: np.ndarray) -> Self:
        """The axes of features (n, p). Raises an InputError if all features are the same number."""
        mean, std = check_varied(features)
        centred = (features.astype(np.float64) - mean) / std
        center = centred.mean(0)
        variances, axes = np.linalg.eigh(np.cov(centred.T, bias=True).reshape(len(center), -1))
        return cls(mean, std, center, axes[:, ::-1], variances[::-1].clip(0))

    def project(self, features: np.ndarray) -> np.ndarray:
        """Features (n, p) in these coordinates, as float32."""
        return (((features.astype(np.float64) - self.mean) / self.std - self.center) @ self.axes).astype(np.float32)

    def transform(self, weight: np.ndarray, bias: np.ndarray) -> AffineTransform:
        """The transform of the original features for a weight and a bias in these coordinates."""
        weight = self.axes @ weight @ self.axes.T
        return AffineTransform(weight, self.axes @ bias - self.center @ weight, self.mean, self.std)


def check_varied(features: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of all numbers in features (n, p). Raises an InputError if they are all the same."""
    mean, std = features.mean(dtype=np.float64), features.std(dtype=np.float64)
    if not std > 1e-12 * abs(mean):
        raise InputError(f"the features are constant: all of them are {mean:g}")
    return float(mean), float(std)
