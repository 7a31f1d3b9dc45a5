"""Makes the checkpoints of an ablation from a list of runs in YAML. A checkpoint that is there is not made again.

    python recipes/study/train.py recipes/study/emoji.yaml

The file has `output_dir`, `model` (the base; by default the demo's encoder), `images`, `settings` of all runs (those
of `AlignTrainingArguments`) and `runs`, by name. A run has

- `triplets`, a path; or `make_triplets`, arguments of `hf_alignet.make_triplets` such as `features` and `sampling`;
- `num_triplets`, `num_images`: only the first so many, and only triplets of so many images drawn at random;
- `settings` that differ, `lora_r`, the rank of an adapter, which is merged, and `model`, another base;
- `shares`, how far from the base to the trained weights its checkpoints are. That of 1 has the run's name, and another
  one the name with its share, such as `people-0.4`. They cost no more training;
- `train: false`, to keep the base as it is.
"""

import argparse
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed

from hf_alignet import make_triplets
from hf_alignet.demo import ENCODER_DIRECTORY
from hf_alignet.errors import InputError
from hf_alignet.images.opening import load_images
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.student.preparation import load_student
from hf_alignet.text_files import load_yaml
from hf_alignet.triplets import load_triplets
from hf_alignet.triplets.triplet_dataset import TRIPLET, column

SEED = 42


@dataclass(frozen=True)
class Run:
    """One training, and what is kept of it; see the text of this module."""

    images: str
    model: str = str(ENCODER_DIRECTORY)
    triplets: str | None = None
    make_triplets: dict[str, Any] = field(default_factory=dict)
    num_triplets: int | None = None
    num_images: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    lora_r: int | None = None
    shares: tuple[float, ...] = (1.0,)
    train: bool = True


def read_runs(file: Path) -> tuple[Path, dict[str, Run]]:
    """The output folder, and the runs by name. Raises an InputError for a key that no run has."""
    content = dict(load_yaml(file, "the list of runs"))
    folder, of_all = Path(content.pop("output_dir")), content.pop("settings", {})
    runs = {}
    for name, given in content.pop("runs").items():
        fields = content | (given or {})
        if "lora_r" in fields and "shares" in fields:
            raise InputError(f"{file}: the run {name!r} has `lora_r` and `shares`; an adapter is merged as it is")
        try:
            runs[name] = Run(**fields | {"settings": of_all | fields.get("settings", {})})
        except TypeError as error:
            raise InputError(f"{file}: the run {name!r} cannot be read: {error}") from error
    return folder, runs


def checkpoints(name: str, run: Run) -> dict[str, float]:
    """The share of each checkpoint of a run, by name."""
    return {name if share == 1 else f"{name}-{share:g}": share for share in run.shares}


def open_triplets(run: Run, images: Dataset, made: Path) -> Dataset:
    """The triplets of a run. `made` is the folder of those that the package makes for it."""
    path = run.triplets
    if path is None:
        make_triplets(images, output_dir=made, progress=False, **run.make_triplets)
        path = str(made)
    triplets = load_triplets(path, images)["train"]
    if run.num_images is not None:
        kept = np.random.default_rng(SEED).permutation(len(images))[: run.num_images]
        triplets = triplets.select(np.flatnonzero(np.isin(column(triplets, TRIPLET), kept).all(1)))
    return triplets.select(range(min(run.num_triplets or len(triplets), len(triplets))))


def train(name: str, run: Run, folder: Path) -> None:
    """Trains once, and writes all checkpoints of the run that are missing."""
    set_seed(SEED)
    images = load_images(run.images)
    defaults: dict[str, Any] = {
        "output_dir": str(folder / ".trainer"),
        "interpolation": 1.0,
        "last_blocks": "all",
        "save_strategy": "no",
        "seed": SEED,
    }
    args = AlignTrainingArguments(**defaults | run.settings)
    lora = LoraConfig(r=run.lora_r, lora_alpha=2 * run.lora_r) if run.lora_r is not None else None
    triplets = open_triplets(run, images, folder.parent / "triplets" / name)
    encoder = load_student(run.model, lora=lora, merge_lora=lora is not None)
    trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
    if run.train:
        trainer.train()
    if lora is not None:
        encoder.merge_adapter()
    assert trainer.anchor is not None  # `anchor_weight` is above 0 in all runs
    now = 1.0
    for label, share in sorted(checkpoints(name, run).items(), key=lambda item: -item[1]):
        if share < now:
            trainer.anchor.interpolate(share / now)
        trainer.interpolation = now = share  # the file alignment.json tells it
        write(trainer, folder / label)


def write(trainer: AlignTrainer, place: Path) -> None:
    """Writes a checkpoint, whole or not at all."""
    unfinished = place.with_name(f".{place.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    trainer.save_model(str(unfinished))
    shutil.rmtree(place, ignore_errors=True)
    os.replace(unfinished, place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="YAML file")
    arguments = parser.parse_args()
    folder, runs = read_runs(arguments.runs)
    for name, run in runs.items():
        if not all((folder / label / "config.json").exists() for label in checkpoints(name, run)):
            train(name, run, folder)
            print(f"{name}: {', '.join(checkpoints(name, run))}")


if __name__ == "__main__":
    main()
