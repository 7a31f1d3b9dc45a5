"""What `VisionEncoder` costs beside the work that cannot be avoided: one JSON line a result.

preprocess: pictures to normalised inputs, against the checkpoint's own image processor on the same pictures.
read: JPEG files to uint8 pixels, against Pillow alone, which opens, decodes, resizes and makes an array of each.
cache: resized pictures from the disk's cache, against a copy of as many bytes; and in batches of 256, by this process
    and by two worker processes, in wall time.
embed: a whole dataset, decoding included, against a bare loop of forward passes over inputs already in memory.

    OMP_NUM_THREADS=1 python benchmarks/encoder.py
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from pictures import jpeg_pictures
from PIL import Image
from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.images.cache import ImageCache
from hf_alignet.images.reader import ImageReader

SIZES = {"ti": (192, 3), "s": (384, 6)}


def seconds(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """CPU and wall seconds of the fastest of several calls, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        function()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(times)


def report(name: str, images: int, ours: tuple[float, float], limit: tuple[float, float], against: str) -> None:
    result = {
        "benchmark": name,
        "images_per_cpu_s": round(images / ours[0], 1),
        "images_per_s": round(images / ours[1], 1),
        "against": against,
        "ratio": round(limit[0] / ours[0], 3),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result), flush=True)


def reading(encoder: VisionEncoder, number: int, repeats: int) -> None:
    images, rows = jpeg_pictures(number, (500, 375), 8, np.random.default_rng(0)), list(range(number))
    files = [row["bytes"] for row in images.cast_column("image", ImageFeature(decode=False))["image"]]
    reader = ImageReader(images, encoder.preprocessor)

    def pillow_alone() -> None:
        for file in files:
            with Image.open(io.BytesIO(file), formats=["JPEG"]) as picture:
                np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR)).transpose(2, 0, 1).copy()

    ours, limit = seconds(lambda: reader.read(rows), repeats), seconds(pillow_alone, repeats)
    report("read 500x375 JPEG to 224x224", number, ours, limit, "Pillow alone")
    with tempfile.TemporaryDirectory() as directory:
        cache = ImageCache(directory, images, encoder.preprocessor)
        cache.prepare(np.arange(number), progress=False)
        pixels = cache.read(rows)["pixel_values"]
        ours, limit = seconds(lambda: cache.read(rows), 10 * repeats), seconds(pixels.clone, 10 * repeats)
        report("cache, 224x224", number, ours, limit, "a copy of the pixels")
        groups = [np.arange(256) % number] * 40
        wall = {workers: seconds(partial(read_all, cache, groups, workers), repeats)[1] for workers in (0, 2)}
        rates = {f"images_per_s_{workers}_workers": round(256 * len(groups) / wall[workers]) for workers in wall}
        print(json.dumps({"benchmark": "cache, batches of 256", **rates}), flush=True)


def read_all(reader: ImageReader, groups: list[np.ndarray], workers: int) -> None:
    for _ in reader.batches(groups, workers):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=128, help="pictures a run")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the fastest counts")
    parser.add_argument("--model", choices=SIZES, default="ti", help="size of the ViT, with random weights")
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (args.images, 15, 20, 3), dtype=np.uint8)
    pictures = [Image.fromarray(p).resize((320, 240), Image.Resampling.BICUBIC) for p in pixels]
    images = Dataset.from_dict({"image": pictures}, features=Features({"image": ImageFeature()}))
    width, heads = SIZES[args.model]
    config = ViTConfig(hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width)
    encoder = VisionEncoder(ViTModel(config, add_pooling_layer=False), ViTImageProcessorPil()).eval()

    ours = seconds(lambda: encoder.preprocessor(pictures), args.repeats)
    theirs = seconds(lambda: encoder.processor(pictures, return_tensors="pt"), args.repeats)
    report("preprocess 320x240 to 224x224", args.images, ours, theirs, "ViTImageProcessorPil")

    reading(encoder, args.images, args.repeats)

    inputs = encoder.preprocessor(pictures)["pixel_values"].split(32)

    def bare() -> None:
        with torch.inference_mode():
            for batch in inputs:
                encoder.model(pixel_values=batch).last_hidden_state[:, 0].numpy()

    limit = seconds(bare, args.repeats)
    ours = seconds(lambda: encoder.embed(images, batch_size=32, progress=False), args.repeats)
    report(f"embed ViT-{args.model}/16, decoding PNG", args.images, ours, limit, "bare forward passes")


if __name__ == "__main__":
    main()
