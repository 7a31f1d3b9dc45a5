"""Trains full and LoRA, with and without activation checkpointing, and writes the losses of all steps: started by
test_two_processes.py with one process and with two, the global batch being the same.

    accelerate launch tests/student/two_processes.py MODEL DATA LOSSES.json
"""

import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import load_from_disk
from peft import LoraConfig
from transformers import TrainingArguments

from hf_alignet.encoder.model import VisionEncoder
from hf_alignet.student import AlignTrainer, AlignTrainingArguments

# Its name from transformers 5.23 on, and before
CHECKPOINTING = next(
    name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(TrainingArguments, name)
)
GLOBAL_BATCH = 8


def run(model: str, data: Path, lora: bool, settings: dict, resume: str | None = None) -> list[float]:
    encoder = VisionEncoder.from_pretrained(model)
    torch.manual_seed(0)
    if lora:
        encoder.add_lora(LoraConfig(r=2, target_modules="all-linear"))
    args = AlignTrainingArguments(
        output_dir=str(data / "out"),
        per_device_train_batch_size=GLOBAL_BATCH // PartialState(cpu=True).num_processes,
        learning_rate=1e-3,
        logging_steps=1,
        disable_tqdm=True,
        anchor_type="penalty",
        anchor_weight=0.1,
        **({"max_steps": 4, "save_strategy": "no"} | settings),
    )
    trainer = AlignTrainer(
        encoder, args, train_dataset=load_from_disk(data / "triplets")["train"], images=load_from_disk(data / "images")
    )
    trainer.train(resume_from_checkpoint=resume)
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


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
    if PartialState().is_main_process:
        Path(out).write_text(json.dumps({"processes": PartialState().num_processes, "losses": losses}))
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
