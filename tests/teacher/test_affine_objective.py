"""What an affine transform is fitted to: values against loops, gradients against differences."""

import math

import numpy as np
import pytest
import torch

from hf_alignet.errors import RunError
from hf_alignet.teacher import ChoiceLikelihood
from hf_alignet.teacher.affine.affine_teacher import PENALTIES
from hf_alignet.teacher.affine.axes import PrincipalAxes
from hf_alignet.teacher.affine.objective import BIAS_PENALTY, LocalTerm, Objective
from hf_alignet.teacher.affine.solver import solve

PAIRS = ((0, 1), (0, 2), (1, 2))


def softmax(logits):
    exponentials = [math.exp(logit) for logit in logits]
    return [e / sum(exponentials) for e in exponentials]


@pytest.mark.parametrize("method", list(PENALTIES))
def test_gradient_is_that_of_differences(method):
    rng = np.random.default_rng(0)
    features, triplets = rng.normal(size=(8, 3)), np.stack([rng.permutation(8)[:3] for _ in range(30)])
    targets = rng.multinomial(8, np.ones(3) / 3, 30) / 8  # exact in the float32 of `ChoiceLikelihood`
    data = ChoiceLikelihood(triplets, targets, 8, rng.uniform(0, 2, 30)).to(torch.float64)
    images = rng.normal(size=(2, 6, 3))
    local = LocalTerm(images + 0.2, images, 0.5) if method == "glocal" else None
    objective = Objective(features, data, PENALTIES[method], 0.3, local, 0.4 if local else 0.0)
    variables = rng.normal(size=12)

    def split(variables):
        return variables[:9].reshape(3, 3), variables[9:]

    _, d_weight, d_bias = objective(*split(variables))
    for i, derivative in enumerate([*d_weight.ravel(), *d_bias]):
        step = 1e-5 * np.eye(12)[i]
        difference = objective(*split(variables + step))[0] - objective(*split(variables - step))[0]
        assert derivative == pytest.approx(difference / 2e-5, abs=1e-8)


@pytest.mark.parametrize("method", ["hard", "global"])
def test_objective_is_that_of_a_loop(method):
    rng = np.random.default_rng(0)
    features, triplets = rng.normal(size=(8, 3)), np.stack([rng.permutation(8)[:3] for _ in range(30)])
    targets, weight, bias = rng.dirichlet(np.ones(3), 30), rng.normal(size=(3, 3)), rng.normal(size=3)
    total = 0.0
    for triplet, target in zip(triplets, targets, strict=True):
        z = [features[k] @ weight + bias for k in triplet]
        q = softmax([z[i] @ z[j] for i, j in PAIRS])
        total -= sum(p * math.log(q_pair) for p, q_pair in zip(target, q, strict=True)) / 30
    mean = sum(weight[i, i] for i in range(3)) / 3 if method == "hard" else 0.0
    penalty = sum((weight[i, j] - mean * (i == j)) ** 2 for i in range(3) for j in range(3))
    expected = total + 0.3 * (penalty + BIAS_PENALTY * sum(b**2 for b in bias))
    choices = ChoiceLikelihood(triplets, targets, 8).to(torch.float64)
    assert Objective(features, choices, PENALTIES[method], 0.3)(weight, bias)[0] == pytest.approx(expected, rel=1e-7)


def test_local_term_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    images, weight, bias = rng.normal(size=(2, 5, 3)), rng.normal(size=(3, 3)), rng.normal(size=3)
    total = 0.0
    for batch in images:
        for i in range(5):
            others = [j for j in range(5) if j != i]
            z = batch @ weight + bias
            p, q = (
                softmax([v[i] @ v[j] / np.linalg.norm(v[i]) / np.linalg.norm(v[j]) / 0.5 for j in others])
                for v in (batch, z)
            )
            total -= sum(a * math.log(b) for a, b in zip(p, q, strict=True)) / 10
    assert LocalTerm(images, images, 0.5).value_and_gradient(weight, bias)[0] == pytest.approx(total, rel=1e-9)


def test_axes_change_coordinates_only():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(40, 5)) * np.linspace(2, 0.5, 5) + 0.3).astype(np.float32)
    weight, bias = rng.normal(size=(5, 5)), rng.normal(size=5)
    axes = PrincipalAxes.of(features)
    transform = axes.transform(weight, bias)
    np.testing.assert_allclose(
        transform(features), (axes.project(features) @ weight + bias) @ axes.axes.T, rtol=1e-4, atol=1e-5
    )
    assert transform.mean == pytest.approx(features.mean(), rel=1e-6)
    assert transform.std == pytest.approx(features.std(), rel=1e-6)
    assert (np.diff(axes.variances) <= 0).all()


def test_diverged_fit_is_no_result():
    rng = np.random.default_rng(0)
    features = 1e20 * rng.normal(size=(6, 5)).astype(np.float32)
    choices = ChoiceLikelihood(np.array([[0, 1, 2], [3, 4, 5]]), np.eye(3)[:2], 6)
    problem = Objective(features, choices, PENALTIES["hard"], 0.1)
    with np.errstate(all="ignore"), pytest.raises(RunError, match="the fit diverged"):
        solve(problem, 1.0, np.ones(5), 1e-6, 10)
