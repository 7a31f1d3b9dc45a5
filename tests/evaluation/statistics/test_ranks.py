"""Ranks against SciPy's."""

import numpy as np
import pytest
from scipy.stats import rankdata

from hf_alignet.evaluation.statistics.ranks import codes_of, join_equal, ranks_among, weighted_ranks


def centred(values):
    """SciPy's ranks from 1, doubled and centred."""
    return 2 * rankdata(values) - 1 - len(values)


@pytest.mark.parametrize("values", ["distinct", "tied", "constant", "one outlier"])
def test_ranks_among_many(values):
    """The blocks are small parts of all values, so that searches jump far."""
    rng = np.random.default_rng(0)
    every = (rng.permutation(3000) / 500 - 3).astype(np.float32)
    if values == "tied":
        every = every.round(1)
    elif values == "constant":
        every[:] = 0.3
    elif values == "one outlier":
        every[17] = 1e30
    expected = centred(every)
    for start, stop in ((0, 1), (1, 40), (40, 2000), (2000, 3000)):
        np.testing.assert_array_equal(ranks_among(every[start:stop], np.sort(every)), expected[start:stop])


def test_weighted_ranks_are_those_of_repeated_entries():
    rng = np.random.default_rng(1)
    for highest in (3, 50):
        codes, times = rng.integers(0, highest, 60).astype(np.int32), rng.integers(0, 4, 60)
        found = weighted_ranks(codes, times)
        np.testing.assert_array_equal(np.repeat(found, times), centred(np.repeat(codes, times)))
        assert not found[times == 0].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_does_not_split_equal_values(dtype):
    rng = np.random.default_rng(2)
    exact = rng.integers(-40, 40, 5000) / 10
    noisy = (exact * (1 + rng.uniform(-1, 1, 5000) * 1e-7)).astype(dtype)
    assert len(np.unique(noisy)) > 200
    np.testing.assert_array_equal(codes_of(noisy), np.unique(exact, return_inverse=True)[1])
    ascending = np.sort(noisy)
    join_equal(ascending)
    np.testing.assert_array_equal(ranks_among(noisy[:700], ascending), centred(exact)[:700])


def test_close_values_stay_in_order():
    """So many that each differs from the next by less than rounding: they must not all become one."""
    values = np.sort(np.random.default_rng(3).random(1_000_000)).astype(np.float32)
    codes = codes_of(values)
    assert (np.diff(codes) >= 0).all() and codes[-1] > 200_000
    ascending = values.copy()
    join_equal(ascending)
    assert (np.abs(ascending - values) <= 4e-6 * values).all()


def test_small_values_beside_a_large_one_are_distinct():
    assert codes_of(np.array([1e-20, 3e-20, 1e30, 2e-20, 0.0])).tolist() == [1, 3, 4, 2, 0]
