"""Losses that are not finite: found without waiting for the device at every step, and never in a checkpoint."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import RunError
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.student.log_window import NEVER, LogWindow


@pytest.fixture
def make_trainer(tiny_directory, images, triplets, tmp_path):
    def make(**settings):
        encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
        defaults = {
            "max_steps": 8,
            "per_device_train_batch_size": 2,
            "optim": "sgd",  # on a CPU, AdamW reads its count of steps
            "learning_rate": 1e-4,
            "warmup_steps": 0,
            "logging_steps": 4,
            "save_strategy": "no",
            "student_temperature": "20",
            "disable_tqdm": True,
        }
        args = AlignTrainingArguments(str(tmp_path / "out"), **(defaults | settings))
        return AlignTrainer(encoder, args, train_dataset=triplets, images=images)

    return make


class CountReads(TorchDispatchMode):
    """Counts how often Python reads a number from a tensor, for which it waits until a GPU is done."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("settings", [{}, {"anchor_type": "penalty"}, {"gradient_accumulation_steps": 2}])
def test_only_logs_wait_for_the_device(settings, make_trainer):
    reads = {}
    for steps, logging_steps in ((4, 4), (8, 8), (8, 4)):
        trainer = make_trainer(max_steps=steps, logging_steps=logging_steps, **settings)
        with CountReads() as counter:
            trainer.train()
        reads[steps, logging_steps] = counter.number
    assert reads[8, 8] == reads[4, 4]  # no read in the four steps more
    assert reads[8, 4] > reads[8, 8]  # nor would this test see none at all


class Poison(TrainerCallback):
    """Makes one weight NaN after a step, and then what it was before."""

    def __init__(self, encoder, step: int, is_healed: bool):
        self.weight, self.step, self.is_healed = encoder.model.layernorm.weight, step, is_healed

    @torch.no_grad()
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.before = [parameter.clone() for parameter in kwargs["model"].parameters()]
            self.weight[0] = math.nan
        if state.global_step == self.step + 1 and self.is_healed:
            for parameter, before in zip(kwargs["model"].parameters(), self.before, strict=True):
                parameter.copy_(before)


@pytest.mark.parametrize("is_healed", [False, True])  # every later loss is bad, or this one alone
@pytest.mark.parametrize(
    ("settings", "last_step", "checkpoint"),
    [
        ({}, 8, None),  # the next log
        ({"logging_steps": 1}, 6, None),
        ({"logging_steps": 100}, 8, None),  # the end of training
        ({"logging_steps": 100, "logging_first_step": True}, 8, None),
        ({"logging_steps": 100, "save_strategy": "steps", "save_steps": 3}, 6, "checkpoint-3"),
        ({"logging_steps": 100, "gradient_accumulation_steps": 2, "num_train_epochs": 2}, 8, None),
    ],
)
def test_first_bad_step_is_named(is_healed, settings, last_step, checkpoint, make_trainer):
    trainer = make_trainer(**settings)
    trainer.add_callback(Poison(trainer.model, 5, is_healed))
    good = f"; the last good checkpoint is {trainer.output_dir}/{checkpoint}" if checkpoint else ""
    with pytest.raises(RunError) as error:
        trainer.train()
    assert str(error.value) == f"the loss is not finite at step 6: try a lower `learning_rate`{good}"
    assert trainer.state.global_step == last_step
    assert [path.name for path in trainer.output_dir.glob("checkpoint-*")] == ([checkpoint] if checkpoint else [])


def test_window_remembers_the_first_bad_step():
    window = LogWindow(torch.device("cpu"))
    for step, loss in enumerate([1.0, math.inf, 2.0, math.nan, 3.0], start=7):
        assert window.first_bad_step.item() == (NEVER if step <= 8 else 8)
        window.add(torch.tensor(loss), step, {"agreement": torch.tensor(float(step))}, images=3, triplets=5)
    assert window.first_bad_step.item() == 8
    logs = window.means_and_rates(lambda values, reduction: 2 * values if reduction == "sum" else values)
    assert logs["agreement"] == 9.0
    assert logs["triplets_per_second"] / logs["images_per_second"] == pytest.approx(5 / 3)
    assert LogWindow(torch.device("cpu")).means_and_rates(lambda values, reduction: values) == {}
