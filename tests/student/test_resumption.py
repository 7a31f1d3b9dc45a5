"""A run that goes on: with what it began with, from a whole checkpoint, and to its last step."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import save_file

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.storage import output_folder
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.student.checkpoints import find_checkpoint
from hf_alignet.triplets import TeacherVectors, triplets_from_arrays

STEPS = 3
SETTINGS: dict[str, Any] = {
    "max_steps": STEPS,
    "per_device_train_batch_size": 8,  # 5 steps in an epoch: the last step is in the midst of one
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
    "save_steps": 1,
    "student_temperature": "1.0",
    "disable_tqdm": True,
}


@pytest.fixture
def run(tiny_directory, images, triplets):
    """Trains into a directory, from its last checkpoint if it has one."""

    def train(directory: Path, encoder=None, train_dataset=triplets, pictures=images, lora_alpha=None, **settings):
        torch.manual_seed(0)
        encoder = encoder or VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
        if lora_alpha:
            encoder.add_lora(LoraConfig(r=2, target_modules="all-linear", lora_alpha=lora_alpha))
        args = AlignTrainingArguments(str(directory), **(SETTINGS | settings))
        trainer = AlignTrainer(encoder, args, train_dataset=train_dataset, images=pictures)
        trainer.train(resume_from_checkpoint=find_checkpoint(str(directory), "last"))
        return trainer

    return train


@pytest.fixture
def stopped(run, tmp_path):
    """The directory of a run that was stopped after its first step."""
    run(tmp_path / "run")
    for step in range(2, STEPS + 1):
        shutil.rmtree(tmp_path / "run" / f"checkpoint-{step}")
    return tmp_path / "run"


def others(tiny_directory, images: Dataset, triplets: Dataset) -> dict[str, tuple[dict[str, Any], str]]:
    """By what is another one: arguments of `run`, and the words about it."""
    rows, similarities = (np.asarray(triplets[name]) for name in ("triplet", "similarities"))
    doubled = triplets_from_arrays(rows, 2 * similarities)
    moved = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    with torch.no_grad():
        moved.model.get_parameter("layernorm.weight")[0] += 1e-3
    vectors = TeacherVectors(np.arange(24), np.random.default_rng(0).normal(size=(24, 4)), np.repeat(range(6), 4))
    return {
        "learning_rate": ({"learning_rate": 2e-3}, "`learning_rate` is 0.002, and was 0.001"),
        "batch": ({"gradient_accumulation_steps": 2}, "`batch_size` is 16, and was 8"),
        "seed": ({"seed": 7}, "`seed` is 7, and was 42"),
        "loss": ({"loss_type": "jsd"}, "`loss_type` is 'jsd', and was 'kl'"),
        "anchor": ({"anchor_weight": 0.5}, "`anchor_weight` is 0.5, and was 1.0"),
        "temperature": ({"student_temperature": "2"}, "`student_temperature` is 2.0, and was 1.0"),
        "model": ({"encoder": moved}, "the model has other weights at the start"),
        "adapter": ({"lora_alpha": 4}, "`adapter` is {'default': {'lora_alpha': 4"),
        "labels": (
            {"train_dataset": doubled},
            "the training triplets are others",
        ),
        "vectors": ({"train_dataset": vectors}, "the training triplets are others"),
        "pictures": ({"pictures": images.select(range(23, -1, -1))}, "the pictures are others"),
    }


def test_another_run_is_refused(stopped, run, tiny_directory, images, triplets):
    for changes, words in others(tiny_directory, images, triplets).values():
        with pytest.raises(InputError, match="checkpoint-1 is of another run: ") as error:
            run(stopped, **changes)
        assert words in str(error.value) and "\n" not in str(error.value)
    assert run(stopped).state.global_step == STEPS


def test_what_may_change_is_said(stopped, run, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = run(stopped, max_steps=4, logging_steps=2, interpolation=0.7, per_device_eval_batch_size=3)
    assert trainer.state.global_step == 4
    said = [record.getMessage() for record in caplog.records if "difference" in record.getMessage()]
    assert said == [
        "going on with a difference: `max_steps` is 4, and was 3",
        "going on with a difference: `interpolation` is 0.7, and was 'auto'",
    ]


def test_nothing_trains_beyond_the_last_step(run, tmp_path):
    first = run(tmp_path)
    again = run(tmp_path)
    assert again.state.global_step == STEPS
    for ours, theirs in zip(again.model.parameters(), first.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert [path.name for path in tmp_path.glob("checkpoint-*")].count(f"checkpoint-{STEPS + 1}") == 0


@pytest.mark.parametrize(
    "file", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "model.safetensors", "run.json"]
)
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_damaged_checkpoints_are_one_line(file, damage, stopped, run):
    path = stopped / "checkpoint-1" / file
    if damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.unlink()
    if (file, damage) == ("run.json", "missing"):  # as version 0.2 wrote it
        assert run(stopped).state.global_step == STEPS
        return
    with pytest.raises(InputError, match="checkpoint-1 is (damaged|no whole checkpoint|not a checkpoint)") as error:
        run(stopped)
    assert "\n" not in str(error.value)


def test_weights_of_another_architecture_are_refused(stopped, run):
    save_file({"something": torch.zeros(3)}, stopped / "checkpoint-1" / "model.safetensors")
    with pytest.raises(InputError, match="lacks .* weights of the model"):
        run(stopped)


def test_a_checkpoint_says_numbers_and_hashes_only(stopped):
    said = (stopped / "checkpoint-1" / "run.json").read_text()
    assert str(stopped.parent) not in said and json.loads(said)["learning_rate"] == 1e-3


def test_folders_of_the_user_are_no_checkpoints(run, tmp_path):
    with output_folder(tmp_path, "align"):
        for name in ("checkpoint-final", "checkpoint-best", "checkpoint-٣"):
            (tmp_path / name).mkdir()
    assert find_checkpoint(str(tmp_path), "last") is None
    run(tmp_path)
    assert find_checkpoint(str(tmp_path), "last") == str(tmp_path / f"checkpoint-{STEPS}")


def test_without_a_checkpoint_nothing_goes_on(run, triplets, images, tiny_directory, tmp_path):
    args = AlignTrainingArguments(str(tmp_path), **SETTINGS)
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
    with pytest.raises(InputError, match="holds no checkpoint to go on from"):
        trainer.train(resume_from_checkpoint=True)
    with pytest.raises(InputError, match="nowhere is no whole checkpoint"):
        trainer.train(resume_from_checkpoint="nowhere")
