"""Aligns one encoder in several ways, and keeps of each run the trained weights and those interpolated 0.4 of the way.

Reads what the recipes `things-vit-tiny` and `tiny-imagenet` wrote: the photographs, the teacher, its triplets, those
of the control and the human choices. Every run takes as many steps of 48 photographs. A model that is there is not
trained again, so that the command goes on where it stopped.

    python recipes/downstream/train.py --model_name_or_path MODEL
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed

from hf_alignet.encoder import VisionEncoder
from hf_alignet.images.opening import load_images
from hf_alignet.images.reader import ImageReader
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.student.preparation import load_student
from hf_alignet.student.training_data import training_data
from hf_alignet.triplets import TeacherVectors, load_triplets

DATA, OUTPUTS = Path("data/tiny-imagenet"), Path("outputs/tiny-imagenet")
TEACHER_EMBEDDINGS = "outputs/downstream/teacher_embeddings"  # kept for the next run
STEPS, IMAGES_PER_STEP, IMAGES_PER_CLUSTER = 100, 48, 3
CONTROL_TEMPERATURE = 800.0  # as in tiny-imagenet
INTERPOLATION = 0.4  # the default of the package

Train: TypeAlias = Dataset | TeacherVectors
Open = Callable[[str, Dataset], Train]  # what to learn from, given the model and the photographs


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        train: opens what it learns from.
        images: path of the photographs.
        settings: that differ from those of all runs.
        use_lora: train an adapter on the frozen model.
    """

    train: Open
    images: str = str(DATA / "images")
    settings: dict[str, Any] = field(default_factory=dict)
    use_lora: bool = False


def triplets(folder: str) -> Open:
    """Triplets that were labelled before."""
    return lambda model, images: load_triplets(folder)["train"]


def in_batch(model: str, images: Dataset) -> Train:
    """All triplets of a batch, by the transformed embeddings of the model itself: the same teacher."""
    encoder = VisionEncoder.from_pretrained(model, transform=str(OUTPUTS / "teacher"))
    vectors = encoder.embed(ImageReader(images, encoder.preprocessor), save_to=TEACHER_EMBEDDINGS, bf16=True)
    return training_data(images, triplets(str(OUTPUTS / "triplets"))(model, images), {}, teacher_embeddings=vectors)


BATCH = {"per_device_train_batch_size": IMAGES_PER_STEP, "images_per_cluster": IMAGES_PER_CLUSTER}
RUNS = {
    "separate": Run(triplets(str(OUTPUTS / "triplets"))),
    "in-batch": Run(in_batch, settings=BATCH),
    "in-batch-lora": Run(in_batch, settings=BATCH | {"learning_rate": 1e-3}, use_lora=True),
    "control": Run(triplets(str(OUTPUTS / "control-triplets")), settings={"teacher_temperature": CONTROL_TEMPERATURE}),
    "choices": Run(triplets(str(DATA / "judgments")), str(DATA / "stimuli"), {"loss_type": "hard"}),
}


def train(run: Run, model: str, trained: Path, interpolated: Path, seed: int) -> None:
    """Writes the two models."""
    set_seed(seed)
    images = load_images(run.images)
    args = AlignTrainingArguments(
        **{
            "output_dir": str(trained),
            "per_device_train_batch_size": IMAGES_PER_STEP // 3,
            "max_steps": STEPS,
            "learning_rate": 1e-4,
            "interpolation": 1.0,
            "last_blocks": "all",
            "save_strategy": "no",
            "bf16": True,
            "seed": seed,
            **run.settings,
        }
    )
    lora = LoraConfig(r=16, lora_alpha=32) if run.use_lora else None
    encoder = load_student(model, lora=lora)
    trainer = AlignTrainer(encoder, args, train_dataset=run.train(model, images), images=images)
    trainer.train()
    assert trainer.anchor is not None  # anchor_weight is 1 by default
    share = 1.0
    for folder, wanted in ((trained, 1.0), (interpolated, INTERPOLATION)):
        trainer.anchor.interpolate(wanted / share)
        trainer.interpolation = share = wanted  # the file alignment.json tells it
        trainer.save_model(str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="the base model")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), help="(all)")
    parser.add_argument("--output_dir", type=Path, default="outputs/downstream/models", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="of everything (%(default)s)")
    arguments = parser.parse_args()
    for name in arguments.runs:
        interpolated = arguments.output_dir / name
        if not (interpolated / "config.json").exists() and not (interpolated / "adapter_config.json").exists():
            trained = arguments.output_dir / f"{name}-trained"
            train(RUNS[name], arguments.model_name_or_path, trained, interpolated, arguments.seed)


if __name__ == "__main__":
    main()
