"""How a plan measures teachers."""

import numpy as np
import pytest
from scipy.special import log_softmax

from hf_alignet.teacher.planning import measure, random_triplets


def test_measures_equal_a_loop_and_a_tie_is_wrong():
    rng = np.random.default_rng(0)
    vectors, triplets = rng.normal(size=(30, 5)).astype(np.float32), random_triplets(30, 200, rng)
    shares, weights = rng.dirichlet([1, 1, 1], 200), rng.integers(1, 5, 200)
    right, lost = [], []
    for (a, b, c), share in zip(vectors.astype(np.float64)[triplets], shares, strict=True):
        logits = np.array([a @ b, a @ c, b @ c])
        right.append(share[logits.argmax()])
        lost.append(-share @ log_softmax(logits))
    expected = np.average(right, weights=weights), np.average(lost, weights=weights)
    assert measure(vectors, triplets, shares, weights) == pytest.approx(expected)
    assert measure(0 * vectors, triplets, shares) == (0, pytest.approx(np.log(3)))
