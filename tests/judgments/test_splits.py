"""Splits leak no triplet, or no object, are the same for the same seed, and say so when nothing is left."""

import numpy as np
import pytest

from hf_alignet.errors import InputError
from hf_alignet.judgments import (
    aggregate,
    choice_counts,
    make_judgments,
    object_folds,
    objects_within,
    shared_triplets,
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


@pytest.mark.parametrize("counted", [False, True])
def test_objects_within_equals_a_naive_loop(judgments, counted):
    judgments = aggregate(judgments) if counted else judgments
    is_member = object_folds(NUM_OBJECTS, 3, seed=2) != 0
    new = {old: number for number, old in enumerate(np.flatnonzero(is_member).tolist())}
    naive = [
        row | {"triplet": [new[i] for i in row["triplet"]]}
        for row in judgments.to_list()
        if set(row["triplet"]) <= set(new)
    ]
    kept = objects_within(judgments, is_member)
    assert kept.to_list() == naive and 0 < len(kept) < len(judgments)
    assert kept.features == judgments.features
    everything = objects_within(judgments, np.ones(NUM_OBJECTS, bool))
    assert everything.to_dict() == judgments.to_dict()


def test_objects_within_may_be_empty(judgments):
    nothing = objects_within(judgments, np.zeros(NUM_OBJECTS, bool))
    assert len(nothing) == 0 and nothing.features == judgments.features
    assert column(nothing, "triplet").shape == (0, 3)


def test_objects_within_refuses_objects_that_are_not_there(judgments):
    with pytest.raises(InputError, match="but there are 5 objects"):
        objects_within(judgments, np.ones(5, bool))


def test_shared_triplets_equal_a_naive_loop(judgments):
    halves = [judgments.select(range(0, 250)), judgments.select(range(150, 600))]
    first, second = (as_sets(half) for half in halves)
    assert shared_triplets(*halves) == shared_triplets(*reversed(halves)) == len(first & second) > 0
    assert shared_triplets(halves[0], aggregate(halves[1])) == len(first & second)
    splits = split_by_triplet(judgments, held_out=0.2)
    assert shared_triplets(splits["train"], splits["test"]) == 0


def test_shared_checks_of_attention_do_not_count():
    train, other = (
        make_judgments(np.array([[0, 1, 2], [3, 4, 5]]), np.array([0, 1]), is_catch=is_catch)
        for is_catch in ([True, False], [False, False])
    )
    assert shared_triplets(train, other) == 1


def test_split_without_triplets_says_what_to_do(judgments):
    with pytest.raises(InputError, match=r"'test' has 2 of 20 objects, and none of the 600 triplets"):
        split_by_object(judgments, NUM_OBJECTS, held_out=0.1)
    with pytest.raises(InputError, match="'train'.* give the split more objects, or use more judgments"):
        split_by_object(judgments, NUM_OBJECTS, held_out=0.9)
    with pytest.raises(InputError, match="leaves one side empty"):
        split_by_triplet(judgments, held_out=0.001)
    for share in (0, 1, float("nan")):
        with pytest.raises(InputError, match=r"`held_out` must be a finite number \(above 0 and below 1\), got"):
            split_by_triplet(judgments, held_out=share)
