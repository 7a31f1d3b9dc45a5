"""Accuracy, cross-entropy, temperature and calibration of predicted choices, against loops over single choices."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from hf_alignet.errors import InputError
from hf_alignet.evaluation import (
    choice_accuracy,
    choice_cross_entropy,
    dot_product_choices,
    fit_temperature,
    reliability,
)


@pytest.fixture
def predicted() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (2000, 3), and counts of choices that follow them; some triplets are judged thrice, some never."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1.0, 1.0, 1.0], 2000)
    judged = [0, 1, 1, 3] * 500
    return probabilities, np.stack([rng.multinomial(k, p) for k, p in zip(judged, probabilities, strict=True)])


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


@pytest.mark.parametrize("temperature", [1e-3, 0.7, 500.0])
def test_the_temperature_of_simulated_people_is_found(temperature):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(20_000, 3))
    chosen = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    similarities = (temperature * logits + 10 * temperature).astype(np.float32)  # an offset changes nothing
    assert fit_temperature(similarities, np.eye(3, dtype=int)[chosen]) == pytest.approx(temperature, rel=0.05)


def test_reliability_of_true_probabilities_is_the_diagonal(predicted):
    probabilities, counts = predicted
    table = reliability(np.log(probabilities), counts)
    assert table.n.sum() == 3 * counts.sum() and len(table) == 20
    assert table.n.between(300, 450).all()
    assert (table.predicted.diff().dropna() > 0).all()
    error = np.sqrt(table.predicted * (1 - table.predicted) / table.n)
    assert ((table.observed - table.predicted).abs() < 4 * error + 1e-3).all()
    wrong = reliability(np.log(probabilities), np.roll(counts, 1, axis=1))
    assert (wrong.observed - wrong.predicted).abs().max() > 0.3


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(InputError, match="no choices"):
        choice_accuracy(np.ones((2, 3)), np.zeros((2, 3), int))
    with pytest.raises(InputError, match="scores of triplet 1 are not finite"):
        choice_accuracy(np.array([[1, 2, 3], [0, np.nan, 0]]), np.ones((2, 3), int))
    with pytest.raises(InputError, match="all the same|no temperature"):
        fit_temperature(np.ones((2, 3), np.float32), np.ones((2, 3), int))
