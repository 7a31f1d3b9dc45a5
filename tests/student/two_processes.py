"""Trains full and LoRA, with and without activation checkpointing, and writes the losses of all steps: started by
test_two_processes.py with one process and with two, the global batch being the same.

    accelerate launch tests/student/two_processes.py MODEL DATA LOSSES.json
"""

import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import load_from_disk
from peft import LoraConfig
from transformers import TrainingArguments

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import RunError
from hf_alignet.student import AlignTrainer, AlignTrainingArguments

# Its name from transformers 5.23 on, and before
CHECKPOINTING = next(
    name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(TrainingArguments, name)
)
GLOBAL_BATCH = 8


def train(model: str, data: Path, lora: bool, settings: dict, resume: str | None = None) -> AlignTrainer:
    encoder = VisionEncoder.from_pretrained(model)
    torch.manual_seed(0)
    if lora:
        encoder.add_lora(LoraConfig(r=2, target_modules="all-linear"))
    settings = {"max_steps": 4, "save_strategy": "no", "learning_rate": 1e-3, "logging_steps": 1} | settings
    args = AlignTrainingArguments(
        output_dir=str(data / "out"),
        per_device_train_batch_size=GLOBAL_BATCH // PartialState(cpu=True).num_processes,
        disable_tqdm=True,
        anchor_type="penalty",
        anchor_weight=0.1,
        **settings,
    )
    triplets, images = load_from_disk(data / "triplets")["train"], load_from_disk(data / "images")
    held_out = triplets.select(range(20))
    trainer = AlignTrainer(encoder, args, train_dataset=triplets, eval_dataset=held_out, images=images)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def run(*args, name: str = "loss", **options) -> list[float]:
    return [entry[name] for entry in train(*args, **options).state.log_history if name in entry]


def interpolations(model: str, data: Path) -> list[float | None]:
    """What is chosen after a short and after a long way; all processes then have the same weights."""
    chosen: list[float | None] = []
    for rate in (1e-5, 0.3):
        trainer = train(model, data, False, {"learning_rate": rate, "interpolation": "auto"})
        weights = torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]).numpy()
        found = trainer.interpolation, weights.tobytes()
        assert PartialState().num_processes == 1 or gather_object([found]) == 2 * [found]
        chosen.append(trainer.interpolation)
    return chosen


def divergence(model: str, data: Path) -> str:
    """What a process says when a loss is not finite."""
    try:
        run(model, data, False, {"learning_rate": 1e30, "logging_steps": 3})
    except RunError as error:
        return str(error)
    return ""


def main(model: str, data: str, out: str) -> None:
    losses = {
        f"{'lora' if lora else 'full'} {settings}": run(model, Path(data), lora, settings)
        for lora in (False, True)
        for settings in ({}, {CHECKPOINTING: True}, {"images_per_forward": 3})
    }
    # 40 triplets are five steps an epoch: resumed within the second
    long = {"max_steps": 9, "save_strategy": "steps", "save_steps": 7}
    losses["full whole"] = run(model, Path(data), False, long)
    losses["full resumed"] = run(model, Path(data), False, long, resume=str(Path(data) / "out" / "checkpoint-7"))
    evaluated = {"eval_strategy": "steps", "eval_steps": 1, "interpolation": 0.3}
    losses["full evaluated"] = run(model, Path(data), False, evaluated)
    losses["full exported"] = run(model, Path(data), False, evaluated, name="eval_loss")
    chosen = interpolations(model, Path(data))
    diverged = divergence(model, Path(data))
    assert PartialState().num_processes == 1 or gather_object([diverged]) == 2 * [diverged]
    if PartialState().is_main_process:
        found = {"processes": PartialState().num_processes, "losses": losses}
        found |= {"diverged": diverged, "interpolations": chosen}
        Path(out).write_text(json.dumps(found))
    PartialState().wait_for_everyone()  # a process that ends while the other still talks to it is aborted
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
