"""A model's uncertainty against people's entropy and times."""

import logging

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import entropy as scipy_entropy

from hf_alignet.errors import InputError
from hf_alignet.evaluation import choice_entropies, evaluate_uncertainty
from hf_alignet.evaluation.human import uncertainty as module
from hf_alignet.judgments import make_judgments, split_by_triplet

OF_ALL = {"choice_cross_entropy", "expected_calibration_error", "human_model_kl"}
METRICS = OF_ALL | {"response_time_spearman", "human_entropy_spearman"}


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
    # The SD is over triplets, the interval over the 40 objects that they share
    assert (high - low) / 8 < found.sds["response_time_spearman"] < (high - low) / 3.92
    assert found.reliability.n.sum() == 3 * 3000
    triplets, odd = (np.array(splits["test"][name]) for name in ("triplet", "odd"))
    first, second, third = embeddings[triplets].astype(np.float64).transpose(1, 0, 2)
    of_odd = np.stack([(second * third).sum(1), (first * third).sum(1), (first * second).sum(1)], axis=1)
    expected = -log_softmax(of_odd / found.temperature, axis=1)[np.arange(len(odd)), odd].mean()
    assert found.metrics["choice_cross_entropy"]["value"] == pytest.approx(expected, rel=1e-5)


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
        assert found.metrics["human_entropy_spearman"]["ci95"] is None
        divergence = found.metrics["human_model_kl"]
        assert divergence["value"] == pytest.approx(divergence["chance"])
        assert found.metrics["choice_cross_entropy"]["value"] == pytest.approx(np.log(3))
        numbers = [value for metric in found.metrics.values() for value in (metric["value"], *(metric["ci95"] or ()))]
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
    assert set(found.metrics) == OF_ALL
    embeddings[4, 1] = np.nan
    with pytest.raises(InputError, match="row 4 of the embeddings is not finite"):
        evaluate_uncertainty(embeddings, splits["train"], single)
