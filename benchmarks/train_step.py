"""A training step of `AlignTrainer` beside a bare forward, backward and optimiser step: one JSON line a result.

Same model, same pictures, same precision, steps in turn, medians. A batch has 48 pictures and 256 triplets of them.

    OMP_NUM_THREADS=1 python benchmarks/train_step.py

`in memory` decodes nothing: the pictures are resized and in memory. `decoding` reads JPEG files of twice the side
in two worker processes; its time is that between two steps. Times are of the process that trains. The last lines are
the anchor of a LoRA adapter alone, both ways, and what `preserve_weight` adds, as shares of a step.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from pictures import jpeg_pictures
from transformers import PrinterCallback, TrainerCallback, ViTConfig, ViTImageProcessorPil, ViTModel

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.student.preservation import ROWS, Preservation

NUM_IMAGES, NUM_TRIPLETS = 48, 256
WARM_UP = 2  # steps that do not count


class InMemory:
    """Collator that gives the same batch of pictures every time."""

    def __init__(self, batch: dict[str, Any]):
        self.batch = batch

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        return self.batch


def make_encoder(size: int) -> VisionEncoder:
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768, image_size=size)
    processor = ViTImageProcessorPil(size={"height": size, "width": size})
    return VisionEncoder(ViTModel(config, add_pooling_layer=False), processor)


def make_data(size: int, steps: int) -> tuple[Dataset, Dataset]:
    """JPEG pictures twice as long and high as the model takes, and triplets of them."""
    rng = np.random.default_rng(0)
    images = jpeg_pictures(NUM_IMAGES, (2 * size, 2 * size), 16, rng)
    # Every batch has all pictures, as the bare step does
    rows = np.concatenate(
        [
            np.vstack([rng.permutation(NUM_IMAGES).reshape(-1, 3)] * (NUM_TRIPLETS // (NUM_IMAGES // 3)))
            for _ in range(steps)
        ]
    )
    return images, Dataset.from_dict({"triplet": rows, "similarities": rng.normal(size=rows.shape)})


def make_trainer(encoder: VisionEncoder, images: Dataset, triplets: Dataset, **settings: Any) -> AlignTrainer:
    args = AlignTrainingArguments(
        output_dir=tempfile.gettempdir() + "/never_written",
        per_device_train_batch_size=NUM_TRIPLETS,
        train_sampling_strategy="sequential",
        logging_steps=1000,
        save_strategy="no",
        disable_tqdm=True,
        student_temperature="100",
        last_blocks="all",  # as the bare step
        interpolation="0.4",
        **settings,
    )
    trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
    trainer.remove_callback(PrinterCallback)  # only results are printed
    return trainer


class Interleaved(TrainerCallback):
    """After each step of the trainer, a bare step that only pushes the embeddings towards 0; times both."""

    def __init__(self, encoder: VisionEncoder, pixels: torch.Tensor, bf16: bool):
        self.encoder, self.pixels, self.bf16 = encoder.train(), pixels, bf16
        self.optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-5, weight_decay=0.0, fused=True)
        self.ours: list[tuple[float, float]] = []
        self.bare: list[tuple[float, float]] = []

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.mark()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.ours.append(self.mark())
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            embeddings = self.encoder.model(pixel_values=self.pixels).last_hidden_state[:, 0]
        embeddings.float().square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.bare.append(self.mark())

    def mark(self) -> tuple[float, float]:
        """CPU and wall seconds since it was called last."""
        now = np.array([time.process_time(), time.perf_counter()])
        passed, self.last = now - getattr(self, "last", now), now
        return passed


def step(size: int, steps: int, bf16: bool, num_workers: int) -> dict[str, Any]:
    images, triplets = make_data(size, steps + WARM_UP)
    encoder = make_encoder(size)
    trainer = make_trainer(encoder, images, triplets, bf16=bf16, dataloader_num_workers=num_workers)
    if num_workers == 0:
        trainer.data_collator = InMemory(trainer.data_collator([triplets[i] for i in range(NUM_TRIPLETS)]))
    bare_encoder = make_encoder(size)
    pixels = bare_encoder.preprocessor(images["image"][:])["pixel_values"]
    times = Interleaved(bare_encoder, pixels, bf16)
    trainer.add_callback(times)
    trainer.train()
    ours, bare = (np.median(both[WARM_UP:], axis=0) for both in (times.ours, times.bare))
    source = f"decoding in {num_workers} workers" if num_workers else "in memory"
    return {
        "benchmark": f"train step ViT-Ti/16 at {size}, {'bf16' if bf16 else 'fp32'}, {source}",
        "images_per_cpu_s": round(NUM_IMAGES / ours[0], 2),
        "images_per_s": round(NUM_IMAGES / ours[1], 2),
        "against": "bare forward, backward and AdamW step",
        "ratio_cpu": round(bare[0] / ours[0], 3),
        "ratio_wall": round(bare[1] / ours[1], 3),
    }


def lora_anchor(size: int, steps: int) -> dict[str, Any]:
    images, triplets = make_data(size, steps)
    encoder = make_encoder(size)
    encoder.add_lora(LoraConfig(r=16))
    trainer = make_trainer(encoder, images, triplets, anchor_type="penalty")
    batch = trainer.data_collator([triplets[i] for i in range(NUM_TRIPLETS)])
    trainer.args.anchor_type = "decoupled"  # the loss then has no penalty
    anchor = trainer.anchor
    assert anchor is not None
    optimizer = trainer.create_optimizer()

    def whole_step() -> None:
        trainer.compute_loss(encoder, batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    whole = cpu_seconds(whole_step, steps)
    penalty = cpu_seconds(lambda: anchor.penalty().backward(), 10 * steps)
    pull = cpu_seconds(lambda: anchor.pull(optimizer, 1.0), 10 * steps)
    return {
        "benchmark": f"anchor of LoRA r=16 on all linear layers of ViT-Ti/16 at {size}, fp32",
        "penalty_cpu_s": round(penalty, 4),
        "decoupled_cpu_s": round(pull, 4),
        "against": "a step without it",
        "penalty_share": round(penalty / whole, 5),
        "decoupled_share": round(pull / whole, 5),
    }


def preservation(size: int, steps: int) -> dict[str, Any]:
    images, triplets = make_data(size, steps)
    encoder = make_encoder(size)
    trainer = make_trainer(encoder, images, triplets)
    batch = trainer.data_collator([triplets[i] for i in range(NUM_TRIPLETS)])
    rows = torch.unique(batch[ROWS])
    base = torch.randn(len(rows), encoder.embedding_dim)
    keep = Preservation(rows.numpy(), base)
    embeddings = torch.randn(len(rows), encoder.embedding_dim, requires_grad=True)
    whole = cpu_seconds(lambda: trainer.compute_loss(encoder, batch).backward(), steps)
    alone = cpu_seconds(lambda: keep.loss(embeddings, batch).backward(), 10 * steps)
    return {
        "benchmark": f"preserve_weight, {len(rows)} images of ViT-Ti/16 at {size}, fp32",
        "preserve_cpu_s": round(alone, 4),
        "against": "forward and backward without it",
        "share": round(alone / whole, 5),
    }


def cpu_seconds(work: Callable[[], None], repeats: int) -> float:
    """Median of the CPU seconds of some calls, after one that does not count."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="steps that count (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of a picture in pixels (%(default)s)")
    args = parser.parse_args()
    for bf16 in (False, True):
        for num_workers in (0, 2):
            result = step(args.size, args.steps, bf16, num_workers) | {"threads": torch.get_num_threads()}
            print(json.dumps(result), flush=True)
    for measured in (lora_anchor, preservation):
        print(json.dumps(measured(args.size, args.steps) | {"threads": torch.get_num_threads()}), flush=True)


if __name__ == "__main__":
    main()
