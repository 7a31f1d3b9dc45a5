"""What a user waits for before the work begins: one JSON line a result, in CPU seconds of one thread.

- `help`: `hf-alignet COMMAND --help` of each command, the least of three times; beside it the import of libraries.
- `first_step`: `hf-alignet align` from its start to the first training step, on a folder of 100,000 small pictures
  (1,000 files under 100 names each) and a million triplets of `hf-alignet make-triplets`. The student is a random ViT
  of the size of ViT-Ti/16 at 224 pixels. The limit is 25 CPU seconds. What a stage calls that is a stage itself counts
  there alone.
- `temperature`: how much `student_temperature=auto` varies between samples of training triplets: the SD of its
  logarithm over 100 samples of 80 and of 512 triplets, random ones, and two pictures of a class and one of another.
  Embeddings are made up: 4,000 pictures of 200 classes, 192 dimensions, of which the teacher has more of the classes.

    OMP_NUM_THREADS=1 python benchmarks/waits.py
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import run_parts
from PIL import Image
from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

from hf_alignet.cli.main import COMMANDS
from hf_alignet.similarity import triplet_similarities
from hf_alignet.similarity.matched_entropy import match_entropy
from hf_alignet.workflows.triplet_run import make_triplets

FILES, NAMES, CLASSES, SIZE = 1_000, 100, 10, 224
IMAGES = FILES * NAMES
TRIPLETS, HELD_OUT = 1_000_000, 32
LIMIT = 25
LIBRARIES = ("torch", "datasets", "transformers.hf_argparser", "transformers.training_args")


def helps() -> dict[str, float]:
    commands = {name: ["-m", "hf_alignet.cli.main", name, "--help"] for name in COMMANDS}
    libraries = {name: ["-c", f"import {name}"] for name in LIBRARIES}
    return {name: min(_cpu_seconds(words) for _ in range(3)) for name, words in (commands | libraries).items()}


def _cpu_seconds(words: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)


def first_step() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_data(folder)
        timed = "import sys, waits; waits.timed_align(sys.argv[1])"
        words = [sys.executable, "-c", timed, place]
        run = subprocess.run(
            words, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent, env=dict(os.environ)
        )
    found = json.loads(run.stdout.splitlines()[-1])
    return {"images": IMAGES, "triplets": TRIPLETS, **found, "is_within": found["cpu_s"] < LIMIT}


def make_data(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(FILES):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        first = folder / "images" / f"class {number % CLASSES}" / f"{number}-0.jpg"
        first.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((64, 64)).save(first)
        for name in range(1, NAMES):
            (first.parent / f"{number}-{name}.jpg").hardlink_to(first)
    model = ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768, image_size=SIZE)
    ViTModel(model, add_pooling_layer=False).save_pretrained(folder / "model")
    ViTImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(folder / "model")
    np.save(folder / "features.npy", rng.standard_normal((IMAGES, 32), np.float32))
    make_triplets(
        str(folder / "images"),
        features=str(folder / "features.npy"),
        output_dir=folder / "triplets",
        sampling="random",
        num_triplets=TRIPLETS,
        num_validation_triplets=HELD_OUT,
        progress=False,
    )


def temperature() -> dict[str, float]:
    rng = np.random.default_rng(0)
    pictures, classes, samples = 4_000, 200, 100
    places, labels = rng.standard_normal((classes, 192)), np.arange(pictures) % classes
    noise = rng.standard_normal((pictures, 192))
    student, teacher = places[labels] + 2 * noise, places[labels] + noise
    found = {}
    for kind in ("random", "of_classes"):
        triplets = np.stack([rng.permutation(pictures)[:3] for _ in range(samples * 512)])
        if kind == "of_classes":
            triplets[:, 1] = (
                triplets[:, 0] + classes * rng.integers(1, pictures // classes, len(triplets))
            ) % pictures
        of_student, of_teacher = (triplet_similarities(torch.from_numpy(x), torch.from_numpy(triplets))
                                  for x in (student, teacher))  # fmt: skip
        of_teacher = of_teacher / of_teacher.std(1).mean()
        for number in (80, 512):
            parts = [slice(number * i, number * (i + 1)) for i in range(samples)]
            logs = np.log([match_entropy(of_student[part], of_teacher[part]) for part in parts])
            found[f"{kind}_{number}"] = round(float(logs.std()), 3)
    return found


def timed_align(place: str) -> None:
    """Aligns in this process, and prints what it took until the first training step."""
    from hf_alignet.cli import align
    from hf_alignet.student import AlignTrainer
    from hf_alignet.workflows import alignment_run

    taken: dict[str, float] = {"imports": time.process_time()}

    def timed(owner: Any, name: str, stage: str) -> None:
        work: Callable[..., Any] = getattr(owner, name)

        @wraps(work)
        def measured(*args: Any, **options: Any) -> Any:
            before, inside = time.process_time(), sum(taken.values())
            try:
                return work(*args, **options)
            finally:
                spent = time.process_time() - before - (sum(taken.values()) - inside)
                taken[stage] = taken.get(stage, 0) + spent

        setattr(owner, name, measured)

    timed(alignment_run, "load_student", "model")
    timed(alignment_run, "load_images", "images")
    timed(alignment_run, "load_triplets", "triplets")
    timed(alignment_run, "match_images", "match_images")
    timed(alignment_run, "open_images", "reader")
    timed(alignment_run, "evaluate_splits", "evaluation")
    timed(AlignTrainer, "__init__", "trainer")
    timed(AlignTrainer, "calibrate", "calibration")

    def first_step(self: Any, *args: Any, **options: Any) -> Any:
        total = time.process_time()
        taken["other"] = total - sum(taken.values())
        print(json.dumps({"cpu_s": round(total, 1), **{name: round(value, 2) for name, value in taken.items()}}))
        sys.stdout.flush()
        os._exit(0)

    AlignTrainer.training_step = first_step  # type: ignore[method-assign]
    align.main(
        [
            *("--model_name_or_path", f"{place}/model", "--images", f"{place}/images"),
            *("--triplets", f"{place}/triplets", "--output_dir", f"{place}/aligned"),
            *("--per_device_train_batch_size", "256", "--max_steps", "1", "--use_cpu", "--disable_tqdm", "true"),
        ]
    )


if __name__ == "__main__":
    run_parts(__doc__, {"help": helps, "first_step": first_step, "temperature": temperature})
