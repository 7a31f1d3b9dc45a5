"""Temperature, reliability and calibration error of predicted choices, against simulations and loops."""

import math

import numpy as np
import pytest

from hf_alignet.errors import InputError
from hf_alignet.evaluation import expected_calibration_error, fit_temperature, reliability


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


def test_calibration_error_equals_a_loop():
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet([1, 1, 1], 800)
    counts = rng.integers(0, 4, (800, 3))
    order, bins, before = probabilities.max(1).argsort(), {}, 0
    for row in order:  # equally many choices in each bin, by the middle of those of the triplet
        p, c = probabilities[row], counts[row]
        where = int(10 * (before + c.sum() / 2) / counts.sum())
        for pair, times in enumerate(c):
            bins.setdefault(where, []).extend([(p.max(), pair == p.argmax())] * times)
        before += c.sum()
    total = counts.sum()
    expected = sum(abs(sum(p - hit for p, hit in rows)) for rows in bins.values()) / total
    found = expected_calibration_error(np.log(probabilities), counts)
    assert found["value"] == pytest.approx(expected) and found["n"] == total
    assert 0 <= found["ci95"][0] < found["value"] < found["ci95"][1]
    assert found["chance"] is None and found["unit"] == "triplets"
    assert max(map(len, bins.values())) - min(map(len, bins.values())) < 20
    certain = np.log(np.array([[1.0, 1e-300, 1e-300]]))
    assert expected_calibration_error(certain, np.array([[3, 1, 0]]))["value"] == pytest.approx(0.25)
    even = np.full((1, 3), -math.log(3))
    assert expected_calibration_error(even, np.array([[2, 1, 0]]))["value"] == pytest.approx(0, abs=1e-12)


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(InputError, match="are the same: no temperature fits"):
        fit_temperature(np.ones((2, 3), np.float32), np.ones((2, 3), int))
    for measure in (fit_temperature, reliability, expected_calibration_error):
        with pytest.raises(InputError, match="scores of triplet 0 are not finite"):
            measure(np.full((1, 3), np.nan), np.ones((1, 3), int))
        with pytest.raises(InputError, match="no choices"):
            measure(np.array([[1.0, 2.0, 3.0]]), np.zeros((1, 3), int))
