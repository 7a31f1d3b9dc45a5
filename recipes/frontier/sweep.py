"""Trains the last blocks of a ViT in every setting of a list, and measures what each keeps and what it gains.

Reads what `things-vit-tiny` and `tiny-imagenet` wrote. A setting that is there is not trained again, so that the
command goes on where it stopped. `report.py` makes the table and the figure.

    python recipes/frontier/sweep.py --model_name_or_path MODEL
"""

import argparse
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from batches import batches_of
from measures import measure
from peft import LoraConfig
from photographs import NUM_CACHED, TRAINED_PER_CLASS, Photographs, load_photographs, teacher_vectors
from safetensors.torch import save_file
from tail import Tail
from torch import Tensor
from tqdm.auto import tqdm
from transformers import get_cosine_schedule_with_warmup, set_seed

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.similarity import triplet_similarities
from hf_alignet.similarity.matched_entropy import match_entropy
from hf_alignet.storage import write_json
from hf_alignet.student.anchoring import Anchor
from hf_alignet.student.in_batch import mean_over_triplets
from hf_alignet.student.losses import triplet_kl
from hf_alignet.student.preservation import neighbour_kl
from hf_alignet.triplets import TeacherVectors
from hf_alignet.triplets.batches import load_teacher, sample_in_batch
from hf_alignet.triplets.triplet_dataset import SIMILARITIES, TRIPLET, column

SHARES = (1.0, 0.9, 0.8, 0.6)  # of the way from the initial weights to the trained ones
BASE, TEACHER = "base", "teacher"
TRANSFORM_SHARES = (0.0, 0.6, 0.8)


@dataclass(frozen=True)
class Setting:
    """One training run.

    Attributes:
        name: of the file and in the table.
        teacher: see `teacher_vectors`.
        within_weight: see `teacher_vectors`.
        noise: standard deviation of noise on the teacher's vectors, as a share of that of each of their dimensions.
        blocks: last blocks to train.
        steps: number of them.
        photographs: of each class to train on.
        images: photographs of a step.
        images_per_cluster: of a batch.
        learning_rate: its peak.
        layer_decay: the learning rate of a block as a share of that of the next one.
        lora_r: rank of an adapter on the blocks; 0 trains the weights.
        triplet_weight: of the triplet loss.
        teacher_temperature: its τ'.
        preserve_weight: of the base's neighbours in the batch.
        order_weight: of the base's order in triplets inside a cluster; see `order_kl`.
        copy_weight: of the mean squared error to the teacher's vectors, in units of their variance.
        average_from: share of the steps after which the weights are averaged; 1 keeps the last.
        seed: of everything.
    """

    name: str
    teacher: str = "transform"
    within_weight: float = 0.0
    noise: float = 0.0
    blocks: int = NUM_CACHED
    steps: int = 60
    photographs: int = TRAINED_PER_CLASS
    images: int = 48
    images_per_cluster: int = 3
    learning_rate: float = 1e-4
    layer_decay: float = 1.0
    lora_r: int = 0
    triplet_weight: float = 1.0
    teacher_temperature: float = 1.0
    preserve_weight: float = 0.0
    order_weight: float = 0.0
    copy_weight: float = 0.0
    average_from: float = 1.0
    seed: int = 0


def student(setting: Setting, model: str) -> tuple[VisionEncoder, Tail]:
    """The base before training, whose parameters need gradients if they train."""
    encoder = VisionEncoder.from_pretrained(model)
    if setting.lora_r:
        number = encoder.backbone.config.num_hidden_layers
        layers = "|".join(str(layer) for layer in range(number - setting.blocks, number))
        targets = rf".*layers\.({layers})\..*(q_proj|k_proj|v_proj|o_proj|fc1|fc2)"
        encoder.add_lora(LoraConfig(r=setting.lora_r, lora_alpha=2 * setting.lora_r, target_modules=targets))
    tail = Tail(encoder, num_cached(setting))
    trained = {id(p) for module in (*tail.blocks[-setting.blocks :], tail.norm) for p in module.parameters()}
    for parameter in encoder.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in trained)
    return encoder, tail


def num_cached(setting: Setting) -> int:
    """Last blocks before which tokens are kept."""
    return max(setting.blocks, NUM_CACHED)


def train(setting: Setting, photographs: Photographs) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What is measured at each of SHARES, and the trained weights by name."""
    set_seed(setting.seed)
    encoder, tail = student(setting, photographs.model)
    tokens = photographs.tokens(num_cached(setting))
    is_used = photographs.place_in_class[photographs.num_measured :] < setting.photographs
    rows = photographs.num_measured + np.flatnonzero(is_used)
    vectors = teacher_vectors(photographs, setting.teacher, setting.within_weight)[is_used]
    errors = np.random.default_rng(setting.seed).standard_normal(vectors.shape, dtype=np.float32)
    vectors = vectors + setting.noise * vectors.std(0) * errors
    clusters = photographs.labels[rows]
    if setting.teacher == "transform":  # which knows no classes
        clusters = load_teacher(photographs.labels[rows], np.arange(len(rows)), vectors, seed=0).clusters
    batches = batches_of(clusters, setting.steps, setting.images, setting.images_per_cluster, setting.seed)
    of_teacher, base = torch.from_numpy(vectors), torch.from_numpy(photographs.base[rows])
    temperature = calibrated(base, of_teacher, batches, setting.teacher_temperature)

    def loss(batch: np.ndarray) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = tail(torch.from_numpy(tokens[rows[batch]]))
        target = of_teacher[batch]
        triplet = mean_over_triplets(
            embeddings @ embeddings.T, target @ target.T, "kl", temperature, setting.teacher_temperature
        )["loss"]
        total = setting.triplet_weight * triplet
        if setting.preserve_weight:
            total = total + setting.preserve_weight * neighbour_kl(embeddings, base[batch]).mean()
        if setting.order_weight:
            total = total + setting.order_weight * order_kl(embeddings, base[batch], setting.images_per_cluster)
        if setting.copy_weight:
            error = (embeddings / temperature**0.5 - target).square().sum(-1).mean()
            total = total + setting.copy_weight * error / of_teacher.var(0).sum()
        return total

    start = time.perf_counter()
    anchor, losses = Anchor(encoder), descend(tail, loss, batches, setting)
    found = {"setting": asdict(setting), "seconds": round(time.perf_counter() - start, 1), "losses": losses}
    weights = {name: p.detach().clone() for name, p in encoder.model.named_parameters() if p.requires_grad}
    points: dict[float, dict[str, float]] = {}
    tail.eval()
    measured = np.arange(photographs.num_measured)
    for share in sorted({*SHARES, auto := chosen(tail, tokens, anchor, photographs)}):
        with anchor.interpolated(share):
            points[share] = measure(tail.embed(tokens, measured), photographs)
    return found | {"student_temperature": temperature, "auto": auto, "points": points}, weights


def chosen(tail: Tail, tokens: np.ndarray, anchor: Anchor, photographs: Photographs) -> float:
    """The share that `--interpolation auto` takes, by photographs that are measured."""
    rows, knowledge = photographs.known

    def embed(share: float) -> Tensor:
        with anchor.interpolated(share):
            return torch.from_numpy(tail.embed(tokens, rows))

    return knowledge.furthest(embed)


def without_training(photographs: Photographs) -> dict[str, np.ndarray]:
    """The base, its teacher, and transforms between the teacher's W and the multiple of the identity nearest to it."""
    base, teacher = photographs.base[: photographs.num_measured], photographs.transform
    mean, std, weight = (getattr(teacher, name).numpy() for name in ("mean", "std", "weight"))
    standardised, scale = (base - mean) / std, np.diag(weight).mean()
    change = standardised @ weight.T - scale * standardised
    found = {BASE: base, TEACHER: teacher(base)}
    return found | {f"{TEACHER}-{share}": scale * standardised + share * change for share in TRANSFORM_SHARES}


def calibrated(base: Tensor, vectors: Tensor, batches: np.ndarray, teacher_temperature: float) -> float:
    """The student's temperature, as the trainer chooses it."""
    everything = TeacherVectors(np.arange(len(base)), vectors.numpy(), np.zeros(len(base), dtype=int))
    sample = sample_in_batch(everything, batches[:8], 64, np.random.default_rng(0))
    triplets = torch.from_numpy(column(sample, TRIPLET)).long()
    target = torch.from_numpy(column(sample, SIMILARITIES)).float()
    return match_entropy(triplet_similarities(base, triplets), target, teacher_temperature)


def order_kl(embeddings: Tensor, base: Tensor, images_per_cluster: int) -> Tensor:
    """KL from the base's to the student's softmax over the three pairs of the triplets inside a cluster.

    A batch (n, d) has `images_per_cluster` images of each cluster, one after the other; of these, every three are a
    triplet. Similarities are cosines, in units of the base's standard deviation about the mean of a triplet.
    """
    triplets = torch.arange(len(base)).reshape(-1, images_per_cluster)
    triplets = triplets[:, : images_per_cluster // 3 * 3].reshape(-1, 3)
    of_base, of_student = (triplet_similarities(x, triplets, "cosine") for x in (base, embeddings))
    scale = (of_base - of_base.mean(1, keepdim=True)).std().item()
    return triplet_kl(of_student, of_base, scale, scale).mean()


def descend(tail: Tail, loss: Any, batches: np.ndarray, setting: Setting) -> list[float]:
    """Trains, and gives the losses."""
    tail.train()
    parameters = [p for p in tail.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameter_groups(tail, setting), weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(0.05 * len(batches)), len(batches))
    first = math.ceil(setting.average_from * len(batches))  # the first step whose weights are averaged
    losses, sums = [], [torch.zeros_like(p) for p in parameters]
    for step, batch in enumerate(batches, 1):
        value = loss(batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(round(value.item(), 4))
        if step >= first:
            torch._foreach_add_(sums, [p.detach() for p in parameters])
    with torch.no_grad():
        for parameter, total in zip(parameters, sums, strict=True):
            parameter.copy_(total / (len(batches) - first + 1))
    return losses


def parameter_groups(tail: Tail, setting: Setting) -> list[dict[str, Any]]:
    """Parameters that train, from the last module to the first, with the learning rate of each."""
    groups: list[dict[str, Any]] = []
    for depth, module in enumerate((tail.norm, *reversed(tail.blocks))):
        rate = setting.learning_rate * setting.layer_decay ** max(0, depth - 1)
        groups.append({"params": [p for p in module.parameters() if p.requires_grad], "lr": rate})
    return groups


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
    photographs = load_photographs(arguments.model_name_or_path, arguments.data, arguments.transform, output)
    for name, embeddings in without_training(photographs).items():
        if not (output / f"{name}.json").exists():
            write_json(output / f"{name}.json", {"points": {1.0: measure(embeddings, photographs)}})
    for given in tqdm(yaml.safe_load(arguments.settings.read_text(encoding="utf-8")), unit="setting"):
        setting = Setting(**given)
        file = output / f"{setting.name}-seed{setting.seed}.json"
        if not file.exists():
            found, weights = train(setting, photographs)
            save_file(weights, file.with_suffix(".safetensors"))
            write_json(file, found)
            tqdm.write(f"{file.stem} {found['seconds']} s {found['points'][SHARES[0]]}")


if __name__ == "__main__":
    main()
