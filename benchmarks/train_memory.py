"""Peak memory of steps of `AlignTrainer` beside bare steps, each in a process of its own: one JSON line a result.

The model, batch and bare step are those of train_step.py. Counted is what a process takes beyond what it had before it
made the model (resident set, MB).

    OMP_NUM_THREADS=1 python benchmarks/train_memory.py
"""

import argparse
import json
import resource
import subprocess
import sys

import psutil
import torch
from train_step import NUM_TRIPLETS, InMemory, make_data, make_encoder, make_trainer

STEPS = 3
SLICE = 6  # images of two triplets


def measure(mode: str, size: int) -> float:
    """Peak megabytes of some steps."""
    images, triplets = make_data(size, STEPS)
    before = psutil.Process().memory_info().rss
    encoder = make_encoder(size)
    if mode == "bare":
        pixels = encoder.preprocessor(images["image"][:])["pixel_values"]
        optimizer = torch.optim.AdamW(encoder.train().parameters(), lr=1e-5, weight_decay=0.0, fused=True)
        for _ in range(STEPS):
            encoder.model(pixel_values=pixels).last_hidden_state[:, 0].square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    else:
        settings = {"images_per_forward": SLICE} if mode == "sliced" else {}
        trainer = make_trainer(encoder, images, triplets, max_steps=STEPS, **settings)
        trainer.data_collator = InMemory(trainer.data_collator([triplets[i] for i in range(NUM_TRIPLETS)]))
        trainer.train()
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return (peak - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224, help="side of a picture in pixels (%(default)s)")
    parser.add_argument("--mode", choices=["bare", "ours", "sliced"], help="measure this alone, here; print megabytes")
    args = parser.parse_args()
    if args.mode:
        print(measure(args.mode, args.size))
        return
    peaks = {}
    for mode in ("bare", "ours", "sliced"):
        command = [sys.executable, __file__, "--mode", mode, "--size", str(args.size)]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peaks[mode] = float(run.stdout.splitlines()[-1])
    copy = sum(p.numel() * 4 for p in make_encoder(args.size).parameters()) / 1e6
    name = f"peak memory of training ViT-Ti/16 at {args.size}, fp32, 48 pictures"
    results = [
        (name, "ours", "bare step and a copy of the trained weights", peaks["bare"] + copy),
        (f"{name}, --images_per_forward {SLICE}", "sliced", "without --images_per_forward", peaks["ours"]),
    ]
    for benchmark, mode, against, limit in results:
        ratio = round(peaks[mode] / limit, 3)
        print(json.dumps({"benchmark": benchmark, "mb": round(peaks[mode]), "against": against, "ratio": ratio}))


if __name__ == "__main__":
    main()
