"""Weights by context and by group, fitted to simulated people of whom it is known what they heed."""

from functools import partial

import numpy as np
import pytest

from hf_alignet.encoder import AffineTransform, ContextTransform
from hf_alignet.errors import InputError
from hf_alignet.judgments import make_judgments
from hf_alignet.similarity import odd_of_pair
from hf_alignet.similarity.products import products_of_triplets
from hf_alignet.teacher import fit_groups, fit_teacher, observed_choices
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.context_fit import chosen_context, fit_context, select_context
from hf_alignet.teacher.planning import random_triplets
from hf_alignet.teacher.weighed import Weighed


def choices(similarities: np.ndarray, triplets: np.ndarray, rng: np.random.Generator, **columns):
    """What people choose whose similarities (m, 3) these are."""
    pair = (similarities + rng.gumbel(size=similarities.shape)).argmax(1)
    return make_judgments(triplets, odd_of_pair(pair), **columns)


def cross_entropy(similarities: np.ndarray, data: AffineData) -> float:
    centred = similarities - similarities.max(1, keepdims=True)
    losses = -(data.probabilities * (centred - np.log(np.exp(centred).sum(1, keepdims=True)))).sum(1)
    return float(np.average(losses, weights=data.weights))


@pytest.fixture(scope="module")
def study():
    """Features (60, 4), and people who weigh each dimension by what the three images have of another one."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 4)).astype(np.float32)
    gate = 1.5 * np.roll(np.eye(4), 1, axis=1)
    people = ContextTransform(AffineTransform.identity(4), np.eye(4), gate, np.zeros(4))
    triplets = random_triplets(60, 6000, rng)
    return features, choices(people.similarities(features, triplets), triplets, rng)


def data_of(features, judgments):
    return AffineData.checked(features, *observed_choices(judgments))


def test_gradient(study):
    features, judgments = study
    data = data_of(features, judgments.select(range(50)))
    weighed = Weighed.of(AffineTransform.identity(4), features, data.triplets, data.probabilities, data.weights)
    rng = np.random.default_rng(1)
    gates = rng.normal(size=(60, 4)) / 2
    direction = rng.normal(size=(60, 4))
    value = lambda step: weighed.value_and_gradient(gates + step * direction, weighed.triplets)[0]  # noqa: E731
    slope = (weighed.value_and_gradient(gates, weighed.triplets)[1] * direction).sum()
    assert (value(0.01) - value(-0.01)) / 0.02 == pytest.approx(slope, rel=1e-2)


def test_context_is_recovered_where_people_heed_it(study):
    features, judgments = study
    fitted, held_out = (data_of(features, judgments.select(rows)) for rows in (range(5000), range(5000, 6000)))
    plain = AffineTransform.identity(4)
    table, chosen = select_context(plain, fitted, held_out)
    context = chosen_context(plain, fitted, table, chosen)
    found = cross_entropy(context.similarities(features, held_out.triplets), held_out)
    without = cross_entropy(products_of_triplets(features, held_out.triplets), held_out)
    assert table["cross_entropy"].iloc[-1] == pytest.approx(without, abs=1e-4)
    assert found < without - 0.05
    assert "predict held-out choices better" in context.info["context_choice"]
    again = fit_context(plain, fitted, context.info["context_regularization"])
    np.testing.assert_array_equal(again.gate_weight, context.gate_weight)  # nothing is random


def test_no_context_is_found_where_there_is_none():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(40, 4)).astype(np.float32)
    triplets = random_triplets(40, 2000, rng)
    judgments = choices(products_of_triplets(features, triplets), triplets, rng)
    fitted, held_out = (data_of(features, judgments.select(rows)) for rows in (range(1500), range(1500, 2000)))
    plain = AffineTransform.identity(4)
    table, chosen = select_context(plain, fitted, held_out)
    assert np.isinf(chosen)
    context = chosen_context(plain, fitted, table, chosen)
    np.testing.assert_array_equal(context.similarities(features, triplets), products_of_triplets(features, triplets))
    assert "do not change" in context.info["context_choice"]


def test_fit_teacher_gives_context_that_predicts_better(study):
    features, judgments = study
    judgments = judgments.select(range(1190))  # too few for VICE, which takes long
    teacher = fit_teacher(features, judgments, "context", regularization=0.01, seed=0, progress=False)
    assert teacher.result is teacher.context and teacher.context.info["method"] == "context"
    data = data_of(features, study[1].select(range(1190, 6000)))
    gated = cross_entropy(teacher.context.similarities(features, data.triplets), data)
    assert gated < cross_entropy(products_of_triplets(teacher.transform(features), data.triplets), data) - 0.02
    assert set(teacher.selection["method"]) >= {"hard", "context"}


# ---- groups


@pytest.fixture(scope="module")
def crowd():
    """Features, and 6 people of two kinds who look at different dimensions."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(50, 4)).astype(np.float32)
    parts = []
    for person in range(6):
        weights = np.array([2.0, 2.0, 0.2, 0.2] if person % 2 else [0.2, 0.2, 2.0, 2.0])
        triplets = random_triplets(50, 500, rng)
        similarities = products_of_triplets(features * np.sqrt(weights).astype(np.float32), triplets)
        parts.append((triplets, similarities))
    triplets, similarities = (np.concatenate(each) for each in zip(*parts, strict=True))
    names = np.repeat([f"p{person}" for person in range(6)], 500)
    return features, choices(similarities, triplets, rng, participant=names), names


def test_people_who_differ_are_predicted_better_by_their_own_transform(crowd):
    features, judgments, names = crowd
    is_tested = np.arange(len(judgments)) % 5 == 0
    fitted = fit_groups(features, judgments.select(np.flatnonzero(~is_tested)), AffineTransform.identity(4))
    assert np.isfinite(fitted.regularization) and set(fitted.of_groups) == set(names)
    own = common = 0.0
    for name, transform in fitted.of_groups.items():
        data = data_of(features, judgments.select(np.flatnonzero(is_tested & (names == name))))
        own += cross_entropy(products_of_triplets(transform(features), data.triplets), data) / 6
        common += cross_entropy(products_of_triplets(features, data.triplets), data) / 6
        strengths = np.linalg.norm(transform.weight.numpy(), axis=1)
        assert (strengths[:2].mean() > strengths[2:].mean()) == (int(name[1]) % 2 == 1)
    assert own < common - 0.1


def test_people_who_are_alike_share_one_transform(crowd):
    features, judgments, _ = crowd
    one = judgments.select(range(500, 1000))
    rng = np.random.default_rng(4)
    alike = one.remove_columns("participant").add_column("site", [f"s{k}" for k in rng.integers(12, size=500)])
    common = fit_teacher(features, one, "hard", regularization=0.001, progress=False).transform
    before = dict(common.info)
    fitted = fit_groups(features, alike, common, "site")
    assert np.isinf(fitted.regularization) and common.info == before


def test_groups_that_cannot_be_fitted(crowd):
    features, judgments, _ = crowd
    fit = partial(fit_groups, features, common=AffineTransform.identity(4))
    with pytest.raises(InputError, match="lack the column 'site'"):
        fit(judgments, group_column="site")
    with pytest.raises(InputError, match="names 1 groups"):
        fit(judgments.select(range(500)))
    with pytest.raises(InputError, match="no group of the column 'participant' has 10 choices"):
        fit(judgments.select(range(495, 505)))
