"""What an affine transform is fitted to, checked: features of objects, and choices among them."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.teacher.choice_likelihood import ChoiceLikelihood


@dataclass(frozen=True)
class AffineData:
    """Objects and choices among them.

    Attributes:
        features: (n, p) of the objects, finite.
        triplets: (m, 3) rows of the features, three different ones each.
        probabilities: (m, 3) of the pairs in pair order.
        weights: (m,) of the triplets.
    """

    features: np.ndarray
    triplets: np.ndarray
    probabilities: np.ndarray
    weights: np.ndarray

    @classmethod
    def checked(
        cls, features: np.ndarray, triplets: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None
    ) -> Self:
        """Whatever the user gave, as arrays that fit together.

        Raises:
            InputError: says what does not fit.
        """
        features, triplets = check_features(features, "features"), np.asarray(triplets)
        probabilities = np.asarray(probabilities, np.float64)
        weights = np.ones(len(triplets)) if weights is None else np.asarray(weights, np.float64)
        if triplets.ndim != 2 or triplets.shape[1] != 3 or not np.issubdtype(triplets.dtype, np.integer):
            raise InputError(f"triplets must be integers of shape (m, 3), got {triplets.dtype} {triplets.shape}")
        if not len(triplets):
            raise InputError("there are no triplets to fit to")
        if triplets.min() < 0 or triplets.max() >= len(features):
            wrong = triplets[(triplets < 0) | (triplets >= len(features))][0]
            raise InputError(f"a triplet names row {wrong}, but the features have {len(features)} rows")
        repeats = (triplets == np.roll(triplets, 1, axis=1)).any(1)
        if repeats.any():
            raise InputError(f"triplet {repeats.argmax()} has the same object twice: {triplets[repeats.argmax()]}")
        if probabilities.shape != triplets.shape or weights.shape != (len(triplets),):
            raise InputError(
                f"{len(triplets)} triplets need probabilities ({len(triplets)}, 3) and one weight each, got "
                f"{probabilities.shape} and {weights.shape}"
            )
        is_right = (probabilities >= 0).all(1) & (np.abs(probabilities.sum(1) - 1) < 1e-3)
        if not is_right.all():
            wrong = int(is_right.argmin())
            raise InputError(f"probabilities of triplet {wrong} are {probabilities[wrong]}; they must sum to 1")
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise InputError("weights must be finite, not negative, and not all 0")
        return cls(features, triplets.astype(np.int64), probabilities, weights)

    def among(self, is_member: np.ndarray) -> Self:
        """The data of some of the objects, is_member (n,) bool: the triplets all of whose objects are among them."""
        keep = is_member[self.triplets].all(1)
        new_rows = np.cumsum(is_member) - 1
        return replace(
            self,
            features=self.features[is_member],
            triplets=new_rows[self.triplets[keep]],
            probabilities=self.probabilities[keep],
            weights=self.weights[keep],
        )

    @cached_property
    def choices(self) -> ChoiceLikelihood:
        """The triplets by way of the matrix of similarities."""
        return ChoiceLikelihood(self.triplets, self.probabilities, len(self.features), self.weights)


def check_features(features: np.ndarray, name: str) -> np.ndarray:
    """(n, p) finite features.

    Raises:
        InputError: they are something else.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not np.issubdtype(features.dtype, np.floating):
        raise InputError(f"{name} must be floating-point (n, p), got {features.dtype} {features.shape}")
    is_bad = ~np.isfinite(features).all(1)
    if is_bad.any():
        raise InputError(f"{name} of row {is_bad.argmax()} are not finite")
    return features
