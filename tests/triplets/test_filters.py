"""Which labelled triplets are kept: bounds against probabilities worked out slowly, the cap against a plain loop."""

import math

import numpy as np
import pytest

from hf_alignet.errors import InputError
from hf_alignet.triplets.filters import LabelBounds, take_triplets

NO_LIMIT = np.iinfo(np.int64).max


def measures(row) -> tuple[float, float]:
    """Margin and entropy of the choice probabilities of three similarities, in plain words."""
    weights = [math.exp(s - max(row)) for s in row]
    p = sorted((weight / sum(weights) for weight in weights), reverse=True)
    return p[0] - p[1], -sum(x * math.log(x) for x in p if x > 0)


@pytest.fixture
def similarities() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(500, 3)) * rng.choice([0.1, 1, 10, 300], (500, 1)) + 40).astype(np.float32)


BOUNDS = [
    {"min_margin": 0.3},
    {"max_margin": 0.3},
    {"min_margin": 0.1, "max_margin": 0.6},
    {"min_entropy": 0.8},
    {"max_entropy": 0.2},
    {"min_entropy": 0.2, "max_entropy": 1.0},
    {"max_margin": 0.5, "max_entropy": 0.9},
    {"min_margin": 0.1, "max_margin": 0.7, "min_entropy": 0.3, "max_entropy": 1.05},
]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_bounds_are_those_of_the_probabilities(bounds, similarities):
    found = LabelBounds(**bounds).admit(similarities)
    expected = []
    for row in similarities.astype(float).tolist():
        values = dict(zip(("margin", "entropy"), measures(row), strict=True))
        expected.append(
            all(
                values[name.partition("_")[2]] >= bound
                if name.startswith("min")
                else values[name.partition("_")[2]] <= bound
                for name, bound in bounds.items()
            )
        )
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.sum() < len(found)


def test_no_bound_admits_all(similarities):
    assert LabelBounds().admit(similarities).all()
    assert LabelBounds(0, 1, 0, math.log(3)).admit(similarities).sum() >= 499  # but for rounding at ln 3
    assert LabelBounds(min_margin=0.5).admit(similarities[:0]).shape == (0,)


def test_bounds_belong_to_the_range():
    certain, undecided = np.array([[2000.0, 0.0, 0.0], [5.0, 5.0, -2000.0]])[:, None]
    assert LabelBounds(min_margin=1.0).admit(certain).all() and LabelBounds(max_entropy=0.0).admit(certain).all()
    assert LabelBounds(max_margin=0.0).admit(undecided).all()
    assert not LabelBounds(max_margin=0.0).admit(certain).any()


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"min_margin": -0.1}, r"`min_margin` must be a finite number \(at least 0 and at most 1\), got -0.1"),
        ({"max_margin": 1.01}, "`max_margin` must be a finite number .*, got 1.01"),
        ({"max_margin": math.nan}, "`max_margin` must be a finite number .*, got nan"),
        ({"min_entropy": 1.1}, "`min_entropy` must be a finite number .*at most 1.0986.*, got 1.1"),
        ({"max_entropy": -1}, "`max_entropy` must be a finite number .*, got -1"),
        ({"min_margin": 0.6, "max_margin": 0.5}, "`min_margin` must not be above `max_margin`, got 0.6 and 0.5"),
        ({"min_entropy": 0.6, "max_entropy": 0.5}, "`min_entropy` must not be above `max_entropy`, got 0.6 and 0.5"),
    ],
)
def test_bounds_that_cannot_be(bounds, message):
    with pytest.raises(InputError, match=message):
        LabelBounds(**bounds)


def take_slowly(triplets, is_admitted, uses, max_uses, number) -> tuple[list[int], int]:
    taken: list[int] = []
    for place, triplet in enumerate(triplets.tolist()):
        if len(taken) == number:
            return taken, place
        if is_admitted[place] and all(uses[image] < max_uses for image in triplet):
            taken.append(place)
            for image in triplet:
                uses[image] += 1
    return taken, len(triplets)


@pytest.mark.parametrize("max_uses", [1, 4, NO_LIMIT])
@pytest.mark.parametrize("number", [0, 1, 7, 30, 10**6])
def test_taking_is_a_plain_loop(number, max_uses):
    rng = np.random.default_rng(0)
    triplets = np.stack([rng.permutation(30)[:3] for _ in range(200)]).astype(np.int32)
    is_admitted = rng.random(200) < 0.4
    uses = rng.integers(0, 2, 30)
    expected_uses = uses.tolist()
    expected = take_slowly(triplets, is_admitted, expected_uses, max_uses, number)
    taken, seen = take_triplets(triplets, is_admitted, uses, max_uses, number)
    assert (taken.tolist(), seen) == expected
    assert uses.tolist() == expected_uses


def test_taking_stops_behind_the_last_one_taken():
    triplets = np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8]], np.int32)
    uses = np.zeros(9, np.int64)
    taken, seen = take_triplets(triplets, np.array([False, True, True]), uses, NO_LIMIT, 1)
    assert taken.tolist() == [1] and seen == 2
    assert uses.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
