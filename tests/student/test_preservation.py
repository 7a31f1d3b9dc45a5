"""What keeps the neighbours of the base: its loss, its place in the trainer, and a run that goes on."""

import math
import shutil

import numpy as np
import pytest
import torch
from peft import LoraConfig

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.student.preservation import PERPLEXITY, cosines_to_others, local_temperature, neighbour_kl
from hf_alignet.triplets import TeacherVectors


def randn(number, dim, seed=0, dtype=torch.float64):
    return torch.randn(number, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive(student, base):
    """Image by image, with a temperature from a fine grid instead of a bisection."""
    values = []
    for i in range(len(base)):
        p_cos, q_cos = (
            [float(x[i] @ x[j] / (x[i].norm() * x[j].norm())) for j in range(len(x)) if j != i]
            for x in (base, student)
        )

        def softmax(cosines, temperature):
            largest = max(cosines)
            powers = [math.exp((c - largest) / temperature) for c in cosines]
            return [power / sum(powers) for power in powers]

        wanted = math.log(min(PERPLEXITY, len(p_cos) / 2))
        gaps = []
        for log_temperature in np.linspace(-6, 3, 9001):
            p = softmax(p_cos, math.exp(log_temperature))
            gaps.append((abs(-sum(x * math.log(x) for x in p if x > 0) - wanted), math.exp(log_temperature)))
        temperature = min(gaps)[1]
        p, q = softmax(p_cos, temperature), softmax(q_cos, temperature)
        values.append(sum(x * math.log(x / y) for x, y in zip(p, q, strict=True) if x > 0))
    return values


@pytest.mark.parametrize("number", [4, 9])
def test_loss_is_that_of_a_plain_loop(number):
    student, base = randn(number, 3, 1), randn(number, 5, 2)
    assert neighbour_kl(student, base).tolist() == pytest.approx(naive(student, base), rel=5e-3)


def test_gradient_is_exact_and_reaches_the_student_alone():
    student, base = randn(6, 3, 1).requires_grad_(), randn(6, 4, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: neighbour_kl(x, base.detach()), student)
    neighbour_kl(student, base.detach()).sum().backward()
    assert student.grad.any() and base.grad is None


def test_the_base_itself_or_any_turned_or_larger_copy_has_no_loss():
    base = randn(12, 4)
    turn = torch.linalg.qr(randn(4, 4, 3))[0]
    for student in (base, 7 * base, base @ turn):
        assert neighbour_kl(student, base).abs().max() < 1e-12
    assert neighbour_kl(base.flip(0), base).min() > 0.01


def test_every_image_has_as_many_neighbours():
    cosines = cosines_to_others(torch.cat([randn(20, 6), 1.5 + randn(20, 6, 1)]))  # some are denser than others
    temperature = local_temperature(cosines)
    assert temperature.max() > 1.5 * temperature.min()
    log_p = torch.log_softmax(cosines / temperature, dim=-1)
    assert (-(log_p.exp() * log_p).sum(-1)).exp().numpy() == pytest.approx(PERPLEXITY, rel=1e-3)


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e15])
def test_collapsed_and_huge_embeddings_have_a_finite_loss_and_gradient(scale):
    student = (scale * randn(8, 3, dtype=torch.float32)).requires_grad_()
    for base in (randn(8, 3, 1, torch.float32), torch.ones(8, 3)):
        loss = neighbour_kl(student, base).sum()
        (gradient,) = torch.autograd.grad(loss, student)
        assert torch.isfinite(loss) and torch.isfinite(gradient).all()


def test_computes_in_float32_under_autocast_and_two_images_have_nothing_to_keep():
    student, base = randn(9, 4, 1, torch.float32), randn(9, 4, 2, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = neighbour_kl(student.bfloat16(), base)
    assert found.dtype == torch.float32
    assert torch.equal(found, neighbour_kl(student.bfloat16().float(), base))
    assert neighbour_kl(student[:2], base[:2]).tolist() == [0, 0]


@pytest.fixture
def train(tiny_directory, tmp_path, images, triplets):
    vectors = TeacherVectors(np.arange(24), np.random.default_rng(0).normal(size=(24, 4)), np.repeat(range(6), 4))

    def run(name, source="separate", lora=False, resume=None, **settings):
        torch.manual_seed(0)
        encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
        if lora:
            encoder.add_lora(LoraConfig(r=2, target_modules="all-linear"))
        given = {"per_device_train_batch_size": 8, "max_steps": 3, "learning_rate": 1e-3, "student_temperature": "1.0"}
        given |= {
            "save_steps": 1,
            "disable_tqdm": True,
            "logging_steps": 1,
            "interpolation": 1.0,
            "preserve_weight": 1.0,
        }
        args = AlignTrainingArguments(str(tmp_path / name), **(given | settings))
        data = triplets if source == "separate" else vectors
        trainer = AlignTrainer(encoder, args, train_dataset=data, images=images)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return run


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize(("source", "lora"), [("separate", False), ("batch", True)])
def test_a_student_that_keeps_neighbours_is_nearer_to_them(train, source, lora):
    settings = {"save_strategy": "no", "max_steps": 6, "learning_rate": 3e-4}
    free, kept = (train(f"weight {w}", source, lora, preserve_weight=w, **settings) for w in (0.0, 5.0))
    assert free.preservation is None and free.alignment()["preserve_weight"] == 0
    rows, base = kept.preservation.rows.numpy(), kept.preservation.embeddings
    lost = [neighbour_kl(trainer._embed(rows), base).mean() for trainer in (free, kept)]
    assert lost[1] < 0.9 * lost[0]
    logged = [entry["loss_preserve"] for entry in kept.state.log_history if "loss_preserve" in entry]
    assert logged[0] == pytest.approx(0, abs=1e-3) and logged[-1] > 0  # the first step sees the base itself


def test_a_run_that_goes_on_ends_where_one_without_a_stop_does(train, tmp_path):
    whole = weights(train("run"))
    for step in (2, 3):
        shutil.rmtree(tmp_path / "run" / f"checkpoint-{step}")
    checkpoint = str(tmp_path / "run" / "checkpoint-1")
    assert torch.equal(weights(train("run", resume=checkpoint)), whole)
    for step in (2, 3):
        shutil.rmtree(tmp_path / "run" / f"checkpoint-{step}")
    with pytest.raises(InputError, match="`preserve_weight` is 2.0, and was 1.0"):
        train("run", resume=checkpoint, preserve_weight=2.0)


def test_what_it_cannot_work_with_is_refused(train):
    with pytest.raises(InputError, match="`projection_dim=8` trains a head"):
        train("head", projection_dim=8)
    trainer = train("known")
    with pytest.raises(InputError, match="`data_collator` gives no 'rows'"):
        trainer.preservation.loss(torch.zeros(4, 3), {"images": {}})
