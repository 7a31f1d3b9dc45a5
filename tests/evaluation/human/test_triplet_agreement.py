"""Triplet agreement against a plain loop over all questions."""

import numpy as np
import pytest

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.rsm import Rsm
from hf_alignet.evaluation.human.triplet_agreement import triplet_agreement


def by_loop(model: np.ndarray, human: np.ndarray) -> tuple[float, int]:
    agreed = answered = 0
    for i in range(len(model)):
        for j in range(len(model)):
            for k in range(j + 1, len(model)):
                if i in (j, k) or np.isnan(human[i, [j, k]]).any() or human[i, j] == human[i, k]:
                    continue
                answered += 1
                agreed += np.sign(model[i, j] - model[i, k]) == np.sign(human[i, j] - human[i, k])
    return agreed / answered, answered


def symmetric(rng: np.random.Generator, n: int, levels: int) -> np.ndarray:
    found = rng.integers(levels, size=(n, n)).astype(float)
    return found + found.T


@pytest.mark.parametrize(("n", "levels"), [(4, 2), (9, 3), (17, 50)])
def test_it_counts_as_a_loop_does(n, levels):
    """With ties on both sides, and pairs that nobody judged."""
    rng = np.random.default_rng(n)
    model, human = symmetric(rng, n, levels), symmetric(rng, n, levels)
    human[0, 1] = human[1, 0] = np.nan
    found = triplet_agreement(Rsm.from_matrix(model), Rsm.from_matrix(human))
    assert (found["value"], found["n"]) == pytest.approx(by_loop(model, human))
    assert found["chance"] == 0.5


def test_extremes_and_signs():
    human = symmetric(np.random.default_rng(0), 12, 1000)
    same, other = (triplet_agreement(Rsm.from_matrix(m), Rsm.from_matrix(human)) for m in (human, -human))
    assert (same["value"], other["value"]) == (1, 0)
    constant = triplet_agreement(Rsm.from_matrix(np.ones((12, 12))), Rsm.from_matrix(human))
    assert constant["value"] == 0 and "equally similar" in constant["note"]
    as_distances = triplet_agreement(Rsm.from_matrix(human), Rsm.from_matrix(-human, "dissimilarity"))
    assert as_distances["value"] == 1


def test_the_interval_of_chance_holds_a_half():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 60, 8))
    found = triplet_agreement(Rsm.from_embeddings(x), Rsm.from_embeddings(y))
    assert found["ci95"][0] < 0.5 < found["ci95"][1] and found["ci95"][1] - found["ci95"][0] < 0.2
    many = rng.normal(size=(120, 8))  # more questions than an interval is computed of
    drawn = triplet_agreement(Rsm.from_embeddings(many), Rsm.from_embeddings(many + rng.normal(size=many.shape)))
    assert drawn["n"] > 200_000 and drawn["ci95"][0] < drawn["value"] < drawn["ci95"][1]


def test_nothing_to_agree_with_is_refused():
    model = Rsm.from_matrix(symmetric(np.random.default_rng(2), 5, 9))
    with pytest.raises(InputError, match="nothing to agree with"):
        triplet_agreement(model, Rsm.from_matrix(np.ones((5, 5))))
    with pytest.raises(InputError, match="5 objects, people judged 4"):
        triplet_agreement(model, Rsm.from_matrix(np.eye(4)))
