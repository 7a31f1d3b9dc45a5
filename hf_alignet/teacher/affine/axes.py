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

LEAST_SHARE = 1e-10  # of the largest variance, for an axis along which features vary


@dataclass
class PrincipalAxes:
    """The change of coordinates (x - mean) / std -> ((x - mean) / std - center) @ axes."""

    mean: float  # of the whole matrix of features, as in gLocal
    std: float  # of the whole matrix
    center: np.ndarray  # (p,) means of the standardised columns
    axes: np.ndarray  # (p, r) orthonormal columns, r ≤ p
    variances: np.ndarray  # (r,) along the axes, in descending order; 0 for directions without variation

    @classmethod
    def of(cls, features: np.ndarray, only_varied: bool = False) -> Self:
        """The axes of features (n, p), or only those along which the features vary, of which there are less than n.

        Raises an InputError if all features are the same number.
        """
        mean, std = check_varied(features)
        centred = (features.astype(np.float64) - mean) / std
        center = centred.mean(0)
        variances, axes = np.linalg.eigh(np.cov(centred.T, bias=True).reshape(len(center), -1))
        axes, variances = axes[:, ::-1], variances[::-1].clip(0)
        kept = variances > LEAST_SHARE * variances[0] if only_varied else slice(None)
        return cls(mean, std, center, axes[:, kept], variances[kept])

    def project(self, features: np.ndarray) -> np.ndarray:
        """Features (n, p) in these coordinates, as float32."""
        return (((features.astype(np.float64) - self.mean) / self.std - self.center) @ self.axes).astype(np.float32)

    def transform(self, weight: np.ndarray, bias: np.ndarray, outside: float = 0.0) -> AffineTransform:
        """The transform of the original features for a weight and a bias in these coordinates.

        What is orthogonal to the axes is multiplied by `outside`.
        """
        weight = self.axes @ weight @ self.axes.T
        if self.axes.shape[1] < len(self.axes):
            weight = weight + outside * (np.eye(len(self.axes)) - self.axes @ self.axes.T)
        return AffineTransform(weight, self.axes @ bias - self.center @ weight, self.mean, self.std)


def check_varied(features: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of all numbers in features (n, p). Raises an InputError if they are all the same."""
    mean, std = features.mean(dtype=np.float64), features.std(dtype=np.float64)
    if not std > 1e-12 * abs(mean):
        raise InputError(f"the features are constant: all of them are {mean:g}")
    return float(mean), float(std)
