"""Splits of judgments by triplet or by object, with no overlap between the sides.

By triplet, all judgments of the same three images go to one side: a model is tested on new triplets of known objects.
By object, whole objects are held out. A triplet belongs to a side if all its objects do, and mixed triplets are
dropped. This tests generalisation to new objects, and costs most of the data: a held-out share h of the objects keeps
about h³ of the triplets for testing, and (1 - h)³ for training.
"""

import numpy as np
from datasets import Dataset, DatasetDict

from hf_alignet.errors import InputError
from hf_alignet.judgments.judgment_dataset import without_catch_trials
from hf_alignet.judgments.rows import TRIPLET, column, distinct_triplets, select_rows, with_triplets
from hf_alignet.ranges import Count, ProperShare, Seed, checked, row_numbers


@checked
def split_by_triplet(judgments: Dataset, held_out: ProperShare = 0.1, seed: Seed = 0) -> DatasetDict:
    """Splits `train` and `test` without a common triplet.

    Args:
        judgments: rows of choices or of counts.
        held_out: share of the distinct triplets in `test`, in (0, 1).
        seed: seed of the random draw.

    Raises:
        InputError: the share is outside (0, 1), or leaves one side without triplets.
    """
    distinct, which, _ = distinct_triplets(column(judgments, TRIPLET))
    is_test = random_share(len(distinct), held_out, seed)
    if is_test.all() or not is_test.any():
        raise InputError(f"holding out {held_out:g} of {len(distinct)} distinct triplets leaves one side empty")
    return DatasetDict(train=select_rows(judgments, ~is_test[which]), test=select_rows(judgments, is_test[which]))


@checked
def split_by_object(
    judgments: Dataset, num_objects: Count, held_out: ProperShare = 1 / 3, seed: Seed = 0
) -> DatasetDict:
    """Splits `train` and `test` without a common object. Triplets with objects of both sides are in neither split.

    Args:
        judgments: rows of choices or of counts.
        num_objects: length of the image dataset.
        held_out: share of the objects in `test`, in (0, 1).
        seed: seed of the random draw.

    Raises:
        InputError: the share is outside (0, 1), a row points outside the objects, or a side gets no triplet (the
            message says how many objects it has, and what to do).
    """
    is_test = random_share(num_objects, held_out, seed)
    splits = {}
    for name, is_member in {"train": ~is_test, "test": is_test}.items():
        is_within = triplets_within(column(judgments, TRIPLET), is_member)
        if not is_within.any():
            raise InputError(
                f"split {name!r} has {is_member.sum()} of {num_objects} objects, and none of the {len(judgments)} "
                f"triplets is within these (about {is_member.mean() ** 3:.2%} of all triplets are); give the split "
                "more objects, or use more judgments"
            )
        splits[name] = select_rows(judgments, is_within)
    return DatasetDict(splits)


@checked
def object_folds(num_objects: int, k: int, seed: Seed = 0) -> np.ndarray:
    """Fold of each object, (num_objects,) int64 in [0, k): random folds whose sizes differ by at most one.

    They are the folds of scikit-learn, which gLocal uses with seed 42. Raises an InputError for fewer than two folds,
    or fewer than three objects in a fold.
    """
    from sklearn.model_selection import KFold

    if k < 2 or num_objects < 3 * k:
        raise InputError(f"{num_objects} objects cannot make {k} folds: use at least 2 folds of at least 3 objects")
    folds = np.empty(num_objects, np.int64)
    for number, (_, held_out) in enumerate(KFold(k, shuffle=True, random_state=seed).split(folds)):
        folds[held_out] = number
    return folds


def triplets_within(triplets: np.ndarray, is_member: np.ndarray) -> np.ndarray:
    """(m,) bool: whether all three objects of each triplet (m, 3) are members, by `is_member` (num_objects,) bool.

    Raises an InputError if a triplet points outside the objects.
    """
    return is_member[row_numbers(triplets, len(is_member), "the triplets", "objects")].all(axis=1)


def objects_within(judgments: Dataset, is_member: np.ndarray) -> Dataset:
    """The judgments of `triplets_within`. The members get new numbers from 0 in the same order."""
    kept = select_rows(judgments, triplets_within(column(judgments, TRIPLET), is_member))
    return with_triplets(kept, (np.cumsum(is_member) - 1)[column(kept, TRIPLET)])


def shared_triplets(train: Dataset, other: Dataset) -> int:
    """The number of distinct triplets that are in both datasets (choices or counts), in any order of their images.

    Checks of attention do not count: they are often the same everywhere, and serve neither training nor tests.
    """
    first, second = (distinct_triplets(column(without_catch_trials(data), TRIPLET))[0] for data in (train, other))
    return len(first) + len(second) - len(distinct_triplets(np.concatenate([first, second]))[0])


@checked
def random_share(number: int, held_out: ProperShare, seed: Seed) -> np.ndarray:
    """(number,) bool, a random share `held_out` of them true."""
    return np.random.default_rng(seed).permutation(number) < round(held_out * number)
