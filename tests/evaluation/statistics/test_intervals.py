"""Intervals against SciPy, against loops, and over triplets and objects."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from hf_alignet.errors import InputError
from hf_alignet.evaluation import object_bootstrap, share_correct
from hf_alignet.evaluation.statistics.intervals import (
    normal_interval,
    quantile_interval,
    resampled,
    resampled_kinds,
    student_interval,
    wilson_interval,
)


def draw_triplets(number, objects, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(objects)[:3] for _ in range(number)])


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 3), (14, 40), (40, 40), (0, 40), (333, 1000)])
def test_wilsons_interval_is_scipys_to_the_last_digit(right, total):
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right / total, total) == [expected.low, expected.high]
    assert share_correct(np.arange(total) < right)["ci95"] == [expected.low, expected.high]


def test_wilsons_interval_of_any_number_of_cases():
    between = wilson_interval(0.3, 20.5)
    assert wilson_interval(0.3, 20)[0] < between[0] < wilson_interval(0.3, 21)[0]
    assert wilson_interval(0.3, 20)[1] > between[1] > wilson_interval(0.3, 21)[1]


@pytest.mark.parametrize("number", [2, 5, 20])
def test_intervals_of_means_are_scipys(number):
    values = np.random.default_rng(0).normal(size=number)
    error = values.std(ddof=1) / np.sqrt(number)
    expected = student.interval(0.95, number - 1, values.mean(), error)
    np.testing.assert_allclose(student_interval(values), expected, rtol=1e-14)
    np.testing.assert_allclose(normal_interval(2.0, error), norm.interval(0.95, 2.0, error), rtol=1e-14)


def test_resamples_are_samples_with_replacement():
    rng = np.random.default_rng(3)
    for times in resampled(7, 3, draws=20):
        drawn = rng.integers(0, 7, 7).tolist()
        assert times.tolist() == [drawn.count(case) for case in range(7)]
    frequencies = np.array([1, 5, 0, 4])
    blocks = list(resampled_kinds(frequencies, 3, draws=150))
    assert [len(block) for block in blocks] == [64, 64, 22]
    times = np.concatenate(blocks)
    assert (times.sum(1) == 10).all() and not times[:, 2].any()
    np.testing.assert_allclose(times.mean(0), frequencies, atol=0.5)
    np.testing.assert_array_equal(times, np.random.default_rng(3).multinomial(10, frequencies / 10, 150))


def test_quantile_interval_leaves_out_nan():
    values = np.arange(1001.0)
    assert quantile_interval(values) == [25, 975] == quantile_interval(np.append(values, np.nan))


def test_object_bootstrap_equals_a_loop():
    triplets = draw_triplets(150, 12) + 5  # objects 0 to 4 are in no triplet
    values = np.random.default_rng(1).integers(0, 2, 150)
    found = object_bootstrap(values, triplets, seed=4, draws=70)
    rng, expected = np.random.default_rng(4), []
    for size in (64, 6):  # drawn block by block
        for times in rng.multinomial(12, np.full(12, 1 / 12), size=size):
            weights = [np.prod([times[row - 5] for row in triplet]) for triplet in triplets]
            expected.append(np.dot(weights, values) / sum(weights))
    np.testing.assert_allclose(found, expected)


def test_a_draw_is_what_expanding_the_objects_gives():
    """A triplet counts once for each way of taking its objects from the drawn ones."""
    triplets, values = np.array([[0, 1, 2], [1, 2, 3], [0, 2, 3]]), np.array([1.0, 0.0, 1.0])
    times = np.random.default_rng(7).multinomial(4, np.full(4, 0.25), size=64)
    for found, drawn in zip(object_bootstrap(values, triplets, seed=7, draws=64), times, strict=True):
        copies = np.repeat(np.arange(4), drawn)
        rows = [
            value
            for triplet, value in zip(triplets, values, strict=True)
            for a in copies for b in copies for c in copies
            if [a, b, c] == triplet.tolist()
        ]  # fmt: skip
        assert np.isnan(found) if not rows else found == pytest.approx(np.mean(rows))


@pytest.mark.parametrize("interval", ["wilson", "triplets", "objects"])
def test_intervals(interval):
    triplets = draw_triplets(4000, 60)
    ease = np.random.default_rng(1).normal(size=60)  # of objects, so that triplets go together
    correct = ease[triplets].sum(1) + np.random.default_rng(2).normal(size=4000) > 0
    metric = share_correct(correct, interval, triplets)
    wilson = binomtest(int(correct.sum()), 4000).proportion_ci(0.95, method="wilson")
    assert metric["value"] == correct.mean() and metric["n"] == 4000 and metric["chance"] == 1 / 3
    if interval == "objects":
        assert metric["ci95"][1] - metric["ci95"][0] > 3 * (wilson.high - wilson.low)
    else:
        np.testing.assert_allclose(metric["ci95"], [wilson.low, wilson.high], atol=2e-3)
    assert share_correct(correct, interval, triplets) == metric


def test_object_interval_covers_the_truth():
    """Of 200 studies of 40 objects drawn from a world, most intervals hold the world's accuracy."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        ease = rng.normal(size=40)
        triplets = rng.integers(0, 40, (3000, 3))
        triplets = triplets[(np.diff(np.sort(triplets, axis=1), axis=1) > 0).all(1)]
        low, high = np.nanquantile(object_bootstrap(ease[triplets].sum(1) > 0, triplets, draws=200), [0.025, 0.975])
        covered.append(low < 0.5 < high)
    assert 0.88 < np.mean(covered) <= 0.99


def test_interval_that_cannot_be_given():
    correct = np.array([True, False])
    with pytest.raises(InputError, match="needs the triplets"):
        share_correct(correct, "objects")
    with pytest.raises(InputError, match="one of wilson, triplets, objects, got 'normal'"):
        share_correct(correct, "normal")
    with pytest.raises(InputError, match="no triplets"):
        share_correct(correct[:0])
