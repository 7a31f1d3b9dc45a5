"""A training step of `AlignTrainer` beside a bare forward, backward and optimiser step: one JSON line a result.

Same model, same pictures, same precision, steps in turn, medians; both decode nothing (the pictures are resized and in
memory). A batch has 48 pictures and 256 triplets of them.

    OMP_NUM_THREADS=1 python benchmarks/train_step.py
"""

import argparse
import json
import tempfile
import time
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from transformers import PrinterCallback, TrainerCallback, ViTConfig, ViTImageProcessorPil, ViTModel

from hf_alignet.encoder import VisionEncoder
from hf_alignet.student import AlignTrainer, AlignTrainingArguments

NUM_IMAGES, NUM_TRIPLETS = 48, 256
WARM_UP = 2  # steps that do not count


class InMemory:
    """Collator that gives the same batch of pictures every time."""

    def __init__(self, batch: dict[str, Any]):
        self.batch = batch

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return self.batch


def make_encoder(args: argparse.Namespace) -> VisionEncoder:
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768, image_size=args.size)
    processor = ViTImageProcessorPil(size={"height": args.size, "width": args.size})
    return VisionEncoder(ViTModel(config, add_pooling_layer=False), processor)


class Interleaved(TrainerCallback):
    """After each step of the trainer, a bare step that only pushes the embeddings towards 0; times both."""

    def __init__(self, encoder: VisionEncoder, pixels: torch.Tensor, bf16: bool):
        self.encoder, self.pixels, self.bf16 = encoder.train(), pixels, bf16
        self.optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-5, weight_decay=0.0, fused=True)
        self.ours: list[tuple[float, float]] = []
        self.bare: list[tuple[float, float]] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.start = time.process_time(), time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.ours.append(self.since_start())
        self.on_step_begin()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            embeddings = self.encoder.model(pixel_values=self.pixels).last_hidden_state[:, 0]
        embeddings.float().square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.bare.append(self.since_start())

    def since_start(self) -> tuple[float, float]:
        return time.process_time() - self.start[0], time.perf_counter() - self.start[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="steps that count")
    parser.add_argument("--size", type=int, default=224, help="side of a picture in pixels")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (NUM_IMAGES, args.size, args.size, 3), dtype=np.uint8)
    images = Dataset.from_dict(
        {"image": [Image.fromarray(p) for p in pixels]}, features=Features({"image": ImageFeature()})
    )
    rows = np.stack([rng.permutation(NUM_IMAGES)[:3] for _ in range((args.steps + WARM_UP) * NUM_TRIPLETS)])
    triplets = Dataset.from_dict({"triplet": rows, "similarities": rng.normal(size=rows.shape)})
    for bf16 in (False, True):
        with tempfile.TemporaryDirectory() as directory:
            settings = AlignTrainingArguments(
                output_dir=directory,
                per_device_train_batch_size=NUM_TRIPLETS,
                logging_steps=1000,
                save_strategy="no",
                disable_tqdm=True,
                bf16=bf16,
                student_temperature="100",
            )
            trainer = AlignTrainer(make_encoder(args), settings, images, triplets)
            trainer.remove_callback(PrinterCallback)  # only results are printed
            trainer.data_collator = InMemory(trainer.data_collator([triplets[i] for i in range(NUM_TRIPLETS)]))
            bare_encoder = make_encoder(args)
            normalised = bare_encoder.preprocessor([Image.fromarray(p) for p in pixels])["pixel_values"]
            times = Interleaved(bare_encoder, normalised, bf16)
            trainer.add_callback(times)
            trainer.train()
        ours, bare = (np.median(both[WARM_UP:], axis=0) for both in (times.ours, times.bare))
        result = {
            "benchmark": f"train step ViT-Ti/16 at {args.size}, {'bf16' if bf16 else 'fp32'}",
            "images_per_cpu_s": round(NUM_IMAGES / ours[0], 2),
            "images_per_s": round(NUM_IMAGES / ours[1], 2),
            "against": "bare forward, backward and AdamW step",
            "ratio": round(bare[0] / ours[0], 3),
            "threads": torch.get_num_threads(),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
