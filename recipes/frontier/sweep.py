"""Trains the last blocks of a ViT in every setting of a list, and measures what each keeps and what it gains.

Reads what `things-vit-tiny` and `tiny-imagenet` wrote. A setting that is there is not trained again, so that the
command goes on where it stopped. `report.py` makes the table and the figure.

    python recipes/frontier/sweep.py --model_name_or_path MODEL
"""

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from peft import LoraConfig
from tail import Tail, first_blocks
from torch import Tensor
from tqdm.auto import tqdm
from transformers import get_cosine_schedule_with_warmup, set_seed

from hf_alignet.encoder import AffineTransform
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.evaluation import few_shot_accuracy, odd_one_out_accuracy
from hf_alignet.evaluation.human.odd_one_out import odd_labels
from hf_alignet.images.opening import load_images
from hf_alignet.images.reader import ImageReader
from hf_alignet.similarity import odd_one_out, triplet_similarities
from hf_alignet.similarity.matched_entropy import match_entropy
from hf_alignet.storage import write_json
from hf_alignet.student.anchoring import Anchor
from hf_alignet.student.in_batch import mean_over_triplets
from hf_alignet.student.preservation import neighbour_kl
from hf_alignet.triplets import TeacherVectors, load_triplets
from hf_alignet.triplets.batches import ClusterSampler, class_vectors, load_teacher, sample_in_batch
from hf_alignet.triplets.triplet_dataset import SIMILARITIES, TRIPLET, column

NUM_CACHED = 4  # last blocks that a setting may train
MEASURED_PER_CLASS, TRAINED_PER_CLASS = 20, 24  # photographs; those measured as in things-vit-tiny
IMAGES_PER_STEP = 48
SHARES = (1.0, 0.6)  # of the way from the initial weights to the trained ones
NUM_FINE = 10_000  # triplets inside a class
BASE, TEACHER = "base", "teacher"
TRANSFORM_SHARES = (0.0, 0.6, 0.8)


@dataclass(frozen=True)
class Setting:
    """One training run.

    Attributes:
        name: of the file and in the table.
        teacher: `transform`, the base's embeddings under the transform of tiny-imagenet; `classes`, vectors of VICE.
        blocks: last blocks to train.
        steps: of IMAGES_PER_STEP photographs.
        learning_rate: its peak.
        lora_r: rank of an adapter on the blocks; 0 trains the weights.
        images_per_cluster: of a batch.
        triplet_weight: of the triplet loss.
        teacher_temperature: its τ'.
        preserve_weight: of the base's neighbours in the batch.
        copy_weight: of the mean squared error to the teacher's vectors, in units of their variance.
        seed: of everything.
    """

    name: str
    teacher: str = "transform"
    blocks: int = NUM_CACHED
    steps: int = 60
    learning_rate: float = 1e-4
    lora_r: int = 0
    images_per_cluster: int = 3
    triplet_weight: float = 1.0
    teacher_temperature: float = 1.0
    preserve_weight: float = 0.0
    copy_weight: float = 0.0
    seed: int = 0


@dataclass
class Photographs:
    """The data. Positions count the measured photographs first, and then those to train on.

    Attributes:
        tokens: (n, t, d) before the last NUM_CACHED blocks.
        labels: (n,) classes.
        num_measured: of the n.
        base: (n, d) embeddings of the base.
        transformed: (n, d) those of the teacher.
        vice: (n, 42) vectors of the classes.
        triplets: (m, 3) positions, of classes never seen.
        odd: (m,) the odd ones out by VICE.
        fine: (k, 3) positions, inside a class never seen.
    """

    tokens: np.ndarray
    labels: np.ndarray
    num_measured: int
    base: np.ndarray
    transformed: np.ndarray
    vice: np.ndarray
    triplets: np.ndarray
    odd: np.ndarray
    fine: np.ndarray


def load_photographs(model: str, data: Path, transform: Path, cache: Path) -> Photographs:
    images, unseen = load_images(str(data)), load_triplets(str(data))["unseen_classes"]
    encoder = VisionEncoder.from_pretrained(model).eval()
    labels = np.asarray(images["label"][:])
    place = pd.Series(labels).groupby(labels).cumcount().to_numpy()
    is_unseen = np.isin(labels, labels[np.unique(column(unseen, TRIPLET))])
    measured = np.flatnonzero(place < MEASURED_PER_CLASS)
    wanted = (place >= MEASURED_PER_CLASS) & (place < MEASURED_PER_CLASS + TRAINED_PER_CLASS) & ~is_unseen
    rows = np.concatenate([measured, np.flatnonzero(wanted)])
    file = cache / f"tokens_before_last_{NUM_CACHED}.npy"
    tokens = first_blocks(encoder, ImageReader(images, encoder.preprocessor), rows, NUM_CACHED, file)
    base_file = cache / "base.npy"
    if not base_file.exists():
        np.save(base_file, Tail(encoder, NUM_CACHED).embed(tokens, np.arange(len(rows))))
    base = np.load(base_file)
    rng = np.random.default_rng(0)
    classes = np.unique(labels[rows][: len(measured)][is_unseen[measured]])
    fine = [
        rng.choice(np.flatnonzero(labels[measured] == rng.choice(classes)), 3, replace=False) for _ in range(NUM_FINE)
    ]
    return Photographs(
        tokens=tokens,
        labels=labels[rows],
        num_measured=len(measured),
        base=base,
        transformed=AffineTransform.from_pretrained(str(transform))(base),
        vice=class_vectors(labels[rows], np.load(data / "class_vectors.npy", allow_pickle=False)),
        triplets=np.searchsorted(measured, column(unseen, TRIPLET)),
        odd=odd_labels(unseen),
        fine=np.stack(fine),
    )


def measure(embeddings: np.ndarray, photographs: Photographs) -> dict[str, float]:
    """From embeddings (num_measured, d): agreement, few-shot accuracies, and the base's order inside classes kept."""
    labels, base = photographs.labels[: photographs.num_measured], torch.from_numpy(photographs.base)
    order = odd_one_out(triplet_similarities(base, torch.from_numpy(photographs.fine), "cosine")).numpy()
    centred = embeddings - embeddings.mean(0), photographs.base[: len(embeddings)] - photographs.base.mean(0)
    return {
        "agreement": odd_one_out_accuracy(embeddings, photographs.triplets, photographs.odd)["value"],
        "1_shot": few_shot_accuracy(embeddings, labels, 1)["value"],
        "10_shot": few_shot_accuracy(embeddings, labels, 10)["value"],
        "inside_classes": odd_one_out_accuracy(embeddings, photographs.fine, order, "cosine")["value"],
        "neighbours": neighbours_kept(*centred),
    }


def neighbours_kept(embeddings: np.ndarray, base: np.ndarray, k: int = 10) -> float:
    """Mean share of the k nearest neighbours by cosine that stay: needs no labels."""
    near = []
    for matrix in (embeddings, base):
        unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        cosines = unit @ unit.T
        np.fill_diagonal(cosines, -np.inf)
        near.append(np.argpartition(-cosines, k, axis=1)[:, :k])
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(*near, strict=True)]))


def train(setting: Setting, model: str, photographs: Photographs) -> dict[str, Any]:
    """What is measured at each of SHARES."""
    set_seed(setting.seed)
    encoder = VisionEncoder.from_pretrained(model)
    if setting.lora_r:
        layers = list(range(12 - setting.blocks, 12))
        encoder.add_lora(LoraConfig(r=setting.lora_r, lora_alpha=2 * setting.lora_r, layers_to_transform=layers))
    tail = Tail(encoder, NUM_CACHED)
    trained = {id(p) for module in (*tail.blocks[-setting.blocks :], tail.norm) for p in module.parameters()}
    for parameter in encoder.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in trained)
    rows = np.arange(photographs.num_measured, len(photographs.labels))
    if setting.teacher == "classes":
        vectors, clusters = photographs.vice[rows], photographs.labels[rows]
    else:
        teacher = load_teacher(photographs.labels, rows, photographs.transformed, seed=0)
        vectors, clusters = teacher.vectors, teacher.clusters
    batches = batches_of(clusters, setting)
    of_teacher, base = torch.from_numpy(vectors), torch.from_numpy(photographs.base[rows])
    temperature = calibrated(base, of_teacher, batches, setting.teacher_temperature)

    def loss(batch: np.ndarray) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = tail(torch.from_numpy(photographs.tokens[rows[batch]]))
        target = of_teacher[batch]
        triplet = mean_over_triplets(
            embeddings @ embeddings.T, target @ target.T, "kl", temperature, setting.teacher_temperature
        )["loss"]
        total = setting.triplet_weight * triplet
        if setting.preserve_weight:
            total = total + setting.preserve_weight * neighbour_kl(embeddings, base[batch]).mean()
        if setting.copy_weight:
            error = (embeddings / temperature**0.5 - target).square().sum(-1).mean()
            total = total + setting.copy_weight * error / of_teacher.var(0).sum()
        return total

    start = time.perf_counter()
    anchor, losses = Anchor(encoder), descend(tail, loss, batches, setting, encoder)
    seconds = time.perf_counter() - start
    found: dict[str, Any] = {"setting": asdict(setting), "seconds": round(seconds, 1), "losses": losses, "points": {}}
    found["student_temperature"] = temperature
    before = 1.0
    for share in SHARES:
        anchor.interpolate(share / before)
        before = share
        tail.eval()
        embeddings = tail.embed(photographs.tokens, np.arange(photographs.num_measured))
        found["points"][share] = measure(embeddings, photographs)
    return found


def without_training(photographs: Photographs, transform: Path) -> dict[str, np.ndarray]:
    """The base, its teacher, and transforms between the teacher's W and the multiple of the identity nearest to it."""
    base = photographs.base[: photographs.num_measured]
    teacher = AffineTransform.from_pretrained(str(transform))
    mean, std, weight = (getattr(teacher, name).numpy() for name in ("mean", "std", "weight"))
    standardised, scale = (base - mean) / std, np.diag(weight).mean()
    change = standardised @ weight.T - scale * standardised
    found = {BASE: base, TEACHER: photographs.transformed[: photographs.num_measured]}
    return found | {f"{TEACHER}-{share}": scale * standardised + share * change for share in TRANSFORM_SHARES}


def batches_of(clusters: np.ndarray, setting: Setting) -> np.ndarray:
    """(steps, IMAGES_PER_STEP) positions."""
    sampler = ClusterSampler(clusters, IMAGES_PER_STEP, setting.images_per_cluster, setting.seed)
    order: list[int] = []
    while len(order) < setting.steps * IMAGES_PER_STEP:
        order += list(sampler)
        sampler.set_epoch(sampler.epoch + 1)
    return np.array(order[: setting.steps * IMAGES_PER_STEP]).reshape(setting.steps, -1)


def calibrated(base: Tensor, vectors: Tensor, batches: np.ndarray, teacher_temperature: float) -> float:
    """The student's temperature, as the trainer chooses it."""
    everything = TeacherVectors(np.arange(len(base)), vectors.numpy(), np.zeros(len(base), dtype=int))
    sample = sample_in_batch(everything, batches[:8], 64, np.random.default_rng(0))
    triplets = torch.from_numpy(column(sample, TRIPLET)).long()
    target = torch.from_numpy(column(sample, SIMILARITIES)).float()
    return match_entropy(triplet_similarities(base, triplets), target, teacher_temperature)


def descend(tail: Tail, loss: Any, batches: np.ndarray, setting: Setting, encoder: VisionEncoder) -> list[float]:
    """Trains, and gives the losses."""
    tail.train()
    parameters = [p for p in encoder.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=setting.learning_rate, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(0.05 * len(batches)), len(batches))
    losses = []
    for batch in batches:
        value = loss(batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(round(value.item(), 4))
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="the base model, a ViT")
    parser.add_argument("--settings", type=Path, default=Path(__file__).parent / "settings.yaml", help="(%(default)s)")
    parser.add_argument("--data", type=Path, default="data/things-vit-tiny", help="(%(default)s)")
    parser.add_argument("--transform", type=Path, default="outputs/tiny-imagenet/teacher", help="(%(default)s)")
    parser.add_argument("--output_dir", type=Path, default="outputs/frontier", help="(%(default)s)")
    arguments = parser.parse_args()
    output = arguments.output_dir
    output.mkdir(parents=True, exist_ok=True)
    model = arguments.model_name_or_path
    photographs = load_photographs(model, arguments.data, arguments.transform, output)
    for name, embeddings in without_training(photographs, arguments.transform).items():
        if not (output / f"{name}.json").exists():
            write_json(output / f"{name}.json", {"points": {1.0: measure(embeddings, photographs)}})
    for given in tqdm(yaml.safe_load(arguments.settings.read_text(encoding="utf-8")), unit="setting"):
        setting = Setting(**given)
        file = output / f"{setting.name}-seed{setting.seed}.json"
        if not file.exists():
            found = train(setting, model, photographs)
            write_json(file, found)
            tqdm.write(f"{file.stem} {found['seconds']} s {found['points']}")


if __name__ == "__main__":
    main()
