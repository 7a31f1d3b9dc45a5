"""Training and embedding on one CUDA GPU, beside bare steps and passes of the same run: one JSON line a result.

Random ViTs at 224², bfloat16, AdamW, and the whole demo. A bare step is forward, backward and update on one batch that
lies on the device. MFU is the share of the rate of a large product of matrices, measured first, that the arithmetic of
the model takes.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --models s b --cases "in memory" lora --profile profile.txt
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from pictures import jpeg_pictures
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainerCallback, ViTConfig, ViTImageProcessorPil, ViTModel

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.images.cache import ImageCache
from hf_alignet.images.reader import ImageReader
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.triplets import TeacherVectors

# Width, heads, layers, and images of a step
MODELS = {"s": (384, 6, 12, 512), "b": (768, 12, 12, 256), "l": (1024, 16, 24, 128)}
TOKENS = 197
NUM_PICTURES, SIZE = 64, (500, 375)  # distinct pictures, as large as those of ImageNet
DEVICE = torch.device("cuda")
WORKERS = 14


class InMemory:
    """Collator that makes all of a batch but its pictures, which are always the same, in pinned memory."""

    def __init__(self, collator: Any, number: int):
        pixels = np.random.default_rng(0).integers(0, 256, (number, 3, 224, 224), dtype=np.uint8)
        self.collator, self.pixels = collator, torch.from_numpy(pixels).pin_memory()
        collator.reader = self

    def read(self, rows: list[int]) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.pixels[: len(rows)]}

    def __call__(self, rows: list[Any]) -> dict[str, Any]:
        return self.collator(rows)


class Clock(TrainerCallback):
    """Seconds of the steps after some that do not count, and their waits for the device."""

    def __init__(self, warm_up: int, counts_waits: bool = False):
        self.warm_up, self.counts_waits = warm_up, counts_waits
        self.seconds, self.steps = 0.0, 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.warm_up:
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("warn" if self.counts_waits else "default")
            self.started = time.perf_counter()
        elif state.global_step == state.max_steps:
            torch.cuda.set_sync_debug_mode("default")
            torch.cuda.synchronize()
            self.seconds, self.steps = time.perf_counter() - self.started, state.global_step - self.warm_up


def make_encoder(model: str) -> VisionEncoder:
    torch.manual_seed(0)
    width, heads, layers, _ = MODELS[model]
    config = ViTConfig(
        hidden_size=width, num_attention_heads=heads, num_hidden_layers=layers, intermediate_size=4 * width
    )
    with DEVICE:
        network = ViTModel(config, add_pooling_layer=False)
    return VisionEncoder(network, ViTImageProcessorPil())


def flops(model: str) -> float:
    """Operations of a forward pass of one image: products with weights, and of attention."""
    width, _, layers, _ = MODELS[model]
    return layers * (2 * 12 * width**2 * TOKENS + 4 * TOKENS**2 * width) + 2 * 768 * width * (TOKENS - 1)


@cache
def make_files() -> Dataset:
    return jpeg_pictures(NUM_PICTURES, SIZE, 8, np.random.default_rng(0))


def make_images(number: int) -> Dataset:
    """Many rows of a few distinct pictures, in turn."""
    return make_files().select(np.arange(number) % NUM_PICTURES)


def make_training_data(source: str, number: int, batch: int, steps: int) -> TeacherVectors | Dataset:
    """In-batch triplets of all images, or separate ones, which go through all images of a batch once a batch."""
    rng = np.random.default_rng(0)
    if source == "batch":
        return TeacherVectors(np.arange(number), rng.normal(size=(number, 384)), np.arange(number) // 8)
    starts = np.arange(steps) * batch % number
    rows = np.concatenate([start + rng.permutation(batch - batch % 3).reshape(-1, 3) for start in starts])
    return Dataset.from_dict({"triplet": rows, "similarities": rng.normal(size=rows.shape)})


def train(
    model: str,
    source: str = "batch",
    reader: Any = None,
    workers: int = 0,
    steps: int = 24,
    warm_up: int = 6,
    lora: bool = False,
    counts_waits: bool = False,
    profile: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Images per second of `AlignTrainer`, and its peak of memory on the device (GB)."""
    encoder, batch = make_encoder(model), MODELS[model][3]
    if lora:
        encoder.add_lora(LoraConfig(r=16, lora_alpha=16))
    images = reader or ImageReader(make_images(8 * batch), encoder.preprocessor)
    dataset = make_training_data(source, len(images), batch, steps)
    args = AlignTrainingArguments(
        output_dir=tempfile.gettempdir() + "/never_written",
        per_device_train_batch_size=batch if source == "batch" else batch // 3,
        train_sampling_strategy="sequential",
        images_per_cluster="8",
        max_steps=steps,
        bf16=True,
        save_strategy="no",
        disable_tqdm=True,
        report_to="none",
        student_temperature="100",
        last_blocks="all",  # as the bare step
        interpolation="0.4",
        dataloader_num_workers=workers,
        **settings,
    )
    trainer = AlignTrainer(encoder, args, train_dataset=dataset, images=images)
    trainer.remove_callback(PrinterCallback)  # only results are printed
    if reader is None:
        trainer.data_collator = InMemory(trainer.data_collator, batch)
    clock = Clock(warm_up, counts_waits)
    trainer.add_callback(clock)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if profile is None:
            trainer.train()
        else:
            write_profile(trainer.train, profile)
    waits = [f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)]
    images_of_step = batch if source == "batch" else batch - batch % 3
    result: dict[str, Any] = {"images_per_s": images_of_step * clock.steps / clock.seconds}
    if counts_waits:
        result["waits_per_step"] = round(len(waits) / clock.steps, 2)
        result["waits_at"] = {place: waits.count(place) for place in sorted(set(waits))}
    return result | {"peak_gb": torch.cuda.max_memory_allocated() / 1e9}


def write_profile(action: Callable[[], object], path: str) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        action()
    averages = profiler.key_averages()
    on_gpu = averages.table(sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=80)
    on_cpu = averages.table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=60)
    with open(path, "a") as file:
        file.write(f"{on_gpu}\n{on_cpu}\n")


def bare_step(model: str, compiled: bool = False, steps: int = 20) -> dict[str, Any]:
    """Images per second of forward, backward and AdamW, with all weights in float32 under autocast."""
    encoder, batch = make_encoder(model).train(), MODELS[model][3]
    pixels = torch.randn(batch, 3, 224, 224, device=DEVICE)
    trained = [p for p in encoder.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, weight_decay=0.0, fused=True)
    network: Any = torch.compile(encoder.model) if compiled else encoder.model

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            embeddings = network(pixel_values=pixels).last_hidden_state[:, 0]
        embeddings.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    seconds = timed(step, steps)
    weights = sum(p.numel() * 4 for p in trained) / 1e9
    return {
        "images_per_s": batch / seconds,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
        "trained_weights_gb": weights,
    }


def bare_forward(model: str, batch: int = 256) -> float:
    """Images per second of a forward pass with weights and pixels in bfloat16."""
    network = make_encoder(model).model.bfloat16().eval()
    pixels = torch.randn(batch, 3, 224, 224, device=DEVICE, dtype=torch.bfloat16)
    with torch.inference_mode():
        return batch / timed(lambda: network(pixel_values=pixels), 30)


def embed(model: str, reader: ImageReader, number: int, batch: int = 256, **options: Any) -> float:
    """Images per second of `VisionEncoder.embed` of so many rows, from its call to its result."""
    encoder = make_encoder(model).eval()
    encoder.embed(reader, rows=np.arange(batch), batch_size=batch, num_workers=0, progress=False, **options)
    start = time.perf_counter()
    rows = np.arange(number) % len(reader)
    encoder.embed(reader, rows=rows, batch_size=batch, num_workers=WORKERS, progress=False, **options)
    return number / (time.perf_counter() - start)


def decode_only(reader: ImageReader, workers: int, batch: int = 256) -> float:
    """Images per second that worker processes read, with nothing behind them."""
    spans: Any = [list(range(start, start + batch)) for start in range(0, len(reader) - batch + 1, batch)]
    loader = DataLoader(spans, batch_size=None, collate_fn=reader.read, num_workers=workers)
    ready = 3 * workers  # batches that do not count, as memory is new to them
    for number, _ in enumerate(loader):
        if number == ready:
            start = time.perf_counter()
    return (number - ready) * batch / (time.perf_counter() - start)


def timed(action: Callable[[], object], repeats: int) -> float:
    """Seconds of one of many calls, after some that do not count."""
    for _ in range(5):
        action()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def product_rate() -> float:
    """Operations per second of a large product of matrices in bfloat16."""
    a, b = (torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / timed(lambda: a @ b, 20)


class Report:
    """Prints results, with what they are compared with."""

    def __init__(self, peak: float, chosen: list[str] | None):
        self.peak, self.chosen = peak, chosen
        self.bare: dict[str, Any] = {}

    def wants(self, case: str) -> bool:
        return self.chosen is None or any(part in case for part in self.chosen)

    def line(self, benchmark: str, **values: Any) -> None:
        rounded = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in values.items()}
        print(json.dumps({"benchmark": benchmark, "gpu": torch.cuda.get_device_name(), **rounded}), flush=True)

    def start(self, model: str) -> None:
        self.model, self.bare = model, bare_step(model)
        self.line(f"bare step {self.name}", **self.bare, mfu=self.mfu(self.bare["images_per_s"], 3))

    @property
    def name(self) -> str:
        return f"ViT-{self.model.upper()}/16, {MODELS[self.model][3]} images, bf16"

    def mfu(self, rate: float, passes: int) -> float:
        return rate * passes * flops(self.model) / self.peak

    def train(self, case: str, against: dict[str, Any] | None = None, **options: Any) -> None:
        """A training case. Memory is compared with that of the bare step and a copy of the trained weights."""
        if not self.wants(case):
            return
        result, bare = train(self.model, **options), against or self.bare
        limit = bare["peak_gb"] + bare["trained_weights_gb"]
        result |= {"against": "bare step", "ratio": result["images_per_s"] / bare["images_per_s"]}
        result |= {"mfu": self.mfu(result["images_per_s"], 3), "memory_ratio": result["peak_gb"] / limit}
        self.line(f"train {self.name}, {case}", **result)


def training(report: Report, profile: str | None) -> None:
    report.train("batch, in memory", counts_waits=True)
    report.train("separate, in memory", source="separate", counts_waits=True)
    if profile is not None:
        train(report.model, steps=8, warm_up=2, profile=profile)
    if report.model != "l":
        report.train("batch, in memory, penalty", anchor_type="penalty")
    if report.model != "b":
        return
    report.train("batch, in memory, slices of 128", images_per_forward=128)
    report.train("batch, in memory, lora r=16", lora=True)
    if report.wants("compiled"):
        bare = bare_step(report.model, compiled=True)
        report.line(f"bare step {report.name}, compiled", **bare)
        report.train("batch, in memory, compiled", bare, torch_compile=True, warm_up=10, steps=30)


def pictures(report: Report) -> None:
    """From files and from a cache of resized pictures."""
    preprocessor = make_encoder(report.model).preprocessor
    reader = ImageReader(make_images(48 * MODELS[report.model][3]), preprocessor)
    # Worker processes have up to 28 batches ready: these do not count
    many: dict[str, Any] = {"warm_up": 30, "steps": 48, "workers": WORKERS}
    if report.wants("jpeg"):
        report.line(f"decoding {SIZE[0]}x{SIZE[1]} JPEG, {WORKERS} workers", images_per_s=decode_only(reader, WORKERS))
    report.train(f"batch, jpeg, {WORKERS} workers", reader=reader, **many)
    with tempfile.TemporaryDirectory() as directory:
        if report.wants("cache"):
            cached = ImageCache(directory, reader.images, preprocessor)
            start = time.perf_counter()
            cached.prepare(np.arange(len(cached)), WORKERS, progress=False)
            report.line("filling the cache", images_per_s=len(cached) / (time.perf_counter() - start))
            report.train(f"batch, cache, {WORKERS} workers", reader=cached, **many)
            report.train("batch, cache, no workers", reader=cached)
        if report.wants("embedding"):
            forward = bare_forward(report.model)
            report.line(f"bare forward ViT-{report.model}", images_per_s=forward, mfu=report.mfu(forward, 1))
            sources: dict[str, tuple[ImageReader, int]] = {"jpeg": (reader, 24_576)}
            if report.wants("cache"):
                sources["cache"] = cached, 131_072
            for source, (images, number) in sources.items():
                rate = embed(report.model, images, number, bf16=True)
                readers = f"{WORKERS} workers" if source == "jpeg" else "threads"
                report.line(
                    f"embedding ViT-{report.model}, {number} images, {source}, {readers}, bf16",
                    images_per_s=rate,
                    against="bare forward",
                    ratio=rate / forward,
                )


def demo() -> float:
    """Seconds of the whole demo, from the start of its process."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "hf_alignet.cli.main", "demo", "--output_dir", directory + "/aligned"]
        subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="sizes of the ViT")
    parser.add_argument("--cases", nargs="+", help="parts of the names of cases; by default all of them")
    parser.add_argument("--profile", help="a file for where the time of a step goes")
    args = parser.parse_args()
    peak = product_rate()
    report = Report(peak, args.cases)
    report.line("product of 8192² matrices, bf16", tflop_per_s=peak / 1e12)
    for model in args.models:
        report.start(model)
        training(report, args.profile)
        if model == "s":
            pictures(report)
    if report.wants("demo"):
        report.line("demo", wall_s=demo())


if __name__ == "__main__":
    main()
