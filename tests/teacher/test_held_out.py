"""Which objects are held out, and which choices test a fit."""

import numpy as np
import pytest

from hf_alignet.errors import InputError
from hf_alignet.judgments import object_folds
from hf_alignet.teacher.affine.held_out import ENOUGH_WITH_NEW, draw_splits
from hf_alignet.teacher.planning import random_triplets


def study(num_objects, number):
    triplets = random_triplets(num_objects, number, np.random.default_rng(0))
    triplets = np.unique(np.sort(triplets, axis=1), axis=0)
    return triplets, np.ones(len(triplets)), num_objects


def test_many_choices_are_tested_among_new_objects():
    triplets, weights, n = study(300, 20_000)
    splits = draw_splits(triplets, weights, n, 5, 3)
    folds = object_folds(n, 5, 3)
    assert len(splits) == 5 and all(split.is_among_new for split in splits)
    for k, split in enumerate(splits):
        np.testing.assert_array_equal(split.is_seen, folds != k)
        np.testing.assert_array_equal(split.is_tested, (folds[triplets] == k).all(1))


@pytest.mark.parametrize(("num_objects", "number"), [(6, 20), (30, 200), (90, 600), (500, 600), (90, 5000)])
def test_few_choices_are_tested_by_all_that_name_a_new_object(num_objects, number):
    triplets, weights, n = study(num_objects, number)
    splits = draw_splits(triplets, weights, n, 5, 0)
    assert 1 <= len(splits) <= 5
    held_out = np.stack([~split.is_seen for split in splits])
    assert held_out.any(1).all() and held_out.sum(0).max() == 1
    for split in splits:
        assert not split.is_among_new and (~split.is_tested).any()
        np.testing.assert_array_equal(split.is_tested, ~split.is_seen[triplets].all(1))
    tested = sum(split.is_tested.sum() for split in splits)
    assert len(splits) == 5 or tested >= ENOUGH_WITH_NEW or num_objects < 10


def test_weights_count_as_choices():
    triplets, weights, n = study(90, 600)
    assert draw_splits(triplets, 60 * weights, n, 5, 0)[0].is_among_new  # 600 triplets, 36,000 choices
    assert not draw_splits(triplets, weights, n, 5, 0)[0].is_among_new


def test_too_few():
    with pytest.raises(InputError, match="2 triplets of 6 objects are too few to choose by"):
        draw_splits(np.array([[0, 1, 2], [0, 1, 2]]), np.ones(2), 6, 5, 0)
