"""Which objects an affine fit does not see, and which choices test it.

A teacher is for new images, so whole objects are held out (gLocal), never single triplets: all raters of a triplet are
on one side. Choices among new objects alone are the best test. Of few choices nearly none are: 5 folds leave one in
25. Then smaller folds test a fit by every choice that names a new object, beside old ones. In simulated studies of 90
objects with 200 or 600 choices, it is at most 0.01 nats worse than folds over triplets for new choices about old
objects, and up to 0.02 nats better for new objects.
"""

from dataclasses import dataclass

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.judgments import object_folds, triplets_within

ENOUGH_AMONG_NEW = 500  # choices among new objects, in all folds together
ENOUGH_WITH_NEW = 2000  # choices that name a new object
SMALL_FOLDS, MOST_USED = 10, 5


@dataclass(frozen=True)
class Split:
    """A fold: the objects that it may see, and the triplets that test it. It fits the triplets of seen objects."""

    is_seen: np.ndarray  # (n,) bool
    is_tested: np.ndarray  # (m,) bool, of the triplets
    is_among_new: bool  # whether only triplets with three new objects test it


def draw_splits(
    triplets: np.ndarray, weights: np.ndarray, num_objects: int, num_folds: int, random_state: int
) -> list[Split]:
    """Folds of the objects with enough choices to test a fit.

    Args:
        triplets: (m, 3) distinct rows of the objects.
        weights: (m,) numbers of choices.
        num_objects: n.
        num_folds: number of folds where enough choices are among the objects of one fold. Else folds of a tenth of
            the objects are used, at most 5, until 2,000 choices name an object that was held out.
        random_state: seed.

    Raises:
        InputError: no fold leaves triplets on both sides.
    """
    splits = _among_new(triplets, num_objects, num_folds, random_state)
    if sum(weights[split.is_tested].sum() for split in splits) >= ENOUGH_AMONG_NEW:
        return splits
    splits = _with_new(triplets, weights, num_objects, random_state)
    if not splits:
        raise InputError(
            f"{len(triplets)} triplets of {num_objects} objects are too few to choose by: no objects can be held out "
            "so that some triplets are without them, and some are not. Give a `regularization`, or more triplets"
        )
    return splits


def _among_new(triplets: np.ndarray, num_objects: int, num_folds: int, random_state: int) -> list[Split]:
    """Folds of equal size, each tested among its own objects; none if a fold leaves a side without triplets."""
    if num_objects < 3 * num_folds:
        return []
    folds = object_folds(num_objects, num_folds, random_state)
    splits = [Split(folds != k, triplets_within(triplets, folds == k), True) for k in range(num_folds)]
    is_usable = all(split.is_tested.any() and triplets_within(triplets, split.is_seen).any() for split in splits)
    return splits if is_usable else []


def _with_new(triplets: np.ndarray, weights: np.ndarray, num_objects: int, random_state: int) -> list[Split]:
    """Small folds, each tested by all triplets with an object of it."""
    number = min(SMALL_FOLDS, num_objects)
    folds = np.random.default_rng(random_state).permutation(num_objects) % number
    splits: list[Split] = []
    tested = 0.0
    for k in range(number):
        if len(splits) == MOST_USED or tested >= ENOUGH_WITH_NEW:
            break
        is_fitted = triplets_within(triplets, folds != k)
        if is_fitted.all() or not is_fitted.any():
            continue
        splits.append(Split(folds != k, ~is_fitted, False))
        tested += weights[~is_fitted].sum()
    return splits
