import itertools
import math

import pytest
import torch

from hf_alignet.similarity import PAIRS, odd_one_out
from hf_alignet.student import in_batch
from hf_alignet.student.criterion import Criterion
from hf_alignet.student.in_batch import mean_over_triplets
from hf_alignet.student.in_batch_kernel import sums_on_gpu

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel needs an NVIDIA GPU")


def batch(number, dtype):
    """Embeddings of a student, and similarities of a teacher of which many are equal."""
    generator = torch.Generator().manual_seed(number)
    vectors = torch.randint(-1, 2, (number, 3), generator=generator).to(dtype)
    return torch.randn(number, 6, generator=generator, dtype=dtype).requires_grad_(), vectors @ vectors.T


def listed(criterion, embeddings, teacher, temperature):
    """The same from a list of all triplets."""
    triplets = torch.tensor(list(itertools.combinations(range(len(embeddings)), 3)))
    target = torch.stack([teacher[triplets[:, i], triplets[:, j]] for i, j in PAIRS], -1)
    if criterion.loss_type == "hard":
        target = odd_one_out(target)
        triplets, target = triplets[target >= 0], target[target >= 0]
    return criterion.measure(criterion.similarities(embeddings, triplets), target, temperature)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("loss_type", ["kl", "jsd", "hard"])
def test_loss_metrics_and_gradient_are_those_of_a_list_of_all_triplets(loss_type, similarity, dtype, monkeypatch):
    monkeypatch.setattr(in_batch, "BLOCK", 500)  # some blocks of several images, and some of one
    criterion = Criterion(loss_type, similarity, 1.5)
    for number in (5, 12, 29):
        embeddings, teacher = batch(number, dtype)
        expected = listed(criterion, embeddings, teacher, 0.7)
        measured = criterion.measure_batch(embeddings, teacher, 0.7)
        assert measured.keys() == expected.keys()
        for name, value in expected.items():
            assert measured[name].item() == pytest.approx(value.item(), rel=1e-6, abs=1e-7), name
        ours, theirs = (torch.autograd.grad(3 * each["loss"], embeddings)[0] for each in (measured, expected))
        assert (ours - theirs).norm() <= 1e-6 * theirs.norm() + 1e-12


@pytest.mark.parametrize("loss_type", ["kl", "jsd", "hard"])
def test_similarities_of_any_size_have_a_finite_loss_and_gradient(loss_type):
    _, teacher = batch(9, torch.float32)
    student = (400 * torch.randn(9, 9)).requires_grad_()
    loss = mean_over_triplets(student, 200 * teacher, loss_type, 1.0, 1.0)["loss"]
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all() and student.grad.any()
    assert not student.grad.tril().any()


def test_a_similarity_that_is_no_number_shows_in_the_loss():
    embeddings, teacher = batch(9, torch.float32)
    student = (embeddings @ embeddings.T).detach()
    student[2, 5] = math.nan
    measured = mean_over_triplets(student, teacher, "kl", 1.0, 1.0)
    assert math.isnan(measured["loss"]) and measured["agreement"] <= 1


@on_gpu
@pytest.mark.parametrize("number", [3, 17, 130])
@pytest.mark.parametrize("loss_type", ["kl", "jsd", "hard"])
def test_kernel_gives_the_sums_of_the_blocks(loss_type, number):
    embeddings, teacher = batch(number, torch.float32)
    student, teacher = (matrix.detach().cuda() for matrix in (embeddings @ embeddings.T, teacher))
    student, teacher = in_batch._mirrored(student), in_batch._mirrored(teacher)
    sums, gradient = sums_on_gpu(student, teacher, loss_type, 0.7, 1.5)
    expected = in_batch._sums_in_blocks(student.double(), teacher.double(), loss_type, 0.7, 1.5)
    torch.testing.assert_close(sums.double(), expected[0], rtol=1e-5, atol=1e-5)
    assert (gradient - expected[1]).norm() <= 1e-5 * expected[1].norm()
    assert torch.equal(sums_on_gpu(student, teacher, loss_type, 0.7, 1.5)[1], gradient)
