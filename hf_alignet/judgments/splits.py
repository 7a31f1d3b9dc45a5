"""Splits of judgments that leak nothing: by triplet, and by object.

By triplet, all judgments of the same three images go to one side: a model is tested on triplets it never saw, of
objects it knows. By object, whole objects are held out, and a triplet belongs to a side only if all of its objects do;
triplets of mixed sides are dropped. That tests generalisation to new objects, and costs most of the data: holding out
a share h of the objects keeps about h³ of the triplets for testing, and (1 - h)³ for training.
"""

import numpy as np
from datasets import Dataset, DatasetDict
from sklearn.model_selection import KFold

from hf_alignet.errors import InputError
from hf_alignet.judgments.judgment_dataset import without_catch_trials
from hf_alignet.judgments.rows import TRIPLET, column, distinct_triplets, lists_of_three, select_rows


def split_by_triplet(judgments: Dataset, held_out: float = 0.1, seed: int = 0) -> DatasetDict:
    """Splits `train` and `test`, no triplet in both.

    Args:
        judgments: rows of choices or of counts.
        held_out: share of the distinct triplets that is tested, in (0, 1).
        seed: of the draw.

    Raises:
        InputError: the share is outside (0, 1), or leaves no triplet on one side.
    """
    _check_share(held_out)
    distinct, which, _ = distinct_triplets(column(judgments, TRIPLET))
    is_test = _draw(len(distinct), held_out, seed)
    if is_test.all() or not is_test.any():
        raise InputError(f"holding out {held_out:g} of {len(distinct)} distinct triplets leaves none on one side")
    return _two_sides(judgments, ~is_test[which], is_test[which])


def split_by_object(judgments: Dataset, num_objects: int, held_out: float = 1 / 3, seed: int = 0) -> DatasetDict:
    """Splits `train` and `test`, no object in both; triplets with objects of both are in neither.

    Args:
        judgments: rows of choices or of counts.
        num_objects: length of the image dataset that the rows point into.
        held_out: share of the objects that is tested, in (0, 1).
        seed: of the draw.

    Raises:
        InputError: the share is outside (0, 1), a row points outside the objects, or no triplet lies within one side
            (says how many objects it has, and what to do).
    """
    _check_share(held_out)
    is_test = _draw(num_objects, held_out, seed)
    triplets = column(judgments, TRIPLET)
    sides = triplets_within(triplets, ~is_test), triplets_within(triplets, is_test)
    for is_side, is_member, name in zip(sides, (~is_test, is_test), ("train", "test"), strict=True):
        check_not_empty(is_side, is_member, name)
    return _two_sides(judgments, *sides)


def object_folds(num_objects: int, k: int, seed: int = 0) -> np.ndarray:
    """Fold of every object, (num_objects,) int64 in [0, k): a random partition into folds whose sizes differ by one.

    They are scikit-learn's, as in gLocal, whose folds are those of seed 42.

    Raises:
        InputError: there are fewer than two folds, or not three objects for each.
    """
    if k < 2 or num_objects < 3 * k:
        raise InputError(f"{num_objects} objects cannot make {k} folds: at least 2, each of at least 3 objects")
    folds = np.empty(num_objects, np.int64)
    for number, (_, held_out) in enumerate(KFold(k, shuffle=True, random_state=seed).split(folds)):
        folds[held_out] = number
    return folds


def triplets_within(triplets: np.ndarray, is_member: np.ndarray) -> np.ndarray:
    """(m,) bool: whether all three objects of each triplet (m, 3) are members, by `is_member` (num_objects,) bool.

    Raises:
        InputError: a triplet points outside the objects.
    """
    if triplets.min(initial=0) < 0 or triplets.max(initial=-1) >= len(is_member):
        raise InputError(
            f"the judgments name objects {triplets.min()} to {triplets.max()}, but there are {len(is_member)} objects"
        )
    return is_member[triplets].all(axis=1)


def objects_within(judgments: Dataset, is_member: np.ndarray) -> Dataset:
    """The judgments all three of whose objects are members, which are numbered anew, from 0 on in their order.

    Args:
        judgments: rows of choices or of counts.
        is_member: (num_objects,) bool.

    Raises:
        InputError: a triplet points outside the objects.
    """
    kept = select_rows(judgments, triplets_within(column(judgments, TRIPLET), is_member))
    renumbered = (np.cumsum(is_member) - 1)[column(kept, TRIPLET)]
    table = kept.with_format("arrow")[:]
    position = table.column_names.index(TRIPLET)
    kind = table.schema.field(TRIPLET).type
    return Dataset(table.set_column(position, TRIPLET, lists_of_three(renumbered).cast(kind)), kept.info.copy())


def shared_triplets(train: Dataset, other: Dataset) -> int:
    """How many distinct triplets of `other` are also in `train`, whatever the order of their images.

    Checks of attention are left out: they are often the same everywhere, and neither trained on nor tested.

    Args:
        train: rows of choices or of counts.
        other: rows of choices or of counts, of the same images.
    """
    triplets = [column(without_catch_trials(judgments), TRIPLET) for judgments in (train, other)]
    distinct, which, _ = distinct_triplets(np.concatenate(triplets))
    is_in = np.zeros((2, len(distinct)), bool)
    is_in[0, which[: len(triplets[0])]] = True
    is_in[1, which[len(triplets[0]) :]] = True
    return int(is_in.all(axis=0).sum())


def check_not_empty(is_within: np.ndarray, is_member: np.ndarray, name: str) -> None:
    """Refuses a split without triplets.

    Args:
        is_within: (m,) what `triplets_within` gave for it.
        is_member: (num_objects,) its objects.
        name: of the split, for the message.

    Raises:
        InputError: says how many objects and triplets there are, and what to do.
    """
    if not is_within.any():
        objects = int(is_member.sum())
        raise InputError(
            f"none of the {len(is_within)} triplets lies within the {objects} of {len(is_member)} objects of the "
            f"split {name!r} (about {(objects / len(is_member)) ** 3:.2%} of all triplets do); give it more "
            "objects, or use more judgments"
        )


def _check_share(held_out: float) -> None:
    if not 0 < held_out < 1:
        raise InputError(f"the held-out share must lie between 0 and 1, got {held_out:g}")


def _draw(number: int, share: float, seed: int) -> np.ndarray:
    """(number,) bool with that share of True, at random."""
    return np.random.default_rng(seed).permutation(number) < round(share * number)


def _two_sides(judgments: Dataset, is_train: np.ndarray, is_test: np.ndarray) -> DatasetDict:
    return DatasetDict(train=select_rows(judgments, is_train), test=select_rows(judgments, is_test))
