"""Entropy against people's entropy and times, and calibration, against scipy and loops."""

import logging
import math

import numpy as np
import pytest
from scipy.stats import entropy as scipy_entropy
from scipy.stats import spearmanr

from hf_alignet.errors import InputError
from hf_alignet.evaluation import (
    choice_cross_entropy,
    choice_entropies,
    evaluate_uncertainty,
    expected_calibration_error,
    human_model_divergence,
    spearman,
)
from hf_alignet.evaluation.human import uncertainty as module
from hf_alignet.judgments import make_judgments, split_by_triplet

METRICS = {"expected_calibration_error", "human_model_kl", "response_time_spearman", "human_entropy_spearman"}


@pytest.fixture
def study():
    """Embeddings of 40 images, and ten people on 500 triplets who follow them at temperature 2, slower when unsure."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(40, 6)).astype(np.float32)
    distinct = np.array(sorted({tuple(sorted(rng.permutation(40)[:3])) for _ in range(700)}))[:500]
    x = embeddings[distinct].astype(np.float64)
    by_odd = np.stack([(x[:, 1] * x[:, 2]).sum(-1), (x[:, 0] * x[:, 2]).sum(-1), (x[:, 0] * x[:, 1]).sum(-1)], 1) / 2
    shares = np.exp(by_odd) / np.exp(by_odd).sum(1, keepdims=True)
    odd = np.stack([(by_odd + rng.gumbel(size=by_odd.shape)).argmax(1) for _ in range(10)], 1)
    hesitation = scipy_entropy(shares, axis=1)
    seconds = np.exp(0.5 + hesitation[:, None] + 0.5 * rng.normal(size=odd.shape))
    judgments = make_judgments(distinct.repeat(10, 0), odd.ravel(), rt=seconds.ravel())
    return embeddings, split_by_triplet(judgments, held_out=0.6)


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_and_its_bootstrap_are_scipys(ties):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 60))
    y += x
    if ties:
        x, y = x.round(), y.round()
    found = spearman(x, y, seed=3, draws=50)
    assert found.metric["value"] == pytest.approx(spearmanr(x, y).statistic)
    again, values = np.random.default_rng(3), []
    for _ in range(50):
        rows = again.integers(0, 60, 60)
        values.append(spearmanr(x[rows], y[rows]).statistic)
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    np.testing.assert_allclose(found.metric["ci95"], np.quantile(values, [0.025, 0.975]))
    assert found.metric["n"] == 60 and not found.is_constant


def test_spearman_leaves_out_what_is_not_known_and_never_is_nan():
    x, y = np.array([1.0, 2.0, np.nan, 4.0, 5.0]), np.array([2.0, 1.0, 0.0, np.nan, 9.0])
    assert spearman(x, y).metric["value"] == pytest.approx(0.5) and spearman(x, y).metric["n"] == 3
    assert np.isfinite(spearman(x, y).metric["ci95"]).all()  # also where a draw is constant
    constant = spearman(np.ones(9), np.arange(9.0))
    assert constant == ({"value": 0.0, "n": 9, "chance": 0.0, "ci95": [0.0, 0.0]}, 0.0, True)
    with pytest.raises(InputError, match="three items that both sides know, there are 2"):
        spearman(x[:2], y[:2])


def test_entropies_of_people():
    counts = np.array([[5, 0, 0], [2, 2, 0], [1, 3, 4], [1, 0, 0], [0, 0, 0]])
    found = choice_entropies(counts)
    np.testing.assert_allclose(found[:3], scipy_entropy(counts[:3], axis=1), atol=1e-12)
    assert np.isnan(found[3:]).all()


def test_the_model_that_people_follow_is_calibrated_and_hesitates_where_they_do(study):
    embeddings, splits = study
    found = evaluate_uncertainty(embeddings, splits["train"], splits["test"])
    assert set(found.metrics) == METRICS and set(found.sds) == {"response_time_spearman", "human_entropy_spearman"}
    assert found.temperature == pytest.approx(2, rel=0.1) and not found.is_constant
    assert found.metrics["response_time_spearman"]["value"] > 0.7
    assert found.metrics["human_entropy_spearman"]["value"] > 0.7
    assert found.metrics["expected_calibration_error"]["value"] < 0.03
    low, high = found.metrics["response_time_spearman"]["ci95"]
    assert low < found.metrics["response_time_spearman"]["value"] < high
    assert found.sds["response_time_spearman"] == pytest.approx((high - low) / 3.92, rel=0.2)
    assert found.reliability.n.sum() == 3 * 3000


def test_scale_of_embeddings_does_not_matter(study):
    embeddings, splits = study
    found, scaled = (evaluate_uncertainty(x, splits["train"], splits["test"]) for x in (embeddings, 30 * embeddings))
    assert scaled.temperature == pytest.approx(900 * found.temperature, rel=1e-3)
    for name, metric in found.metrics.items():
        assert scaled.metrics[name]["value"] == pytest.approx(metric["value"], abs=2e-3)


@pytest.mark.parametrize("similarity", ["dot", "cosine", "pearson"])
def test_constant_model_is_reported_and_scores_zero(study, similarity, caplog):
    _, splits = study
    row = np.random.default_rng(0).normal(size=700).astype(np.float32)
    for embeddings in (np.tile(row, (40, 1)), np.zeros((40, 3), np.float32)):
        with caplog.at_level(logging.WARNING):
            found = evaluate_uncertainty(embeddings, splits["train"], splits["test"], similarity)
        assert found.is_constant and found.temperature == 1 and "equally similar" in caplog.text
        assert found.metrics["response_time_spearman"]["value"] == 0 == found.sds["human_entropy_spearman"]
        assert found.metrics["human_entropy_spearman"]["ci95"] == [0, 0]
        divergence = found.metrics["human_model_kl"]
        assert divergence["value"] == pytest.approx(divergence["chance"])
        numbers = [value for metric in found.metrics.values() for value in (metric["value"], *metric["ci95"])]
        assert np.isfinite(numbers).all()


def test_temperature_is_never_fitted_to_the_test(study, monkeypatch):
    embeddings, splits = study
    seen = []
    fit = module.fit_temperature
    monkeypatch.setattr(module, "fit_temperature", lambda s, c: seen.append(c.sum()) or fit(s, c))
    evaluate_uncertainty(embeddings, splits["train"], splits["test"])
    assert seen == [len(splits["train"])]
    with pytest.raises(InputError, match="300 triplets of the test judgments are in the validation judgments"):
        evaluate_uncertainty(embeddings, splits["test"], splits["test"])


def test_without_times_or_repeats_there_is_no_correlation(study):
    embeddings, splits = study
    single = make_judgments(np.array([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]), np.array([0, 1, 2, 0]))
    found = evaluate_uncertainty(embeddings, splits["train"].remove_columns("rt"), single)
    assert set(found.metrics) == {"expected_calibration_error", "human_model_kl"}
    embeddings[4, 1] = np.nan
    with pytest.raises(InputError, match="row 4 of the embeddings is not finite"):
        evaluate_uncertainty(embeddings, splits["train"], single)


def test_calibration_error_equals_a_loop():
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet([1, 1, 1], 800)
    counts = rng.integers(0, 4, (800, 3))
    bins: dict[int, list] = {}
    for p, c in zip(probabilities, counts, strict=True):
        for pair, times in enumerate(c):
            bins.setdefault(min(int(p.max() * 10), 9), []).extend([(p.max(), pair == p.argmax())] * times)
    total = counts.sum()
    expected = sum(abs(sum(p - hit for p, hit in rows)) for rows in bins.values()) / total
    found = expected_calibration_error(np.log(probabilities), counts)
    assert found["value"] == pytest.approx(expected) and found["n"] == total
    assert 0 <= found["ci95"][0] < found["value"] < found["ci95"][1]
    certain = np.log(np.array([[1.0, 1e-300, 1e-300]]))
    assert expected_calibration_error(certain, np.array([[3, 1, 0]]))["value"] == pytest.approx(0.25)
    even = np.full((1, 3), -math.log(3))
    assert expected_calibration_error(even, np.array([[2, 1, 0]]))["value"] == pytest.approx(0, abs=1e-12)


def test_divergence_is_scipys_and_cross_entropy_for_single_choices():
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet([1, 1, 1], 50)
    counts = rng.integers(0, 5, (50, 3))
    counts[7] = 0  # nobody judged it
    judged = counts.any(1)
    found = human_model_divergence(np.log(probabilities), counts)
    expected = scipy_entropy(counts[judged], probabilities[judged], axis=1)
    assert found["value"] == pytest.approx(expected.mean()) and found["n"] == judged.sum()
    half = 1.96 * expected.std(ddof=1) / np.sqrt(judged.sum())
    np.testing.assert_allclose(found["ci95"], [expected.mean() - half, expected.mean() + half], rtol=1e-4)
    even = human_model_divergence(np.full((50, 3), -math.log(3)), counts)
    assert even["value"] == pytest.approx(found["chance"])
    single = np.eye(3, dtype=int)[rng.integers(0, 3, 50)]
    by_cross_entropy = choice_cross_entropy(np.log(probabilities), single)["value"]
    assert human_model_divergence(np.log(probabilities), single)["value"] == pytest.approx(by_cross_entropy)
    with pytest.raises(InputError, match="no choices"):
        human_model_divergence(np.log(probabilities), 0 * counts)
    with pytest.raises(InputError, match="scores of triplet 0 are not finite"):
        expected_calibration_error(np.full((1, 3), np.nan), np.ones((1, 3), int))
