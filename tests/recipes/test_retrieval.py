"""The measures of the recipe retrieval, on similarities that are known."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "retrieval"))
from search import human_relevance, is_copy, measure  # noqa: E402


def test_relevance_is_the_rank_among_the_other_classes():
    relevance = human_relevance(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.5, 0.2]]))
    np.testing.assert_allclose(relevance.diagonal(), 1)
    np.testing.assert_allclose(relevance[0], [1, 2 / 3, 0, 1 / 3])


def test_a_search_that_follows_people_is_perfect_and_one_that_does_not_is_not():
    rng = np.random.default_rng(0)
    vectors = rng.random((8, 5))
    labels, queries = np.repeat(np.arange(8), 30), np.repeat(np.arange(8), 3)
    relevance, none = human_relevance(vectors), np.zeros((24, 240), bool)
    # The cosine of a query and a picture is their relevance, up to a factor of the query
    by_rank = measure(relevance[queries], np.eye(8)[labels], queries, labels, relevance, none)
    noise = measure(rng.normal(size=(24, 5)), rng.normal(size=(240, 5)), queries, labels, relevance, none)
    assert by_rank["same class among the first 10"]["value"] > 0.9
    for name in by_rank:
        assert noise[name]["value"] + 0.1 < by_rank[name]["value"] <= 1
    assert abs(noise["human rank of the first 50 of other classes"]["value"] - 3 / 7) < 0.05


def test_near_duplicates_are_never_found():
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(4, 6)), rng.normal(size=(100, 6))
    gallery[:4] = 2 * queries
    copies = is_copy(queries, gallery)
    np.testing.assert_array_equal(np.argwhere(copies), np.stack([np.arange(4)] * 2, 1))
    labels = np.r_[np.zeros(4, int), np.ones(96, int)]
    found = measure(queries, gallery, np.zeros(4, int), labels, np.eye(2), copies | (np.arange(100) < 4))
    assert found["same class among the first 10"]["value"] == 0
