"""Cross-entropy of choices through the similarity matrix, against loops over triplets."""

import math

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.teacher import ChoiceLikelihood, observed_choices

PAIRS = ((0, 1), (0, 2), (1, 2))


@pytest.fixture
def problem():
    """9 objects in 4 dimensions, 40 triplets in any order with soft targets and weights."""
    rng = np.random.default_rng(0)
    triplets = np.stack([rng.permutation(9)[:3] for _ in range(40)])
    probabilities = rng.dirichlet(np.ones(3), 40)
    return rng.normal(size=(9, 4)), triplets, probabilities, rng.uniform(0, 3, 40)


def naive_cross_entropy(embeddings, triplets, probabilities, weights):
    total = 0.0
    for triplet, target, weight in zip(triplets, probabilities, weights, strict=True):
        dots = [float(embeddings[triplet[i]] @ embeddings[triplet[j]]) for i, j in PAIRS]
        log_sum = math.log(sum(math.exp(dot) for dot in dots))
        total -= weight * sum(p * (dot - log_sum) for p, dot in zip(target, dots, strict=True))
    return total / sum(weights)


def test_value_is_that_of_a_loop(problem):
    embeddings, triplets, probabilities, weights = problem
    choices = ChoiceLikelihood(triplets, probabilities, 9, weights).to(torch.float64)
    similarities = torch.from_numpy(embeddings @ embeddings.T)
    expected = naive_cross_entropy(*problem)
    assert choices.value(similarities) == pytest.approx(expected, rel=1e-7)
    assert choices.value_and_gradient(similarities)[0] == choices.value(similarities)


def test_gradient_is_that_of_differences(problem):
    embeddings, triplets, probabilities, weights = problem
    choices = ChoiceLikelihood(triplets, probabilities, 9, weights).to(torch.float64)
    gradient = choices.value_and_gradient(torch.from_numpy(embeddings @ embeddings.T))[1].numpy()
    assert (np.triu(gradient) == 0).all()
    of_embeddings = (gradient + gradient.T) @ embeddings
    for row, column in np.ndindex(embeddings.shape):
        values = []
        for step in (1e-5, -1e-5):
            moved = embeddings.copy()
            moved[row, column] += step
            values.append(choices.value(torch.from_numpy(moved @ moved.T)))
        assert of_embeddings[row, column] == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-8)


def test_order_of_objects_makes_no_difference(problem):
    embeddings, triplets, probabilities, weights = problem
    similarities = torch.from_numpy(embeddings @ embeddings.T).float()
    # Objects 0, 1, 2 become 2, 0, 1: what was the pair 01 is 12, 02 is 01, 12 is 02
    turned = ChoiceLikelihood(triplets[:, [2, 0, 1]], probabilities[:, [1, 2, 0]], 9, weights)
    value, gradient = ChoiceLikelihood(triplets, probabilities, 9, weights).value_and_gradient(similarities)
    turned_value, turned_gradient = turned.value_and_gradient(similarities)
    assert turned_value == pytest.approx(value, rel=1e-6)
    torch.testing.assert_close(turned_gradient, gradient)


def test_large_similarities_stay_finite():
    choices = ChoiceLikelihood(np.array([[0, 1, 2]]), np.array([[1.0, 0, 0]]), 3)
    similarities = torch.tensor([[0, -1e6, 1e6], [-1e6, 0, 0], [1e6, 0, 0.0]])
    value, gradient = choices.value_and_gradient(similarities)
    assert value == pytest.approx(2e6)
    assert gradient.isfinite().all()


def test_observed_choices_counts_people():
    judgments = Dataset.from_dict({"triplet": [[0, 1, 2], [2, 1, 0], [0, 1, 2], [3, 1, 2]], "odd": [2, 0, 0, 1]})
    triplets, probabilities, weights = observed_choices(judgments)
    assert triplets.tolist() == [[0, 1, 2], [1, 2, 3]]
    # Of the first triplet object 2 was odd twice (pair 01 kept together), and object 0 once (pair 12)
    assert probabilities.tolist() == [[2 / 3, 0, 1 / 3], [0, 0, 1]]
    assert weights.tolist() == [3, 1]


def test_observed_choices_needs_a_choice():
    with pytest.raises(InputError, match="no choice"):
        observed_choices(Dataset.from_dict({"triplet": [[0, 1, 2]], "counts": [[0, 0, 0]]}))
