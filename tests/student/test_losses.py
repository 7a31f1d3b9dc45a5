import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_alignet.similarity import odd_one_out, pairwise_similarities
from hf_alignet.student import triplet_hard, triplet_jsd, triplet_kl

LOSSES = {"kld": triplet_kl, "jsd": triplet_jsd}


@pytest.fixture(scope="module")
def golden():
    """Inputs and outputs of the released AligNet functions, see the README beside the file."""
    file = Path(__file__).parents[1] / "golden" / "golden_alignet.npz"
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def similarities(golden, dtype, normalize, rows=slice(None)):
    logits = torch.from_numpy(golden["logits"][rows]).to(dtype).requires_grad_()
    return logits, pairwise_similarities(logits, "cosine" if normalize else "dot")


@pytest.mark.parametrize("normalize", [0, 1])
@pytest.mark.parametrize("temperature", [1, 100])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_losses_equal_the_released_ones(golden, name, temperature, normalize, dtype, tolerance):
    suffix = "_f64" if dtype == torch.float64 else ""
    expected = golden[f"{name}_tau{temperature}_norm{normalize}{suffix}"]
    logits, student = similarities(golden, dtype, normalize)
    loss = LOSSES[name](student, torch.from_numpy(golden["target"]).to(dtype), temperature)
    finite = np.isfinite(expected)
    assert finite.sum() >= 62
    np.testing.assert_allclose(loss.detach().numpy()[finite], expected[finite], rtol=tolerance, atol=tolerance)
    # where theirs is NaN or inf, and everywhere else, ours is finite, and so is its gradient
    assert loss.isfinite().all()
    loss.sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("normalize", [0, 1])
@pytest.mark.parametrize("temperature", [1, 100])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_the_released_ones(golden, name, temperature, normalize):
    expected = golden[f"grad_{name}_tau{temperature}_norm{normalize}"]
    logits, student = similarities(golden, torch.float32, normalize, slice(7, None))
    LOSSES[name](student, torch.from_numpy(golden["target"][7:]), temperature).mean().backward()
    np.testing.assert_allclose(logits.grad, expected, rtol=1e-4, atol=1e-7)


def test_accuracy_equals_the_released_one(golden):
    _, student = similarities(golden, torch.float32, False)
    np.testing.assert_array_equal(odd_one_out(student) == 2, golden["acc_values"])


def naive(student, teacher, tau, name):
    q = [math.exp(s / tau) for s in student]
    p = [math.exp(s) for s in teacher]
    q, p = [x / sum(q) for x in q], [x / sum(p) for x in p]
    if name == "kld":
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return 0.5 * sum(a * math.log(a / c) + b * math.log(b / c) for a, b, c in zip(p, q, m, strict=True))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_equal_a_loop(name):
    rng = np.random.default_rng(0)
    student, teacher = torch.from_numpy(rng.normal(size=(2, 30, 3)))
    ours = LOSSES[name](student, teacher, 0.7)
    expected = [naive(s, t, 0.7, name) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    np.testing.assert_allclose(ours, expected, rtol=1e-10)


def test_hard_loss_is_the_likelihood_of_the_kept_pair():
    student = torch.randn(20, 3, dtype=torch.float64)
    odd = torch.arange(20) % 3
    p = torch.softmax(student / 0.5, -1)
    kept = [p[i, 2 - o].item() for i, o in enumerate(odd.tolist())]
    np.testing.assert_allclose(triplet_hard(student, odd, 0.5), -np.log(kept), rtol=1e-12)


@pytest.mark.parametrize("loss", [triplet_kl, triplet_jsd])
def test_gradcheck(loss):
    student, teacher = torch.randn(2, 5, 3, dtype=torch.float64)
    torch.autograd.gradcheck(lambda s: loss(s, teacher, 0.3, 2.0), student.requires_grad_())


@pytest.mark.parametrize("loss", [triplet_kl, triplet_jsd])
def test_zero_at_the_teacher_and_positive_elsewhere(loss):
    teacher = torch.randn(50, 3)
    assert loss(teacher + 3.0, teacher).abs().max() < 1e-6
    assert loss(teacher.roll(1, 0), teacher).min() > 0


@pytest.mark.parametrize("loss", [triplet_kl, triplet_jsd])
def test_extreme_inputs_and_empty_batch_stay_finite(loss):
    student = torch.tensor([[1e30, -1e30, 0.0], [0.0, 0.0, 0.0], [88.0, -200.0, 1e5]], requires_grad=True)
    value = loss(student, torch.tensor([[-500.0, 500.0, 0.0]]).expand(3, 3))
    value[1:].sum().backward()
    assert value.isfinite().all() and student.grad.isfinite().all()
    empty = torch.zeros(0, 3, requires_grad=True)
    loss(empty, torch.zeros(0, 3)).sum().backward()
    assert empty.grad.shape == (0, 3)


def test_float32_under_autocast():
    student, teacher = torch.randn(2, 10, 3)
    with torch.autocast("cpu", torch.bfloat16):
        value = triplet_kl(student.bfloat16(), teacher)
    assert value.dtype == torch.float32
