"""Intervals against SciPy, against loops, and in simulations."""

import time

import numpy as np
import pytest
from drawing import draw_triplets
from scipy.stats import binomtest
from scipy.stats import t as student

from hf_alignet.errors import InputError
from hf_alignet.evaluation import share_correct
from hf_alignet.evaluation.statistics.intervals import (
    basic_interval,
    mean_metric,
    quantile_interval,
    resampled,
    resampled_kinds,
    share_metric,
    wilson_interval,
)


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 3), (14, 40), (40, 40), (0, 40), (333, 1000)])
def test_wilsons_interval_is_scipys_to_the_last_digit(right, total):
    expected = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right / total, total) == [expected.low, expected.high]
    if total > 4:  # fewer triplets have no interval
        assert share_correct(np.arange(total) < right)["ci95"] == [expected.low, expected.high]


def test_wilsons_interval_of_any_number_of_cases():
    between = wilson_interval(0.3, 20.5)
    assert wilson_interval(0.3, 20)[0] < between[0] < wilson_interval(0.3, 21)[0]
    assert wilson_interval(0.3, 20)[1] > between[1] > wilson_interval(0.3, 21)[1]


@pytest.mark.parametrize("number", [5, 20])
def test_interval_of_a_mean_is_scipys(number):
    values = np.random.default_rng(0).normal(size=number)
    error = values.std(ddof=1) / np.sqrt(number)
    expected = student.interval(0.95, number - 1, values.mean(), error)
    metric = mean_metric(values, unit="runs", chance=None)
    np.testing.assert_allclose(metric["ci95"], expected, rtol=1e-12)
    assert metric["unit"] == "runs" and metric["n"] == number and metric["value"] == pytest.approx(values.mean())


@pytest.mark.parametrize("number", [1, 2, 4])
def test_fewer_than_five_units_have_no_interval(number):
    metric = mean_metric(np.arange(number), unit="participants", chance=0.0)
    assert metric["ci95"] is None and metric["unit"] is None
    assert metric["note"] == "no interval: fewer than 5 participants carry it"
    of_triplets = share_correct(np.arange(number) > 0, np.arange(3 * number).reshape(-1, 3) % 4)
    assert of_triplets["ci95"] is None and "fewer than 5 objects" in of_triplets["note"]


def test_what_five_objects_share_is_no_number_of_units():
    """Any two triplets of five objects have one in common: nothing tells how objects vary."""
    metric = share_correct(np.arange(40) % 2 > 0, draw_triplets(40, 5))
    assert metric["ci95"] is None and "no interval" in metric["note"]


def test_one_triplet_that_many_people_judged_is_no_interval():
    assert share_metric(np.array([45.0]), np.array([60.0]), None, 1 / 3)["ci95"] is None
    rows = np.array([[0, 1, 2]]).repeat(60, axis=0)
    assert share_correct(np.arange(60) < 45, rows)["ci95"] is None


def test_choices_and_their_counts_have_the_same_interval():
    """One row a choice, or one row a triplet: the same number, whichever command measured it."""
    rng = np.random.default_rng(0)
    triplets, judged = draw_triplets(300, 30), rng.integers(1, 6, 300)
    right = rng.binomial(judged, rng.random(300))
    rows, correct = (
        np.repeat(triplets, judged, axis=0),
        np.concatenate([np.arange(n) < k for n, k in zip(judged, right, strict=True)]),
    )
    by_row, by_count = share_correct(correct, rows), share_metric(right, judged, triplets, 1 / 3)
    np.testing.assert_allclose(by_row.pop("ci95"), by_count.pop("ci95"), rtol=1e-12)
    assert by_row == by_count and by_row["unit"] == "objects"
    order = rng.permutation(len(rows))
    shuffled = share_correct(correct[order], rng.permuted(rows[order], axis=1) + 7)
    np.testing.assert_allclose(shuffled["ci95"], share_correct(correct, rows)["ci95"], rtol=1e-12)


def test_interval_stays_inside_what_a_share_can_be():
    triplets = draw_triplets(200, 20)
    for share in (0.0, 0.005, 0.995, 1.0):
        metric = share_correct(np.arange(200) < share * 200, triplets)
        assert 0 <= metric["ci95"][0] <= metric["value"] <= metric["ci95"][1] <= 1
        assert metric["ci95"][1] - metric["ci95"][0] > 0.01


@pytest.mark.parametrize("effect", [0.0, 0.05])
def test_interval_over_objects_covers_the_truth(effect):
    """Of studies of 60 objects, 95 % of the intervals hold the world's share, whether or not objects differ."""
    rng = np.random.default_rng(1)
    triplets, covered, widths, wilson = draw_triplets(2000, 60), [], [], []
    for _ in range(600):
        ease = rng.normal(0, effect, 60)
        correct = rng.random(2000) < 0.5 + ease[triplets].sum(1)
        low, high = share_correct(correct, triplets)["ci95"]
        covered.append(low < 0.5 < high)
        widths.append(high - low)
        wilson.append(np.ptp(share_correct(correct)["ci95"]))
    assert 0.93 < np.mean(covered) < 0.97
    ratio = np.mean(widths) / np.mean(wilson)
    assert ratio > 2 if effect else 0.95 < ratio < 1.12


def test_many_choices_are_fast():
    """On a core of its own, 10 million choices about 1,854 objects take 5 s; a tenth of them leaves room."""
    rng = np.random.default_rng(0)
    triplets, correct = rng.integers(0, 1854, (1_000_000, 3)), rng.random(1_000_000) < 0.5
    start = time.process_time()
    share_correct(correct, triplets)
    assert time.process_time() - start < 5


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


def test_intervals_of_bootstraps():
    assert quantile_interval(np.arange(1001.0)) == [25, 975]
    assert basic_interval(400.0, np.arange(1001.0)) == [800 - 975, 800 - 25]


def test_no_triplets():
    with pytest.raises(InputError, match="no triplets"):
        share_correct(np.zeros(0, bool))
