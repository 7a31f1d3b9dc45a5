"""Train the demo's small encoder, `hf_alignet/demo/encoder/`, from scratch to tell emoji concepts apart across styles.

For maintainers: users get the finished encoder with the package. It learns from every concept in every style, as an
encoder trained on the web has seen such pictures before; what the demo holds out is held out from alignment. Groups
and subgroups are used for the closing measurement only: fine structure is learned here, global structure is not.

    python recipes/demo/pretrain.py
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm
from transformers import ViTConfig, ViTModel

from hf_alignet.demo import demo_images, demo_triplets
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.evaluation import evaluate_splits

CONFIG = ViTConfig(
    image_size=64,
    patch_size=16,
    hidden_size=184,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=736,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    initializer_range=0.06,  # a narrow network learns faster from there than from the usual 0.02
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
SCALE = 10.0  # of the cosines in the softmax: so low that pictures of one concept must nearly coincide


def normalise(pixels: Tensor) -> Tensor:
    """(B, 3, 64, 64) uint8 to float in [-1, 1], as the saved processor does."""
    return pixels.float().div_(127.5).sub_(1.0)


def augment(images: Tensor) -> Tensor:
    """Random flip, rotation, zoom, shift and colours, drawn for each of (B, 3, H, W) pictures in [-1, 1] on white."""
    n = len(images)
    angle = torch.empty(n).uniform_(-math.pi / 20, math.pi / 20)
    zoom = torch.empty(n).uniform_(0.92, 1.12)  # above 1 the picture becomes smaller
    flip = torch.randint(0, 2, (n,)) * 2.0 - 1.0
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    shift = torch.empty(2, n).uniform_(-0.08, 0.08)
    affine = torch.stack(
        [torch.stack([cos * flip, -sin, shift[0]], 1), torch.stack([sin * flip, cos, shift[1]], 1)], 1
    )
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    ink = F.grid_sample(1.0 - images, grid, align_corners=False)  # white is 0 here, and so is what lies outside
    grey = ink.mean(1, keepdim=True)
    saturation = torch.empty(n, 1, 1, 1).uniform_(0.5, 1.4)
    tint = torch.empty(n, 3, 1, 1).uniform_(0.85, 1.15)
    return (1.0 - (grey + saturation * (ink - grey)) * tint).clamp(-1.0, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("hf_alignet/demo/encoder"), help="model directory")
    parser.add_argument("--epochs", type=int, default=110, help="passes over the pictures")
    parser.add_argument("--batch_size", type=int, default=32, help="pictures a step")
    parser.add_argument("--learning_rate", type=float, default=1e-3, help="peak of the one-cycle schedule")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the order and the augmentation")
    parser.add_argument("--num_threads", type=int, default=1, help="CPU threads; other numbers change last digits")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.num_threads)

    dataset = demo_images()
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in dataset["image"]])).permute(0, 3, 1, 2)
    labels = torch.from_numpy(np.unique(dataset["concept"], return_inverse=True)[1])

    model = ViTModel(CONFIG, add_pooling_layer=False)
    prototypes = torch.nn.Parameter(0.05 * torch.randn(int(labels.max()) + 1, CONFIG.hidden_size))  # not saved
    groups: list[dict[str, Any]] = [{"params": model.parameters()}, {"params": [prototypes], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.learning_rate, weight_decay=0.05, fused=True)
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

    model.save_pretrained(args.output_dir)
    Path(args.output_dir, "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=2) + "\n")
    splits = {name: triplets for name, triplets in demo_triplets(dataset).items() if name != "train"}
    metrics, _, _ = evaluate_splits(VisionEncoder.from_pretrained(str(args.output_dir)), dataset, splits, "demo")
    print("\n".join(f"{name}: {metric['value']:.3f} (n = {metric['n']})" for name, metric in metrics.items()))


if __name__ == "__main__":
    main()
