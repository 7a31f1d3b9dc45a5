"""Few-shot accuracy of an encoder cut after each of its last blocks, and of one with random weights.

Takes photographs of every fourth class of `things-vit-tiny`. Shows whether weights are worth anything, and how deep.

    python recipes/second-encoder/convert.py --blocks 12 --output_dir outputs/second-encoder/all-blocks
    python recipes/second-encoder/depth.py
"""

import argparse
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import AutoModel

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.evaluation import few_shot_accuracy
from hf_alignet.images.opening import load_images
from hf_alignet.images.reader import ImageReader

PER_CLASS, EVERY_CLASS = 12, 4
DEPTHS = (9, 10, 11, 12)
BATCH = 48


@torch.no_grad()
def class_tokens(backbone: Any, pixels: list[Tensor]) -> dict[int, np.ndarray]:
    """(n, d) by depth: class tokens after so many blocks, under the last layer norm. In bfloat16 autocast."""
    kept: dict[int, list[Tensor]] = {depth: [] for depth in DEPTHS}
    for batch in pixels:
        with torch.autocast("cpu", torch.bfloat16):
            states = backbone(batch, output_hidden_states=True).hidden_states
        for depth in DEPTHS:
            kept[depth].append(backbone.layernorm(states[depth][:, 0].float()))
    return {depth: torch.cat(parts).numpy() for depth, parts in kept.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", default="outputs/second-encoder/all-blocks", help="(%(default)s)")
    parser.add_argument("--data", default="data/things-vit-tiny", help="(%(default)s)")
    arguments = parser.parse_args()
    images = load_images(arguments.data)
    labels = np.asarray(images["label"][:])
    place = pd.Series(labels).groupby(labels).cumcount().to_numpy()
    rows = np.flatnonzero((place < PER_CLASS) & np.isin(labels, np.unique(labels)[::EVERY_CLASS]))
    encoder = VisionEncoder.from_pretrained(arguments.model_name_or_path).eval()
    reader = ImageReader(images, encoder.preprocessor)
    batches = [reader.read(rows[start : start + BATCH].tolist()) for start in range(0, len(rows), BATCH)]
    pixels = [encoder.preprocessor.normalize(batch)["pixel_values"] for batch in batches]
    torch.manual_seed(0)
    for name, backbone in {
        "": encoder.backbone,
        "random, ": AutoModel.from_config(encoder.backbone.config).eval(),
    }.items():
        for depth, tokens in class_tokens(backbone, pixels).items():
            accuracies = [few_shot_accuracy(tokens, labels[rows], shots)["value"] for shots in (1, 10)]
            print(f"{name}{depth} blocks: 1-shot {accuracies[0]:.3f}, 10-shot {accuracies[1]:.3f}", flush=True)


if __name__ == "__main__":
    main()
