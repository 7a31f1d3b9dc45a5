"""Compares sources of triplets, teachers and anchors on the data that prepare.py wrote: agreement with VICE on classes
never seen, and 1- and 10-shot accuracy beside it, against images seen in training.

Every run is one file in the output directory, and is not repeated where its file is there, so that the command goes on
where it stopped. It then prints a Markdown table of all runs that are there, and draws them in two figures.

    python recipes/things-vit-tiny/compare.py --model_name_or_path MODEL --bf16
"""

import argparse
import fnmatch
import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from sklearn.linear_model import RidgeCV
from tqdm.auto import tqdm
from transformers import PrinterCallback, TrainerCallback, set_seed

from hf_alignet.analysis import curves_figure, trade_off_figure
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.evaluation import few_shot_accuracy, odd_one_out_accuracy
from hf_alignet.evaluation.human.odd_one_out import odd_labels
from hf_alignet.images.cache import ImageCache
from hf_alignet.images.opening import load_images
from hf_alignet.similarity import triplet_similarities
from hf_alignet.similarity.matched_entropy import match_entropy
from hf_alignet.storage import write_json
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.triplets import TeacherVectors, load_triplets, triplets_from_arrays
from hf_alignet.triplets.batches import class_vectors
from hf_alignet.triplets.triplet_dataset import TRIPLET, column

STEPS, IMAGES_PER_STEP = 60, 48
MEASURE_AT = (6, 12, 24, 40, STEPS)  # steps; few-shot accuracy only after the last
HELD_OUT_PER_CLASS = 20  # as prepare.py has it
UNSEEN = "unseen_classes"


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        source: `batch`, all triplets in a batch; or 16 triplets a step, each of pictures of its own: `boundary`, two
            of one class and one of another, or `random`, three of different classes.
        teacher: `class`, vectors of classes; `transformed`, the base's embeddings under a linear map to those vectors;
            `mixed`, vectors of classes plus what the base says about pictures of one class.
        anchor_weight: of the decoupled anchor.
        learning_rate: its peak.
        steps: of IMAGES_PER_STEP images each.
        seed: of everything.
    """

    source: str = "batch"
    teacher: str = "class"
    anchor_weight: float = 1.0
    learning_rate: float = 1e-4
    steps: int = STEPS
    seed: int = 0

    @property
    def setting(self) -> str:
        """Its name without the seed."""
        extra = f"-steps{self.steps}" if self.steps != STEPS else ""
        return f"{self.source}-{self.teacher}-anchor{self.anchor_weight:g}-lr{self.learning_rate:g}{extra}"

    @property
    def name(self) -> str:
        return f"{self.setting}-seed{self.seed}"


SOURCES = {
    "all triplets in a batch": Run("batch"),
    "16 random triplets": Run("random"),
    "16 boundary triplets": Run("boundary"),
}
SWEEP = [
    *[Run(teacher="transformed", anchor_weight=weight) for weight in (2000.0, 5000.0)],
    Run(teacher="transformed", learning_rate=3e-5),
    *[Run(teacher=teacher, anchor_weight=500.0) for teacher in ("class", "mixed")],
]
INTERPOLATED = Run(teacher="transformed")
SHARES = (0.7, 0.5, 0.4)  # of the way from the initial weights to the trained ones
SHORT = Run(steps=STEPS // 5)
RUNS = [replace(run, seed=seed) for run in [*SOURCES.values(), INTERPOLATED, SHORT] for seed in (0, 1, 2)] + SWEEP


@dataclass
class Photographs:
    """The data, and what every run shares."""

    images: ImageCache
    labels: np.ndarray  # (n,) class of each image
    train: np.ndarray  # rows to train on
    held_out: np.ndarray  # rows to measure few-shot accuracy on
    unseen: Dataset  # triplets of classes never seen
    vice: np.ndarray  # (n, 42) the vector of each image's class
    base: np.ndarray  # (n, d) embeddings of the base


def load_photographs(directory: Path, encoder: VisionEncoder, options: dict[str, Any]) -> Photographs:
    images, unseen = load_images(str(directory)), load_triplets(str(directory))[UNSEEN]
    labels = np.asarray(images["label"][:])
    is_measured = pd.Series(labels).groupby(labels).cumcount().to_numpy() < HELD_OUT_PER_CLASS
    is_unseen = np.isin(labels, labels[np.unique(unseen["triplet"][:])])
    cache = ImageCache(directory / "cache", images, encoder.preprocessor)
    cache.prepare(np.arange(len(images)))
    return Photographs(
        images=cache,
        labels=labels,
        train=np.flatnonzero(~is_measured & ~is_unseen),
        held_out=np.flatnonzero(is_measured),
        unseen=unseen,
        vice=class_vectors(labels, np.load(directory / "class_vectors.npy", allow_pickle=False)),
        base=encoder.embed(cache, save_to=directory / "base_embeddings", **options),
    )


def teacher_vectors(photographs: Photographs, teacher: str) -> np.ndarray:
    """(m, p) vectors of the training photographs."""
    rows = photographs.train
    vice, base, labels = photographs.vice[rows], photographs.base[rows], photographs.labels[rows]
    if teacher == "class":
        return vice
    if teacher == "transformed":
        ridge = RidgeCV(np.logspace(-2, 5, 8)).fit(base, vice)
        return ridge.predict(base).astype(np.float32)
    classes, positions = np.unique(labels, return_inverse=True)
    means = np.stack([base[positions == c].mean(0) for c in range(len(classes))])
    # In the units of the classes' similarities, as the trainer's temperature would have them
    sample = torch.from_numpy(three_classes(labels, 2000, np.random.default_rng(0)))
    temperature = match_entropy(
        triplet_similarities(torch.from_numpy(base), sample), triplet_similarities(torch.from_numpy(vice), sample)
    )
    return np.concatenate([vice, (base - means[positions]) / np.sqrt(temperature)], axis=1).astype(np.float32)


def three_classes(labels: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """(number, 3) positions of three different classes."""
    drawn = rng.integers(len(labels), size=(3 * number, 3))
    a, b, c = labels[drawn].T
    return drawn[(a != b) & (a != c) & (b != c)][:number]


def class_boundary(labels: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """(number, 3) positions, two of one class and one of another, shuffled within the triplet."""
    drawn = rng.integers(len(labels), size=(number, 3))
    for triplet in drawn:
        triplet[1] = rng.choice(np.setdiff1d(np.flatnonzero(labels == labels[triplet[0]]), triplet[0]))
        triplet[2] = rng.choice(np.flatnonzero(labels != labels[triplet[0]]))
    return rng.permuted(drawn, axis=1)


def training_data(photographs: Photographs, run: Run) -> Dataset | TeacherVectors:
    vectors, labels = teacher_vectors(photographs, run.teacher), photographs.labels[photographs.train]
    if run.source == "batch":
        return TeacherVectors(photographs.train, vectors, labels)
    draw = class_boundary if run.source == "boundary" else three_classes
    triplets = draw(labels, run.steps * IMAGES_PER_STEP // 3, np.random.default_rng(run.seed))
    similarities = triplet_similarities(torch.from_numpy(vectors), torch.from_numpy(triplets))
    return triplets_from_arrays(photographs.train[triplets], similarities.numpy())


class Measure(TrainerCallback):
    """Measures the student at some steps."""

    def __init__(self, encoder: VisionEncoder, photographs: Photographs, options: dict[str, Any]):
        self.encoder, self.photographs, self.options = encoder, photographs, options
        self.points: list[dict[str, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step, is_last = state.global_step, state.global_step == state.max_steps
        if step in MEASURE_AT or is_last:
            values, self.embeddings = measure(self.encoder, self.photographs, is_last, self.options)
            self.points.append({"step": step, "images": step * IMAGES_PER_STEP} | values)


def measure(
    encoder: VisionEncoder, photographs: Photographs, has_few_shot: bool, options: dict[str, Any]
) -> tuple[dict[str, float], np.ndarray]:
    """Agreement, and few-shot accuracy if asked for; and the embeddings measured."""
    triplets, rows = column(photographs.unseen, TRIPLET), photographs.held_out
    if not has_few_shot:
        rows = np.unique(triplets)
    embeddings = encoder.embed(photographs.images, rows=rows, **options)
    odd = odd_labels(photographs.unseen)
    values = {"agreement": odd_one_out_accuracy(embeddings, np.searchsorted(rows, triplets), odd)["value"]}
    for shots in (1, 10) if has_few_shot else ():
        values[f"{shots}_shot"] = few_shot_accuracy(embeddings, photographs.labels[rows], shots)["value"]
    return values, embeddings


def train(
    run: Run, photographs: Photographs, model: str, options: dict[str, Any]
) -> tuple[dict[str, Any], np.ndarray]:
    """What was measured, and the embeddings of the held-out photographs after the last step."""
    set_seed(run.seed)
    encoder = VisionEncoder.from_pretrained(model)
    is_batch = run.source == "batch"
    with tempfile.TemporaryDirectory() as directory:
        args = AlignTrainingArguments(
            output_dir=directory,
            per_device_train_batch_size=IMAGES_PER_STEP if is_batch else IMAGES_PER_STEP // 3,
            images_per_cluster="3",
            train_sampling_strategy="random" if is_batch else "sequential",
            max_steps=run.steps,
            learning_rate=run.learning_rate,
            anchor_weight=run.anchor_weight,
            interpolation="1.0",
            last_blocks="all",
            save_strategy="no",
            seed=run.seed,
            bf16=options["bf16"],
            disable_tqdm=True,
        )
        train_dataset = training_data(photographs, run)
        trainer = AlignTrainer(encoder, args, train_dataset=train_dataset, images=photographs.images)
        trainer.remove_callback(PrinterCallback)
        callback = Measure(encoder, photographs, options)
        trainer.add_callback(callback)
        start = time.perf_counter()
        trainer.train()
    result = {"run": asdict(run), "points": callback.points, "seconds": round(time.perf_counter() - start, 1)}
    before = 1.0
    for share in SHARES if run.setting == INTERPOLATED.setting else ():
        assert trainer.anchor is not None  # INTERPOLATED has one
        trainer.anchor.interpolate(share / before)
        before = share
        result[f"interpolation {share}"] = measure(encoder, photographs, True, options)[0]
    return result, callback.embeddings


def report(directory: Path) -> None:
    """Prints the table and draws the figures of all runs in the directory."""
    base = json.loads((directory / "base.json").read_text())
    results: dict[str, list[dict[str, Any]]] = {}  # of each setting, one a seed
    for run in dict.fromkeys(RUNS):
        file = directory / f"{run.name}.json"
        if file.exists():
            results.setdefault(run.setting, []).append(json.loads(file.read_text()))

    measures = ("agreement", "1_shot", "10_shot")
    ends = {}  # (seeds, images, measures)
    for setting, seeds in results.items():
        last = [result["points"][-1] for result in seeds]
        ends[setting] = len(seeds), last[0]["images"], [np.mean([end[name] for end in last]) for name in measures]
        for key in [key for key in seeds[0] if key.startswith("interpolation")]:
            means = [np.mean([result[key][name] for result in seeds]) for name in measures]
            ends[f"{setting}, {key}"] = len(seeds), last[0]["images"], means
    print("| setting | seeds | images seen | agreement | 1-shot | 10-shot |\n" + "| --- " * 6 + "|")
    print("| base | | 0 | " + " | ".join(f"{base[name]:.3f}" for name in measures) + " |")
    for name, (num_seeds, images, means) in ends.items():
        print(f"| {name} | {num_seeds} | {images} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")

    agreement = "agreement with VICE, unseen classes"
    curves = {
        name: [np.array([(p["images"], p["agreement"]) for p in result["points"]]) for result in results[run.setting]]
        for name, run in SOURCES.items()
        if run.setting in results
    }
    curves_figure(curves, "images seen", agreement, base["agreement"]).savefig(directory / "sources.png")
    places = {name: np.array([means[2], means[0]]) for name, (_, _, means) in ends.items()}
    start = (base["10_shot"], base["agreement"])
    trade_off_figure(places, start, "10-shot accuracy", agreement).savefig(directory / "trade_off.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="the base model")
    parser.add_argument("--data", type=Path, default="data/things-vit-tiny", help="of prepare.py (%(default)s)")
    parser.add_argument("--output_dir", type=Path, default="outputs/things-vit-tiny-compare", help="(%(default)s)")
    parser.add_argument("--runs", default="*", help="only runs whose name matches, e.g. 'batch-*seed0' (%(default)s)")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    arguments = parser.parse_args()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    options = {"bf16": arguments.bf16, "progress": False}
    model = arguments.model_name_or_path

    encoder = VisionEncoder.from_pretrained(model)
    photographs = load_photographs(arguments.data, encoder, options | {"progress": True})
    base, settings = arguments.output_dir / "base.json", {"model": model, "bf16": arguments.bf16}
    if not base.exists():
        write_json(base, settings | measure(encoder, photographs, True, options)[0])
    if not settings.items() <= json.loads(base.read_text()).items():
        parser.error(f"{arguments.output_dir} holds runs of another model or precision; give another --output_dir")
    for run in tqdm([run for run in dict.fromkeys(RUNS) if fnmatch.fnmatch(run.name, arguments.runs)], unit="run"):
        file = arguments.output_dir / f"{run.name}.json"
        if not file.exists():
            result, embeddings = train(run, photographs, model, options)
            np.save(file.with_suffix(".npy"), embeddings)  # for other measures than these
            write_json(file, result)
    report(arguments.output_dir)


if __name__ == "__main__":
    main()
