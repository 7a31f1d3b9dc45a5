"""Ranks against SciPy's."""

import numpy as np
import pytest
from scipy.stats import rankdata

from hf_alignet.evaluation.statistics.ranks import ranks_among, weighted_ranks


def centred(values):
    """SciPy's ranks from 1, doubled and centred."""
    return 2 * rankdata(values) - 1 - len(values)


@pytest.mark.parametrize("values", ["distinct", "tied", "constant", "one outlier"])
def test_ranks_among_many(values):
    """The blocks are small parts of all values, so that searches jump far."""
    rng = np.random.default_rng(0)
    every = rng.normal(size=3000).astype(np.float32)
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
