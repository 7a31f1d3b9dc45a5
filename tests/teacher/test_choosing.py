"""The default teacher of few choices: never worse than the unchanged features, and what it says of its choice."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from hf_alignet.judgments import make_judgments
from hf_alignet.teacher import Vice, fit_teacher, observed_choices
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.choosing import best_scale, standard_error
from hf_alignet.teacher.fitting import CHOICES_PER_OBJECT
from hf_alignet.teacher.planning import SimulatedPeople, Study, measure, random_triplets


def simulate(num_objects, number, agreement=0.8, seed=0):
    """Features like an encoder's, judgments of people who look at some directions, and what all people would say."""
    rng = np.random.default_rng(seed)
    features = (rng.normal(size=(num_objects, 32)) / np.sqrt(1 + np.arange(32))).astype(np.float32)
    people = SimulatedPeople(features, agreement, seed)
    judgments = people.judge(random_triplets(num_objects, number, rng), rng)
    tested = random_triplets(num_objects, 5000, rng)
    return features, Study(judgments, tested, softmax(people.logits(tested), axis=1), np.ones(5000))


def unchanged(features, judgments):
    return best_scale(AffineData.checked(features, *observed_choices(judgments))) * features


@pytest.mark.parametrize(("num_objects", "number"), [(30, 200), (90, 200), (90, 600), (300, 600)])
def test_few_choices_give_no_worse_teacher_than_none(num_objects, number):
    features, study = simulate(num_objects, number)
    transform = fit_teacher(features, study.judgments, progress=False).transform
    accuracy, cross_entropy = measure(transform(features), study.triplets, study.shares, study.weights)
    raw_accuracy, raw_cross_entropy = measure(
        unchanged(features, study.judgments), study.triplets, study.shares, study.weights
    )
    assert accuracy > raw_accuracy - 0.01 and cross_entropy < raw_cross_entropy + 0.01
    assert "held-out choices" in transform.info["choice"] and "identity" in transform.info["choice"]
    if (num_objects, number) == (90, 600):
        assert accuracy > raw_accuracy + 0.03


def test_features_that_are_right_stay_as_they_are():
    rng = np.random.default_rng(1)
    features = (3 * rng.normal(size=(60, 16)) / np.sqrt(1 + np.arange(16))).astype(np.float32)
    triplets = random_triplets(60, 500, rng)
    a, b, c = 0.5 * features[triplets.T]
    logits = np.stack([(b * c).sum(1), (a * c).sum(1), (a * b).sum(1)], axis=1)
    judgments = make_judgments(triplets, (logits + rng.gumbel(size=logits.shape)).argmax(1))
    teacher = fit_teacher(features, judgments, progress=False)
    assert teacher.transform.info["method"] == "identity" and teacher.vice is None
    weight = teacher.transform.weight
    torch.testing.assert_close(weight, weight[0, 0] * torch.eye(16))
    assert weight[0, 0].item() == pytest.approx(0.5, rel=0.15)  # at which the softmax of dot products is calibrated


def test_random_choices_change_nothing():
    features, study = simulate(40, 300)
    rng = np.random.default_rng(0)
    judgments = make_judgments(np.array(study.judgments["triplet"]), rng.integers(0, 3, 300))
    transform = fit_teacher(features, judgments, progress=False).transform
    assert measure(transform(features), study.triplets, study.shares, study.weights)[1] < np.log(3) + 0.02


def test_same_seed_same_teacher():
    features, study = simulate(30, 200)
    first, second = (fit_teacher(features, study.judgments, seed=7, progress=False) for _ in range(2))
    assert first.transform.info == second.transform.info
    torch.testing.assert_close(first.transform.weight, second.transform.weight, rtol=0, atol=1e-4)


def test_vice_is_one_of_the_candidates_where_choices_are_enough(monkeypatch):
    fitted = []
    fit = Vice.fit

    def count(self, judgments, num_objects=None, *rest):
        fitted.append((num_objects, len(judgments)))
        self.max_epochs, self.burn_in, self.window, self.settle = 100, 50, 20, 20
        return fit(self, judgments, num_objects, *rest)

    monkeypatch.setattr(Vice, "fit", count)
    features, study = simulate(30, 30 * CHOICES_PER_OBJECT - 1)
    fit_teacher(features, study.judgments, progress=False)
    assert fitted == []
    features, study = simulate(30, 1500)
    settings = {"regularization": 0.1}
    teacher = fit_teacher(features, study.judgments, progress=False, **settings)
    assert fitted[0] == (30, 1500)
    assert all(number == 27 and len_ < 1500 for number, len_ in fitted[1:]) and len(fitted) == 6
    found = set(teacher.selection.method)
    assert found == {"hard", "uncertainty_distillation"} and set(teacher.selection.regularization) == {0.1}
    assert (teacher.vice is not None) == (teacher.transform.info["method"] == "uncertainty_distillation")


def test_the_choice_can_be_made_again_by_hand():
    features, study = simulate(90, 600)
    info = fit_teacher(features, study.judgments, progress=False).transform.info
    assert info["method"] == "hard"
    given = {name: info[name] for name in ("method", "concentration", "regularization")}
    again = fit_teacher(features, study.judgments, progress=False, **given).transform
    chosen = fit_teacher(features, study.judgments, progress=False).transform
    torch.testing.assert_close(again.weight, chosen.weight, rtol=0, atol=1e-4)


def test_several_tests_of_one_triplet_are_one_observation():
    rng = np.random.default_rng(0)
    differences, weights = rng.normal(size=50), rng.integers(1, 4, 50).astype(float)
    once = standard_error(differences, np.arange(50), weights)
    twice = standard_error(np.tile(differences, 2), np.tile(np.arange(50), 2), np.tile(weights, 2))
    assert once == pytest.approx(twice)
    mean = np.average(differences, weights=weights)
    assert once == pytest.approx(np.sqrt(((weights * (differences - mean)) ** 2).sum()) / weights.sum())
