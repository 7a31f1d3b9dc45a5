"""Noise ceilings against naive loops, closed forms and simulated raters whose choice probabilities are known."""

import itertools

import numpy as np
import pytest
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.evaluation import leave_one_out, modal_share, noise_ceilings, noise_ceilings_from_shares
from hf_alignet.evaluation.human.noise_ceiling import (
    CONCENTRATIONS,
    _counts_with_mode,
    _log_likelihoods,
    expected_maximum,
    noise_ceiling,
)
from hf_alignet.judgments import aggregate, make_judgments


def from_counts(counts: np.ndarray, people: bool = False) -> Dataset:
    """Judgments with these counts of choices (m, 3), each by another person."""
    which, odd = np.divmod(np.repeat(np.arange(counts.size), counts.ravel()), 3)
    triplets = np.arange(counts.size).reshape(-1, 3)[which]
    return make_judgments(triplets, odd, participant=np.arange(len(odd)) if people else None)


def simulate(spread: float, raters: int, number: int = 1500) -> tuple[float, Dataset]:
    """E[max p] and the judgments of people who choose by the softmax of normal similarities."""
    rng = np.random.default_rng(0)
    probabilities = np.exp(rng.normal(scale=spread, size=(number, 3)))
    probabilities /= probabilities.sum(1, keepdims=True)
    return probabilities.max(1).mean(), from_counts(rng.multinomial(raters, probabilities))


@pytest.mark.parametrize("spread", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("raters", [2, 3, 5, 10, 30])
def test_ceiling_of_simulated_raters_is_found(spread, raters):
    # The probabilities are logistic-normal, not Dirichlet: the correction must stand a wrong model
    truth, judgments = simulate(spread, raters)
    ceilings = noise_ceilings(judgments)
    assert ceilings["leave_one_out"]["value"] < truth < ceilings["modal_share"]["value"]
    assert abs(ceilings["noise_ceiling"]["value"] - truth) < 0.02
    bias = ceilings["modal_share"]["value"] - truth
    assert bias > 0.02 or raters >= 10  # the usual ceiling is far too high for few people
    assert abs(ceilings["noise_ceiling"]["value"] - truth) < max(bias, 0.01)


def naive_leave_one_out(rows: list[tuple[int, int, str]]) -> float:
    """Mean over triplets of the agreement of each person's first judgment with the mode of the other people's."""
    per_triplet: dict[int, list[float]] = {}
    first = {(triplet, person): odd for triplet, odd, person in reversed(rows)}
    rows = [(triplet, odd, person) for (triplet, person), odd in first.items()]
    for triplet, odd, person in rows:
        others = [o for t, o, p in rows if t == triplet and p != person]
        if others:
            highest = max(others.count(i) for i in range(3))
            modes = [i for i in range(3) if others.count(i) == highest]
            per_triplet.setdefault(triplet, []).append((odd in modes) / len(modes))
    return float(np.mean([np.mean(values) for values in per_triplet.values()]))


def test_leave_one_out_equals_a_naive_loop():
    rng = np.random.default_rng(0)
    which, odd, person = rng.integers(30, size=120), rng.integers(3, size=120), rng.integers(6, size=120)
    judgments = make_judgments(which[:, None] * 3 + np.arange(3), odd, participant=person)
    rows = list(zip(which.tolist(), odd.tolist(), person.astype(str).tolist(), strict=True))
    assert leave_one_out(judgments)["value"] == pytest.approx(naive_leave_one_out(rows), abs=1e-12)
    strangers = [(t, o, str(i)) for i, (t, o, _) in enumerate(rows)]
    unknown = judgments.remove_columns("participant")
    assert leave_one_out(unknown)["value"] == pytest.approx(naive_leave_one_out(strangers), abs=1e-12)
    assert leave_one_out(aggregate(judgments))["value"] == pytest.approx(naive_leave_one_out(strangers), abs=1e-12)


def test_simple_cases_in_closed_form():
    agreed = from_counts(np.array([[3, 0, 0], [0, 4, 0]]), people=True)
    for name, metric in noise_ceilings(agreed).items():
        assert metric["value"] == pytest.approx(1, abs=0.01), name
        assert metric["n"] == 2 and metric["chance"] == 1 / 3
    # 2 : 1 of three people: the two see the others tied, the one is predicted wrongly
    split = from_counts(np.array([[2, 1, 0]]))
    assert modal_share(split)["value"] == pytest.approx(2 / 3)
    assert leave_one_out(split)["value"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    # everyone another choice
    assert leave_one_out(from_counts(np.array([[1, 1, 1]])))["value"] == 0


def test_judgments_of_one_person_count_only_among_repeats():
    counts = from_counts(np.array([[3, 1, 0], [1, 0, 0], [0, 1, 0]]))
    assert modal_share(counts)["n"] == leave_one_out(counts)["n"] == noise_ceiling(counts)["n"] == 1
    assert modal_share(counts)["value"] == 0.75


@pytest.mark.parametrize("function", [modal_share, leave_one_out, noise_ceiling])
def test_no_ceiling_without_several_people(function):
    alone = make_judgments(np.array([[0, 1, 2]] * 4), np.array([0, 0, 1, 0]), participant=["a"] * 4)
    triplets = np.repeat([[0, 1, 2], [3, 4, 5], [6, 7, 8]], 4, axis=0)
    each_alone = make_judgments(triplets, np.tile([0, 0, 1, 0], 3), participant=np.repeat(["a", "b", "c"], 4))
    for judgments in (alone, each_alone, from_counts(np.eye(3, dtype=int))):
        with pytest.raises(InputError, match="no noise ceiling can be given: none of the"):
            function(judgments)


def test_each_person_counts_once():
    # a chooses 0, 0, 1 and b chooses 1 of the first triplet; b alone judges the second; two strangers the third
    triplets = np.array([[0, 1, 2], [0, 1, 2], [2, 1, 0], [0, 1, 2], [3, 4, 5], [3, 4, 5], [6, 7, 8], [6, 7, 8]])
    odd, people = np.array([0, 0, 1, 1, 2, 2, 1, 1]), ["a", "a", "a", "b", "b", "b", None, None]
    judgments = make_judgments(triplets, odd, participant=people)
    once = make_judgments(triplets[[0, 3, 6, 7]], odd[[0, 3, 6, 7]])
    assert noise_ceilings(judgments) == noise_ceilings(once)
    assert modal_share(judgments)["value"] == (1 / 2 + 1) / 2 and modal_share(judgments)["n"] == 2
    assert leave_one_out(judgments)["value"] == (0 + 1) / 2


def test_checks_of_attention_have_no_ceiling():
    triplets = np.array([[0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5]])
    judgments = make_judgments(triplets, np.array([0, 0, 1, 2]), participant=list("abab"), is_catch=[1, 1, 0, 0])
    assert modal_share(judgments)["n"] == 1 and modal_share(judgments)["value"] == 0.5


def test_interval_is_that_of_a_bootstrap_over_triplets():
    counts = np.random.default_rng(0).multinomial(6, [0.6, 0.3, 0.1], size=300)
    metric = modal_share(from_counts(counts), seed=1)
    shares = counts.max(1) / 6
    rng = np.random.default_rng(5)
    means = shares[rng.integers(300, size=(4000, 300))].mean(1)
    np.testing.assert_allclose(metric["ci95"], np.quantile(means, [0.025, 0.975]), atol=0.003)
    assert metric == modal_share(from_counts(counts), seed=1) != modal_share(from_counts(counts), seed=2)
    low, high = noise_ceiling(from_counts(counts))["ci95"]
    assert low < noise_ceiling(from_counts(counts))["value"] < high


@pytest.mark.parametrize("parameters", [(1, 1, 1), (0.3, 0.3, 0.3), (0.05, 2, 2), (50, 5, 1), (3, 30, 90)])
def test_expected_maximum_of_a_dirichlet(parameters):
    drawn = np.random.default_rng(0).dirichlet(parameters, 200_000).max(1).mean()
    value = expected_maximum(np.array([parameters], float))[0]
    assert value == pytest.approx(drawn, abs=0.002)
    assert value == pytest.approx(expected_maximum(np.array([parameters], float), 2000)[0], abs=2e-4)


def test_expected_maximum_of_the_uniform_distribution():
    assert expected_maximum(np.ones((1, 3)))[0] == pytest.approx(11 / 18, abs=1e-6)  # (1 + 1/2 + 1/3) / 3


@pytest.mark.parametrize("raters", [1, 2, 5, 9])
@pytest.mark.parametrize("concentration", [0.1, 1.0, 20.0])
def test_probabilities_of_all_counts_sum_to_one(raters, concentration):
    every = np.array([c for c in itertools.product(range(raters + 1), repeat=3) if sum(c) == raters])
    distinct = np.unique(np.sort(every, axis=1), axis=0)
    assert np.exp(_log_likelihoods(distinct, concentration)).sum() == pytest.approx(1)
    modal = np.unique(distinct[:, 2])
    counts, owners = _counts_with_mode(modal, np.full(len(modal), raters))
    assert sorted(counts.tolist()) == sorted(distinct.tolist())
    np.testing.assert_array_equal(counts[:, 2], modal[owners])


def test_ceiling_from_published_shares():
    truth, judgments = simulate(1.5, 12)
    counts = np.array(aggregate(judgments)["counts"][:])
    published = noise_ceilings_from_shares(counts.max(1) / 12, counts.sum(1))
    assert published["modal_share"] == modal_share(judgments)
    assert published["noise_ceiling"]["value"] == pytest.approx(noise_ceiling(judgments)["value"], abs=0.01)
    assert published["noise_ceiling"]["value"] == pytest.approx(truth, abs=0.02)


def test_shares_that_cannot_be():
    for share, raters in ((0.45, 10), (0.3, 10), (1.1, 10), (float("nan"), 10)):
        with pytest.raises(InputError, match="row 1: .* cannot be the largest share of 10 choices of three"):
            noise_ceilings_from_shares(np.array([0.5, share]), np.array([10, raters]))
    with pytest.raises(InputError, match="no noise ceiling can be given"):
        noise_ceilings_from_shares(np.ones(3), np.ones(3, int))


def test_concentrations_reach_from_certain_to_random():
    extremes = expected_maximum(np.stack([CONCENTRATIONS[[0, -1]]] * 3, axis=1))
    assert extremes[0] > 0.98 and extremes[1] < 0.37
