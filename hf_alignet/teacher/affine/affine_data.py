"""The checked data of an affine fit: features of objects, and choices among the objects."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.judgments.rows import check_rows, refuse
from hf_alignet.teacher.choice_likelihood import ChoiceLikelihood


@dataclass(frozen=True)
class AffineData:
    """Objects, and choices among them."""

    features: np.ndarray  # (n, p) finite
    triplets: np.ndarray  # (m, 3) rows of the features, three different rows each
    probabilities: np.ndarray  # (m, 3) in pair order
    weights: np.ndarray  # (m,) of the triplets

    @classmethod
    def checked(
        cls, features: np.ndarray, triplets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None
    ) -> Self:
        """The user's arrays. Raises an InputError if an array has a wrong shape, type or value."""
        features, triplets = check_features(features, "features"), np.asarray(triplets)
        probabilities = np.asarray(probabilities, np.float64)
        weights = np.ones(len(triplets)) if weights is None else np.asarray(weights, np.float64)
        if triplets.ndim != 2 or triplets.shape[1] != 3 or not np.issubdtype(triplets.dtype, np.integer):
            raise InputError(f"the triplets must be integers (m, 3), got {triplets.dtype} {triplets.shape}")
        if not len(triplets):
            raise InputError("there are no triplets to fit")
        check_rows(triplets, len(features), "triplets")
        if probabilities.shape != triplets.shape or weights.shape != (len(triplets),):
            got = f"{probabilities.shape} and {weights.shape}"
            raise InputError(f"{len(triplets)} triplets need as many rows of 3 probabilities, and weights, got {got}")
        is_right = (probabilities >= 0).all(1) & (np.abs(probabilities.sum(1) - 1) < 1e-3)
        refuse(~is_right, probabilities, "probabilities", "must be 0 or more, with the sum 1")
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise InputError("the weights must be finite, 0 or more, and not all 0")
        return cls(features, triplets.astype(np.int64), probabilities, weights)

    def among(self, is_member: np.ndarray) -> Self:
        """The objects in a mask (n,), and the triplets that have all their objects in it."""
        keep = is_member[self.triplets].all(1)
        triplets = (np.cumsum(is_member) - 1)[self.triplets[keep]]
        kept = {"probabilities": self.probabilities[keep], "weights": self.weights[keep]}
        return replace(self, features=self.features[is_member], triplets=triplets, **kept)

    def of_triplets(self, is_kept: np.ndarray) -> Self:
        """The triplets in a mask (m,), and the objects that they name."""
        named, triplets = np.unique(self.triplets[is_kept], return_inverse=True)
        kept = {"probabilities": self.probabilities[is_kept], "weights": self.weights[is_kept]}
        return replace(self, features=self.features[named], triplets=triplets.reshape(-1, 3), **kept)

    @cached_property
    def named(self) -> np.ndarray:
        """(u,) sorted rows of the objects that a triplet names: there may be many more."""
        return np.unique(self.triplets)

    @cached_property
    def choices(self) -> ChoiceLikelihood:
        """The triplets of the named objects alone, for fits through the matrix of their similarities."""
        triplets = np.searchsorted(self.named, self.triplets)
        return ChoiceLikelihood(triplets, self.probabilities, len(self.named), self.weights)


def check_features(features: np.ndarray, name: str) -> np.ndarray:
    """Finite features (n, p). Raises an InputError if the shape, the type or a value is wrong."""
    features = np.asarray(features)
    if features.ndim != 2 or not np.issubdtype(features.dtype, np.floating):
        raise InputError(f"`{name}` must be floating-point numbers (n, p), got {features.dtype} {features.shape}")
    is_bad = ~np.isfinite(features).all(1)
    if is_bad.any():
        raise InputError(f"the {name} of row {is_bad.argmax()} are not finite")
    return features
