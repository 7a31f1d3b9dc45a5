"""Accuracy, cross-entropy and divergence of predicted choices, against loops over single choices and SciPy."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import entropy as scipy_entropy
from scipy.stats import t as student

from hf_alignet.errors import InputError
from hf_alignet.evaluation import (
    choice_accuracy,
    choice_cross_entropy,
    dot_product_choices,
    human_model_divergence,
)


def test_measures_equal_a_loop_over_choices(predicted):
    probabilities, counts = predicted
    hits, surprises = [], []
    for row, times in zip(probabilities, counts, strict=True):
        for pair in np.repeat(np.arange(3), times):
            hits.append(row[pair] == row.max())
            surprises.append(-math.log(row[pair]))
    accuracy, cross_entropy = (
        choice_accuracy(probabilities, counts),
        choice_cross_entropy(np.log(probabilities), counts),
    )
    assert accuracy["value"] == pytest.approx(np.mean(hits)) and accuracy["n"] == len(hits) == 2500
    assert cross_entropy["value"] == pytest.approx(np.mean(surprises))
    assert cross_entropy["chance"] == pytest.approx(math.log(3))


def test_which_pair_is_which():
    scores = np.array([[3.0, 1.0, 2.0]])
    assert choice_accuracy(scores, np.array([[4, 0, 0]]))["value"] == 1
    assert choice_accuracy(scores, np.array([[0, 1, 3]]))["value"] == 0


def test_ties_are_wrong():
    assert choice_accuracy(np.full((1, 3), 1 / 3), np.array([[1, 0, 0]]))["value"] == 0


def test_a_choice_that_is_next_to_impossible_has_its_price():
    vectors = np.array([[100.0, 0.0], [100.0, 0.0], [0.0, 1.0]], np.float32)
    predicted = dot_product_choices(vectors, np.array([[0, 1, 2]]))
    assert choice_cross_entropy(predicted, np.array([[0, 1, 0]]))["value"] == pytest.approx(10_000)


def test_features_that_know_nothing_are_at_chance_not_below():
    rng = np.random.default_rng(0)
    vectors, triplets = (
        rng.normal(size=(60, 8)).astype(np.float32),
        rng.permuted(np.arange(60)[None].repeat(9000, 0), axis=1)[:, :3],
    )
    counts = np.eye(3, dtype=int)[rng.integers(0, 3, 9000)]
    similarities = dot_product_choices(vectors, triplets)
    for temperature in (1e4, 1e6):
        predicted = dot_product_choices(vectors, triplets, temperature)
        assert choice_accuracy(predicted, counts) == choice_accuracy(similarities, counts)


@pytest.mark.parametrize("measure", ["accuracy", "cross_entropy"])
def test_intervals_cover_the_truth_also_where_triplets_are_judged_often(measure):
    """Of 300 studies of 400 triplets with 15 choices each, about 95 % have the true value in their interval."""
    rng = np.random.default_rng(0)
    model = np.array([0.6, 0.3, 0.1])
    covered = []
    for _ in range(300):
        people = rng.dirichlet([1.0, 0.6, 0.3], 400)
        counts = rng.multinomial(15, people)
        predicted = np.log(np.tile(model, (400, 1)))
        mean = np.array([1.0, 0.6, 0.3]) / 1.9
        if measure == "accuracy":
            found, true = choice_accuracy(predicted, counts), mean[0]
        else:
            found, true = choice_cross_entropy(predicted, counts), -(mean * np.log(model)).sum()
        covered.append(found["ci95"][0] < true < found["ci95"][1])
    assert 0.91 < np.mean(covered) < 0.985


def test_interval_of_single_choices_is_wilsons():
    predicted, counts = np.log(np.tile([0.6, 0.3, 0.1], (40, 1))), np.eye(3, dtype=int)[np.arange(40) % 3]
    expected = binomtest(14, 40).proportion_ci(0.95, method="wilson")
    assert choice_accuracy(predicted, counts)["ci95"] == pytest.approx([expected.low, expected.high], abs=1e-6)


def test_divergence_is_scipys_and_cross_entropy_for_single_choices():
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet([1, 1, 1], 50)
    counts = rng.integers(0, 5, (50, 3))
    counts[7] = 0  # nobody judged it
    judged = counts.any(1)
    found = human_model_divergence(np.log(probabilities), counts)
    expected = scipy_entropy(counts[judged], probabilities[judged], axis=1)
    assert found["value"] == pytest.approx(expected.mean()) and found["n"] == judged.sum()
    half = student.ppf(0.975, judged.sum() - 1) * expected.std(ddof=1) / np.sqrt(judged.sum())
    np.testing.assert_allclose(found["ci95"], [expected.mean() - half, expected.mean() + half], rtol=1e-4)
    even = human_model_divergence(np.full((50, 3), -math.log(3)), counts)
    assert even["value"] == pytest.approx(found["chance"])
    single = np.eye(3, dtype=int)[rng.integers(0, 3, 50)]
    by_cross_entropy = choice_cross_entropy(np.log(probabilities), single)["value"]
    assert human_model_divergence(np.log(probabilities), single)["value"] == pytest.approx(by_cross_entropy)
    with pytest.raises(InputError, match="no choices"):
        human_model_divergence(np.log(probabilities), 0 * counts)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(InputError, match="no choices"):
        choice_accuracy(np.ones((2, 3)), np.zeros((2, 3), int))
    with pytest.raises(InputError, match="scores of triplet 1 are not finite"):
        choice_accuracy(np.array([[1, 2, 3], [0, np.nan, 0]]), np.ones((2, 3), int))
