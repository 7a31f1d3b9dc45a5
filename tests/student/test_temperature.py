import math

import numpy as np
import pytest
import torch

from hf_alignet.errors import InputError
from hf_alignet.similarity import choice_log_probabilities, entropy, odd_one_out
from hf_alignet.similarity.matched_entropy import match_entropy
from hf_alignet.student.temperature import calibration_sample, calibration_size, maximize_likelihood
from hf_alignet.triplets import triplets_from_arrays


@pytest.mark.parametrize("scale", [1e-4, 1.0, 250.0, 1e6])
@pytest.mark.parametrize("teacher_temperature", [0.5, 3.0])
def test_student_becomes_as_undecided_as_the_teacher(scale, teacher_temperature):
    teacher, student = torch.randn(2, 300, 3)
    temperature = match_entropy(scale * student, teacher, teacher_temperature)
    ours = entropy(choice_log_probabilities(scale * student.double(), temperature)).mean()
    theirs = entropy(choice_log_probabilities(teacher.double(), teacher_temperature)).mean()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)


def test_temperature_scales_with_the_similarities():
    teacher, student = torch.randn(2, 300, 3)
    small, large = match_entropy(student, teacher), match_entropy(100 * student, teacher)
    assert large == pytest.approx(100 * small, rel=1e-4)


def test_likelihood_recovers_a_planted_temperature():
    student = torch.randn(20_000, 3)
    noise = -torch.log(-torch.log(torch.rand(20_000, 3)))  # Gumbel noise samples from the softmax
    odd = odd_one_out(student / 0.4 + noise)
    assert maximize_likelihood(student, odd) == pytest.approx(0.4, rel=0.05)


def test_choices_that_the_student_knows_nothing_about():
    student = torch.randn(1000, 3)
    spread = student.double().std(-1).mean().item()
    always_wrong = 2 - student.argmin(-1)
    assert maximize_likelihood(student, always_wrong) == pytest.approx(10 * spread, rel=1e-3)
    assert maximize_likelihood(student, odd_one_out(student)) == pytest.approx(spread / 10, rel=1e-3)


def test_teacher_that_is_always_certain():
    with pytest.raises(InputError, match="set `student_temperature` to a number"):
        match_entropy(torch.randn(10, 3), 1e4 * torch.eye(3))


def test_teacher_that_knows_nothing():
    with pytest.raises(InputError, match=f"entropy of {math.log(3):.4f}"):
        match_entropy(torch.randn(10, 3), torch.zeros(10, 3))


def test_collapsed_student():
    with pytest.raises(InputError, match="is it collapsed"):
        match_entropy(torch.ones(10, 3), torch.randn(10, 3))


@pytest.mark.parametrize("edge, number", [(0, 512), (64, 512), (100, 400), (224, 80), (1024, 80)])
def test_of_larger_pictures_fewer_are_embedded(edge, number):
    rng = np.random.default_rng(0)
    triplets = triplets_from_arrays(rng.permuted(np.tile(np.arange(9), (600, 1)), axis=1)[:, :3], rng.random((600, 3)))
    sample = calibration_sample(triplets, "similarities", (), 1, seed=0, number=calibration_size(edge))
    assert len(sample) == number
    assert set(map(tuple, sample["triplet"])) <= set(map(tuple, triplets["triplet"]))
