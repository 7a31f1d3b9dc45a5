"""The variance of statistics of triplets, pairs and single cases, against loops."""

from itertools import combinations

import numpy as np
import pytest

from hf_alignet.evaluation.statistics import spread
from hf_alignet.evaluation.statistics.spread import LEAST, Influence


def influence(k, seed=0, number=60, objects=9):
    rng = np.random.default_rng(seed)
    members = np.stack([rng.permutation(objects)[:k] for _ in range(number)]) * 5 + 2
    values, weights = rng.normal(size=number), rng.integers(1, 4, number).astype(float)
    return Influence(values - values.mean(), weights, members, "objects")


def pairs_that_share(members):
    return [[bool(set(one) & set(other)) for other in members] for one in members]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_variance_is_the_sum_of_products_that_share_an_object(k):
    given = influence(k, objects=14)
    shares = np.array(pairs_that_share(given.members))
    same = np.array([[set(one) == set(other) for other in given.members] for one in given.members])
    products, weights = np.outer(given.values, given.values), np.outer(given.weights, given.weights)
    total = given.weights.sum() ** 2
    expected = products[shares].sum() / (1 - weights[shares].sum() / total)
    least = LEAST * products[same].sum() / (1 - weights[same].sum() / total)
    found = given.error()
    assert found.value**2 == pytest.approx(max(expected, least))
    assert found.cases == pytest.approx(total / weights[same].sum())
    counts = {o: given.weights[(given.members == o).any(1)].sum() for o in np.unique(given.members)}
    effective = sum(counts.values()) ** 2 / sum(c**2 for c in counts.values())
    assert found.units == pytest.approx(effective)
    assert found.freedom == pytest.approx(effective / 2 if k > 1 else effective - 1)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_sparse_and_dense_sums_are_the_same(k, monkeypatch):
    given = influence(k, objects=14)
    dense = given.error()
    monkeypatch.setattr(spread, "DENSE_CELLS", 0)
    assert given.error() == pytest.approx(dense)


def test_numbers_of_objects_and_the_order_in_a_triplet_do_not_matter():
    given = influence(3)
    again = given._replace(members=given.members[:, [2, 0, 1]] + 1000)
    assert again.error() == pytest.approx(given.error())


def test_objects_that_are_hard_make_the_error_larger():
    rng = np.random.default_rng(0)
    triplets = np.array(list(combinations(range(20), 3)))
    ease = rng.normal(size=20)[triplets].sum(1)
    noise = rng.permutation(ease)
    errors = [
        Influence((v - v.mean()) / len(v), np.ones(len(v)), triplets, "objects").error().value for v in (ease, noise)
    ]
    assert errors[0] > 4 * errors[1]


def test_nothing_but_one_case_has_no_error():
    assert np.isnan(Influence(np.zeros(1), np.ones(1), np.zeros((1, 1), int), "draws").error().value)
