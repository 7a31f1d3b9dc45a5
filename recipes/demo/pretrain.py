"""Train the demo's small encoder, `hf_alignet/demo/encoder/`, from scratch to tell emoji concepts apart across styles.

For maintainers: users get the finished encoder with the package. It learns from every concept in every style, as an
encoder trained on the web has seen such pictures before; what the demo holds out is held out from alignment. Groups and
subgroups are used for the closing measurement only: fine structure is learned here, global structure is not.

    python recipes/demo/pretrain.py
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm
from transformers import ViTConfig, ViTModel

from hf_alignet.demo import demo_images
from hf_alignet.similarity import is_correct, odd_one_out, triplet_similarities

CONFIG = ViTConfig(
    image_size=64,
    patch_size=8,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=512,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 64, "width": 64},
    "resample": 2,  # bilinear
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
SCALE = 16.0  # of the cosines in the softmax: the largest that still leaves a gradient on easy pictures
MEASURED_STYLE = "fxemoji"


def normalise(pixels: Tensor) -> Tensor:
    """(B, 3, 64, 64) uint8 to float in [-1, 1], as the saved processor does."""
    return pixels.float().div_(127.5).sub_(1.0)


def augment(images: Tensor) -> Tensor:
    """Random flip, rotation, zoom, shift and colours, drawn for each of (B, 3, H, W) pictures in [-1, 1] on white."""
    n = len(images)
    angle = torch.empty(n).uniform_(-math.pi / 10, math.pi / 10)
    zoom = torch.empty(n).uniform_(0.85, 1.3)  # above 1 the picture becomes smaller
    flip = torch.randint(0, 2, (n,)) * 2.0 - 1.0
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    shift = torch.empty(2, n).uniform_(-0.15, 0.15)
    affine = torch.stack(
        [torch.stack([cos * flip, -sin, shift[0]], 1), torch.stack([sin * flip, cos, shift[1]], 1)], 1
    )
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    ink = F.grid_sample(1.0 - images, grid, align_corners=False)  # white is 0 here, and so is what lies outside
    grey = ink.mean(1, keepdim=True)
    saturation = torch.empty(n, 1, 1, 1).uniform_(0.0, 1.4)
    tint = torch.empty(n, 3, 1, 1).uniform_(0.7, 1.3)
    return (1.0 - (grey + saturation * (ink - grey)) * tint).clamp(-1.0, 1.0)


def draw_triplets(table: dict[str, np.ndarray], level: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 3) rows of (similar, similar, odd) pictures; the demo's README says what the levels are."""
    style, concept, subgroup, group = (table[name] for name in ("style", "concept", "subgroup", "group"))
    measured = style == MEASURED_STYLE
    triplets: list[tuple[int, ...]] = []
    while len(triplets) < n:
        a = rng.choice(np.flatnonzero(measured))
        if level == "coarse":
            second = measured & (group == group[a]) & (subgroup != subgroup[a])
            third = measured & (group != group[a])
        elif level == "fine":
            second = measured & (subgroup == subgroup[a]) & (concept != concept[a])
            third = measured & (group == group[a]) & (subgroup != subgroup[a])
        else:
            second = (concept == concept[a]) & ~measured
            third = (subgroup == subgroup[a]) & (concept != concept[a]) & ~measured
        if not second.any():
            continue
        b = rng.choice(np.flatnonzero(second))
        if level == "boundary":
            third &= style != style[b]
        triplets.append((a, b, rng.choice(np.flatnonzero(third))))
    return np.array(triplets)


def measure(embeddings: Tensor, table: dict[str, np.ndarray], num_triplets: int) -> dict[str, float]:
    """Odd-one-out accuracy by level and kind of similarity; ties are wrong, chance is 1/3."""
    accuracies = {}
    for level in ("coarse", "fine", "boundary"):
        triplets = torch.from_numpy(draw_triplets(table, level, num_triplets, np.random.default_rng(0)))
        for kind in ("dot", "cosine"):
            choice = odd_one_out(triplet_similarities(embeddings, triplets, kind))
            accuracies[f"{level}/{kind}"] = is_correct(choice, torch.full_like(choice, 2)).double().mean().item()
    return accuracies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("hf_alignet/demo/encoder"), help="model directory")
    parser.add_argument("--epochs", type=int, default=40, help="passes over the pictures")
    parser.add_argument("--batch_size", type=int, default=128, help="pictures a step")
    parser.add_argument("--learning_rate", type=float, default=1e-3, help="peak of the one-cycle schedule")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the order and the augmentation")
    parser.add_argument("--num_threads", type=int, default=2, help="CPU threads; other numbers may change last digits")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.num_threads)

    dataset = demo_images()
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in dataset["image"]])).permute(0, 3, 1, 2)
    table = {name: np.asarray(dataset[name]) for name in ("concept", "subgroup", "group", "style")}
    labels = torch.from_numpy(np.unique(table["concept"], return_inverse=True)[1])

    model = ViTModel(CONFIG, add_pooling_layer=False)
    prototypes = torch.nn.Parameter(torch.randn(int(labels.max()) + 1, CONFIG.hidden_size))  # thrown away afterwards
    optimizer = torch.optim.AdamW([*model.parameters(), prototypes], lr=args.learning_rate, weight_decay=0.05)
    steps = args.epochs * (len(labels) // args.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.learning_rate, total_steps=steps, pct_start=0.1)
    with tqdm(total=steps) as progress:
        for _ in range(args.epochs):
            order = torch.randperm(len(labels))
            for batch in order[: len(order) // args.batch_size * args.batch_size].split(args.batch_size):
                output = model(augment(normalise(pixels[batch])))
                cosines = F.normalize(output.last_hidden_state[:, 0], dim=1) @ F.normalize(prototypes, dim=1).T
                loss = F.cross_entropy(SCALE * cosines, labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
                progress.update()

    model.eval()
    with torch.inference_mode():
        embeddings = torch.cat([model(normalise(x)).last_hidden_state[:, 0] for x in pixels.split(256)])
    model.save_pretrained(args.output_dir)
    Path(args.output_dir, "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=2) + "\n")
    norms = embeddings.norm(dim=1)
    print(f"norm of the embeddings: {norms.mean():.2f}, SD {norms.std():.2f}")
    for name, accuracy in measure(embeddings, table, 20_000).items():
        print(f"{name:16} {accuracy:.3f}")


if __name__ == "__main__":
    main()
