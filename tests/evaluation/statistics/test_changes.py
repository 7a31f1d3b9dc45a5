"""Paired changes, and repeated measures, against SciPy and simulations."""

import json

import numpy as np
import pandas as pd
import pytest
from drawing import draw_triplets
from scipy.stats import ttest_rel

from hf_alignet.errors import InputError
from hf_alignet.evaluation import (
    change,
    changes,
    expected_calibration_error,
    repeated_measures,
    share_correct,
    spearman,
    with_changes,
)
from hf_alignet.evaluation.statistics.intervals import mean_metric
from hf_alignet.metric import Metric, changes_table, comparison_table


def test_change_of_independent_runs_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    before = rng.normal(size=12)
    after = before + rng.normal(0.3, 0.2, 12)
    found = change(*(mean_metric(values, unit="draws", chance=0.1) for values in (before, after)))
    expected = ttest_rel(after, before)
    assert found["value"] == pytest.approx((after - before).mean()) and found["unit"] == "draws"
    assert found["p_value"] == pytest.approx(expected.pvalue)
    np.testing.assert_allclose(found["ci95"], expected.confidence_interval())


def test_what_is_hard_for_both_does_not_widen_a_change():
    rng = np.random.default_rng(0)
    triplets = draw_triplets(3000, 60)
    ease = rng.normal(0, 0.1, 60)[triplets].sum(1)
    before = rng.random(3000) < 0.4 + ease
    after = before | (rng.random(3000) < 0.05)
    first, second = share_correct(before, triplets), share_correct(after, triplets)
    assert first["ci95"][1] > second["value"]  # the two intervals overlap widely
    found = change(first, second)
    assert found["ci95"][0] > 0 and found["p_value"] < 1e-6
    same = change(first, share_correct(before, triplets))
    assert same["value"] == 0 and same["ci95"] == [0, 0] and same["p_value"] == 1
    back = change(second, first)
    assert back["ci95"] == pytest.approx([-end for end in found["ci95"][::-1]])


@pytest.mark.parametrize("effect", [0.0, 0.05])
def test_interval_of_a_change_covers_the_truth(effect):
    """Models whose advantage varies between objects, and models that differ by chance alone."""
    rng = np.random.default_rng(2)
    triplets, covered = draw_triplets(1500, 50), []
    for _ in range(500):
        better = rng.normal(0, effect, 50)[triplets].sum(1)
        before, after = rng.random(1500) < 0.5, rng.random(1500) < 0.55 + better
        low, high = change(share_correct(before, triplets), share_correct(after, triplets))["ci95"]
        covered.append(low < 0.05 < high)
    assert 0.925 < np.mean(covered) < 0.975


def test_change_of_a_correlation_and_of_a_calibration_error():
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    near, far = y + rng.normal(0, 0.5, 300), y + rng.normal(0, 1.5, 300)
    found = change(spearman(far, y).metric, spearman(near, y).metric)
    assert found["ci95"][0] > 0.1 and found["value"] == pytest.approx(np.mean(found["ci95"]))
    probabilities = rng.dirichlet([1, 1, 1], 900)
    counts = np.stack([rng.multinomial(1, p) for p in probabilities])
    sharp = probabilities**3 / (probabilities**3).sum(1, keepdims=True)
    good, bad = (expected_calibration_error(np.log(p), counts) for p in (probabilities, sharp))
    found = change(bad, good)
    assert found["ci95"][1] < 0 and found["unit"] == "triplets" and "p_value" not in found


def test_numbers_of_other_cases_have_no_common_interval():
    one = share_correct(np.arange(50) % 3 > 0, draw_triplets(50, 20))
    others = [
        share_correct(np.arange(50) % 3 > 0, draw_triplets(50, 20, seed=1)),
        share_correct(np.arange(60) % 3 > 0, draw_triplets(60, 20)),
        Metric(**share_correct(np.arange(50) % 3 > 0, draw_triplets(50, 20))),  # as from a file
    ]
    for other in others:
        found = change(one, other)
        assert found["ci95"] is None and found["value"] == other["value"] - one["value"]
    assert changes({"a": one, "b": one}, {"a": others[0]}).keys() == {"a"}
    assert change(dict(one), dict(others[0]))["ci95"] is None  # as JSON gives them


@pytest.mark.parametrize(
    ("before", "after", "triplets", "note"),
    [
        ([0, 0, 1, 0], [1, 0, 1, 1], [[0, 1, 2], [1, 2, 3], [0, 2, 3], [0, 1, 3]], "fewer than 5 objects carry it"),
        ([0], [1], [[0, 1, 2]], "fewer than 5 objects carry it"),
        ([0] * 20, [1] * 20, draw_triplets(20, 12), "all cases change alike"),
        ([0, 1, 0] * 5, [1, 1, 0] * 5, [[0, k, k + 1] for k in range(1, 16)], "all cases have one of the objects"),
    ],
)
def test_a_change_without_an_interval_says_why_and_has_no_p_value(before, after, triplets, note):
    found = change(*(share_correct(np.array(correct, bool), np.array(triplets)) for correct in (before, after)))
    assert found["ci95"] is None and "p_value" not in found and note in found["note"]
    json.dumps(found, allow_nan=False)


def test_tables_show_units_and_changes():
    triplets = draw_triplets(400, 30)
    rng = np.random.default_rng(0)
    base, aligned = ({"d/v/odd_one_out_accuracy": share_correct(rng.random(400) < p, triplets)} for p in (0.4, 0.6))
    found = changes(base, aligned)
    row = comparison_table(base, with_changes(base, aligned)).splitlines()[2]
    metric = found["d/v/odd_one_out_accuracy"]
    assert "| objects" in row and f"{metric['value']:+.3f} [{metric['ci95'][0]:+.3f}, {metric['ci95'][1]:+.3f}]" in row
    assert comparison_table(base, aligned).splitlines()[2].rstrip(" |").endswith(f"{metric['value']:+.3f}")
    error = {"d/v/expected_calibration_error": Metric(0.1, 9, None)}
    table = comparison_table(error, error)
    assert "(lower is better)" in table and "| 0.100 |" in table and "0.000 |" not in table.split("0.100")[0]
    assert "aligned - base" in changes_table({"aligned": found}, "base")


def test_repeated_measures_of_two_models_are_the_paired_t_test():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(6, 1)) + rng.normal([0, 0.8], 0.5, (6, 2)), columns=["a", "b"])
    expected = ttest_rel(table.a, table.b)
    found = repeated_measures(table)
    assert found["F"] == pytest.approx(expected.statistic**2) and found["p_value"] == pytest.approx(expected.pvalue)
    assert (found["of_models"], found["of_error"]) == (1, 5)


def test_repeated_measures_of_three_models():
    """The sums of squares, written out."""
    values = np.array([[0.41, 0.50, 0.48], [0.62, 0.70, 0.71], [0.33, 0.45, 0.37], [0.55, 0.58, 0.60]])
    grand = values.mean()
    of_models = 4 * ((values.mean(0) - grand) ** 2).sum()
    of_rows = 3 * ((values.mean(1) - grand) ** 2).sum()
    left = ((values - grand) ** 2).sum() - of_models - of_rows
    found = repeated_measures(pd.DataFrame(values))
    assert found["F"] == pytest.approx(of_models / 2 / (left / 6)) and (found["of_models"], found["of_error"]) == (
        2,
        6,
    )
    assert repeated_measures(pd.DataFrame([[1.0, 1.0], [2.0, 2.0]]))["p_value"] == 1
    with pytest.raises(InputError, match="got 1 datasets and 3 models"):
        repeated_measures(pd.DataFrame(values[:1]))
    with pytest.raises(InputError, match="1 values missing"):
        repeated_measures(pd.DataFrame([[1.0, np.nan], [2.0, 3.0]]))
