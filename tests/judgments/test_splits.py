"""Splits leak no triplet, or no object, are the same for the same seed, and say so when nothing is left."""

import numpy as np
import pytest

from hf_alignet.errors import InputError
from hf_alignet.judgments import (
    choice_counts,
    make_judgments,
    object_folds,
    split_by_object,
    split_by_triplet,
    triplets_within,
)
from hf_alignet.judgments.rows import column

NUM_OBJECTS = 20


@pytest.fixture
def judgments():
    """600 choices on 200 triplets, each shown three times in another order of its images."""
    rng = np.random.default_rng(0)
    triplets = np.tile([rng.permutation(NUM_OBJECTS)[:3] for _ in range(200)], (3, 1))
    return make_judgments(rng.permuted(triplets, axis=1), rng.integers(3, size=600), rt=rng.uniform(1, 3, 600))


def as_sets(judgments) -> set[frozenset[int]]:
    return {frozenset(row) for row in column(judgments, "triplet").tolist()}


def test_no_triplet_is_on_both_sides(judgments):
    splits = split_by_triplet(judgments, held_out=0.2, seed=1)
    number = len(choice_counts(judgments)[0])
    train, test = as_sets(splits["train"]), as_sets(splits["test"])
    assert not train & test
    assert len(train) + len(test) == number and len(test) == round(0.2 * number)
    assert len(splits["train"]) + len(splits["test"]) == 600  # every judgment is on one side
    assert splits["test"].features == judgments.features


def test_no_object_is_on_both_sides(judgments):
    splits = split_by_object(judgments, NUM_OBJECTS, held_out=0.4, seed=1)
    objects = {name: set(column(split, "triplet").ravel().tolist()) for name, split in splits.items()}
    assert not objects["train"] & objects["test"]
    assert len(objects["test"]) <= 8 and len(objects["train"]) <= 12
    kept = [row for row in column(judgments, "triplet").tolist() if any(set(row) <= side for side in objects.values())]
    assert len(kept) == len(splits["train"]) + len(splits["test"]) < 600


@pytest.mark.parametrize("split", [split_by_triplet, lambda j, seed: split_by_object(j, NUM_OBJECTS, seed=seed)])
def test_same_seed_same_split(judgments, split):
    first, second, other = (column(split(judgments, seed=seed)["test"], "triplet") for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert first.tolist() != other.tolist()


def test_folds_partition_the_objects_evenly():
    folds = object_folds(23, 4, seed=0)
    assert sorted(np.bincount(folds)) == [5, 6, 6, 6]
    np.testing.assert_array_equal(folds, object_folds(23, 4, seed=0))
    assert folds.tolist() != object_folds(23, 4, seed=1).tolist()
    for number, k in ((23, 1), (8, 3)):
        with pytest.raises(InputError, match=f"{number} objects cannot make {k} folds"):
            object_folds(number, k)


def test_triplets_within_equals_a_naive_loop(judgments):
    triplets = column(judgments, "triplet")
    is_member = object_folds(NUM_OBJECTS, 3, seed=2) != 0
    naive = [all(is_member[i] for i in row) for row in triplets.tolist()]
    assert triplets_within(triplets, is_member).tolist() == naive
    for wrong in (triplets + 1, triplets - 1):
        with pytest.raises(InputError, match="there are 20 objects"):
            triplets_within(wrong, is_member)


def test_split_without_triplets_says_what_to_do(judgments):
    with pytest.raises(InputError, match=r"none of the 600 triplets lies within the 2 of 20 objects .* 'test'"):
        split_by_object(judgments, NUM_OBJECTS, held_out=0.1)
    with pytest.raises(InputError, match="'train'.* give it more objects, or use more judgments"):
        split_by_object(judgments, NUM_OBJECTS, held_out=0.9)
    with pytest.raises(InputError, match="leaves none on one side"):
        split_by_triplet(judgments, held_out=0.001)
    for share in (0, 1, float("nan")):
        with pytest.raises(InputError, match="must lie between 0 and 1"):
            split_by_triplet(judgments, held_out=share)
