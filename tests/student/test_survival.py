"""Runs that are killed, run out of disk, diverge or stop early: what is on the disk afterwards, and how they go on."""

import json
import math
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig
from transformers import TrainerCallback

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError, RunError
from hf_alignet.storage import UNFINISHED, output_folder
from hf_alignet.student import AlignTrainer, AlignTrainingArguments, encoder_trainer
from hf_alignet.student.checkpoints import find_checkpoint, rotate


def arguments(directory, **settings) -> AlignTrainingArguments:
    defaults: dict[str, Any] = {
        "max_steps": 4,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "disable_tqdm": True,
        "student_temperature": "1.0",
        "interpolation": 1.0,
        "last_blocks": "all",
    }
    return AlignTrainingArguments(output_dir=str(directory), **(defaults | settings))


def weights(encoder):
    return {name: parameter.detach().cpu().clone() for name, parameter in encoder.model.named_parameters()}


@pytest.fixture
def make_trainer(tiny_directory, images, triplets):
    def make(directory, lora=False, **settings):
        torch.manual_seed(0)
        encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
        if lora:
            encoder.add_lora(LoraConfig(r=2, target_modules="all-linear"))
        return AlignTrainer(
            encoder,
            arguments(directory, **settings),
            train_dataset=triplets,
            eval_dataset=triplets.select(range(20)),
            images=images,
        )

    return make


def checkpoints(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.is_dir())


def killed_while(work) -> int:
    """Runs `work` in a process of its own, and returns the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)  # without the clean-up of pytest, whatever happened
    return os.waitpid(child, 0)[1]


def kill_at_call(monkeypatch, owner, name, number):
    """kill -9 of this process at the given call of a function, before it does anything."""
    function, calls = getattr(owner, name), []

    def killing(*args, **kwargs):
        calls.append(name)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, killing)


@pytest.mark.cpu  # a GPU does not go along when a process is copied
@pytest.mark.multi_process
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize(
    ("where", "number", "left"),
    [
        ("torch.optim.AdamW.step", 4, ["checkpoint-1", "checkpoint-2", "checkpoint-3"]),
        ("torch.save", 8, [UNFINISHED, "checkpoint-1", "checkpoint-2"]),  # optimiser, scheduler and generators each
        ("encoder_trainer.publish", 1, [UNFINISHED]),
    ],
)
def test_killed_run_goes_on_to_the_same_weights(where, number, left, lora, make_trainer, monkeypatch, tmp_path):
    whole = make_trainer(tmp_path / "whole", lora)
    whole.train()
    with monkeypatch.context() as patch:
        module, _, name = where.rpartition(".")
        kill_at_call(
            patch,
            {"torch": torch, "torch.optim.AdamW": torch.optim.AdamW, "encoder_trainer": encoder_trainer}[module],
            name,
            number,
        )
        assert killed_while(lambda: make_trainer(tmp_path / "killed", lora).train()) == signal.SIGKILL
    assert checkpoints(tmp_path / "killed") == left
    again = make_trainer(tmp_path / "killed", lora)
    again.train(resume_from_checkpoint=find_checkpoint(str(tmp_path / "killed"), "last"))
    assert again.state.global_step == 4
    ours, theirs = weights(again.model), weights(whole.model)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert checkpoints(tmp_path / "killed") == [f"checkpoint-{step}" for step in (1, 2, 3, 4)]


class LimitFileSize(TrainerCallback):
    """From a step on, no file may grow beyond some bytes: a write fails as it does on a full disk."""

    def __init__(self, step: int, limit: int):
        self.step, self.limit = step, limit

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, resource.RLIM_INFINITY))


@pytest.mark.parametrize("limit", [30_000, 150_000])  # bytes: the weights do not fit, or the optimiser does not
def test_full_disk_keeps_the_last_checkpoint(limit, make_trainer, tmp_path):
    trainer = make_trainer(tmp_path / "run")
    trainer.add_callback(LimitFileSize(3, limit))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(RunError, match="cannot write to .*run"):
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert checkpoints(tmp_path / "run") == ["checkpoint-1", "checkpoint-2"]
    again = make_trainer(tmp_path / "run")
    again.train(resume_from_checkpoint=find_checkpoint(str(tmp_path / "run"), "last"))
    assert again.state.global_step == 4


class Poison(TrainerCallback):
    """Makes one weight NaN after a step."""

    def __init__(self, encoder, step: int):
        self.encoder, self.step = encoder, step

    @torch.no_grad()
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.encoder.model.layernorm.weight[0] = math.nan


@pytest.mark.parametrize("save_steps", [1, 2])  # the weights are saved next, or used next
def test_weights_that_are_not_finite_are_never_saved(save_steps, make_trainer, tmp_path):
    trainer = make_trainer(tmp_path, save_steps=save_steps, save_total_limit=1)
    trainer.add_callback(Poison(trainer.model, step=3))
    with pytest.raises(
        RunError, match=r"(a weight is not finite after step 3|the loss is not finite at step 4): .*checkpoint-2$"
    ):
        trainer.train()
    assert checkpoints(tmp_path) == ["checkpoint-2"]


def test_best_model_by_agreement_is_kept_and_the_run_stops(make_trainer, tmp_path):
    trainer = make_trainer(
        tmp_path,
        early_stopping_patience=2,
        eval_strategy="steps",
        eval_steps=1,
        save_total_limit=1,
        max_steps=50,
        warmup_steps=0,
    )
    values = iter([0.4, 0.6, 0.5, 0.6, 0.9])
    evaluation_loop = trainer.evaluation_loop

    def measured(*args, **kwargs):
        output = evaluation_loop(*args, **kwargs)
        output.metrics["eval_agreement"] = next(values)
        return output

    trainer.evaluation_loop = measured
    best = {}

    class Remember(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                best.update(weights(trainer.model))

    trainer.add_callback(Remember())
    trainer.train()
    assert trainer.state.global_step == 4  # two evaluations in a row were no better than that of step 2
    assert trainer.state.best_metric == pytest.approx(0.6)
    assert checkpoints(tmp_path) == ["checkpoint-2"]
    assert all(torch.equal(tensor, best[name]) for name, tensor in weights(trainer.model).items())
    saved = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())
    assert saved["best_model_checkpoint"] == str(tmp_path / "checkpoint-2")


def test_best_checkpoint_is_found_after_the_run_has_moved(make_trainer, tmp_path):
    settings = {"eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True, "save_total_limit": 2}
    values = [0.9, 0.5, 0.5, 0.5]
    for directory, steps in (("before", 2), ("after", 4)):
        trainer = make_trainer(tmp_path / directory, max_steps=4, **settings)
        evaluation_loop = trainer.evaluation_loop

        def measured(*args, evaluation_loop=evaluation_loop, trainer=trainer, **kwargs):
            output = evaluation_loop(*args, **kwargs)
            output.metrics["eval_agreement"] = values[trainer.state.global_step - 1]
            return output

        trainer.evaluation_loop = measured
        if directory == "before":
            trainer.add_callback(StopAfter(steps))
            trainer.train()
            (tmp_path / "before").rename(tmp_path / "after")
        else:
            trainer.train(resume_from_checkpoint=find_checkpoint(str(tmp_path / "after"), "last"))
    assert checkpoints(tmp_path / "after") == ["checkpoint-1", "checkpoint-4"]
    assert trainer.state.best_model_checkpoint == str(tmp_path / "after" / "checkpoint-1")


class StopAfter(TrainerCallback):
    """As if interrupted after a step and its checkpoint."""

    def __init__(self, step: int):
        self.step = step

    def on_save(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_training_stop = True


def test_best_model_of_several_held_out_sets_is_by_their_mean(make_trainer, triplets, tmp_path):
    trainer = make_trainer(tmp_path, save_strategy="no")
    trainer.eval_dataset = {"near": triplets.select(range(10)), "far": triplets.select(range(10, 40))}
    metrics = trainer.evaluate()
    for name in ("agreement", "loss"):
        assert metrics[f"eval_{name}"] == (metrics[f"eval_near_{name}"] + metrics[f"eval_far_{name}"]) / 2


def test_early_stopping_needs_evaluations(tmp_path):
    with pytest.raises(
        InputError, match="`early_stopping_patience=2` needs evaluations: set `eval_strategy` to steps or epoch"
    ):
        arguments(tmp_path, early_stopping_patience=2)


# ---- the parts


def test_last_is_the_beginning_of_a_run_that_was_killed_before_a_checkpoint(tmp_path):
    assert find_checkpoint(str(tmp_path / "new"), "last") is None
    (tmp_path / UNFINISHED / "checkpoint-1").mkdir(parents=True)
    assert find_checkpoint(str(tmp_path), "last") is None
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match="is not empty, but holds no checkpoint"):
        find_checkpoint(str(tmp_path), "last")


@pytest.mark.parametrize(
    ("limit", "best", "kept"),
    [
        (None, None, [2, 9, 10, 11]),
        (1, None, [11]),
        (2, None, [10, 11]),
        (1, 2, [2, 11]),
        (2, 2, [2, 11]),
        (3, 2, [2, 10, 11]),
        (2, 11, [10, 11]),
        (9, 2, [2, 9, 10, 11]),
    ],
)
def test_oldest_checkpoints_go_but_never_the_best(limit, best, kept, tmp_path):
    others = [f"checkpoint-{name}" for name in ("best", "final", "9-backup", "", "x-9", "\u0663")]
    for name in (*others, *(f"checkpoint-{step}" for step in (2, 9, 10, 11)), UNFINISHED):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-12").touch()
    rotate(tmp_path, limit, best and f"elsewhere/checkpoint-{best}")
    expected = {UNFINISHED, "checkpoint-12", *others, *(f"checkpoint-{step}" for step in kept)}
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_folders_of_other_names_are_no_checkpoints(make_trainer, tmp_path):
    directory = tmp_path / "run"
    with output_folder(directory, "align"):
        for name in ("checkpoint-best", "checkpoint-final", "checkpoint-1-backup"):
            (directory / name).mkdir()
    make_trainer(
        directory, save_total_limit=1, eval_strategy="steps", eval_steps=1, load_best_model_at_end=True
    ).train()
    steps = [name for name in checkpoints(directory) if name[-1].isdigit()]
    assert "checkpoint-4" in steps and len(steps) <= 2  # the last and the best
    assert set(checkpoints(directory)) - set(steps) == {"checkpoint-best", "checkpoint-final", "checkpoint-1-backup"}
    assert find_checkpoint(str(directory), "last") == f"{directory}/checkpoint-4"
    again = make_trainer(directory, max_steps=5)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 5


# ---- slices


@pytest.mark.parametrize("family", ["dinov2", "clip", "siglip2", "swin"])
@pytest.mark.parametrize("lora", [False, True])
def test_slices_give_the_same_gradients(family, lora, tiny_directory, images, triplets, tmp_path):
    gradients = []
    for size in (None, 1, 5, 100):
        torch.manual_seed(0)
        encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
        if lora:
            encoder.add_lora(LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
        args = arguments(tmp_path, images_per_forward=size, save_strategy="no")
        trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
        encoder.double()  # or what is left is rounding, which differs between CPUs
        batch = trainer.data_collator([triplets[i] for i in range(12)])
        assert len(batch["images"]["pixel_values"]) > 10
        batch["images"] = encoder.preprocessor.normalize(batch["images"])
        batch["images"]["pixel_values"] = batch["images"]["pixel_values"].double()
        trainer.compute_loss(encoder, trainer._prepare_inputs(batch)).backward()
        gradients.append({n: p.grad for n, p in encoder.model.named_parameters() if p.requires_grad})
    largest = max(gradient.abs().max().item() for gradient in gradients[0].values())
    for others in gradients[1:]:
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-5 * largest)


def test_slices_have_the_dropout_of_their_own_forward_pass(tiny_directory, images):
    """The second pass over a slice has to drop what the first one did: else the gradient is of another function."""
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2"))).train()
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    pixels = encoder.preprocessor.stack(images["image"][:6])["pixel_values"]
    weight = encoder.model.get_parameter("encoder.layer.0.mlp.fc1.weight")
    start, direction = weight.detach().clone(), torch.randn_like(weight)
    goal = torch.randn(6, encoder.embedding_dim)

    def loss(shift=0.0):
        torch.manual_seed(3)
        weight.data = start + shift * direction
        return (encoder(pixels, images_per_forward=2) * goal).sum()

    loss().backward()
    slope = (loss(1e-3) - loss(-1e-3)).item() / 2e-3
    assert (weight.grad * direction).sum().item() == pytest.approx(slope, rel=1e-2)
    assert torch.equal(loss(), loss()) and not torch.equal(encoder(pixels), encoder(pixels))


def test_slices_are_refused_where_the_batch_has_statistics(tiny_directory, images, triplets, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("resnet")))
    with pytest.raises(InputError, match="batch normalisation"):
        AlignTrainer(encoder, arguments(tmp_path, images_per_forward=4), train_dataset=triplets, images=images)


def test_slices_train_the_same_model(make_trainer, tmp_path):
    runs = {}
    for size in (None, 3):
        trainer = make_trainer(tmp_path / str(size), images_per_forward=size, save_strategy="no")
        trainer.train()
        runs[size] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    np.testing.assert_allclose(runs[None], runs[3], rtol=1e-5)
