"""How good teachers of few choices are, by method: one JSON line a result.

- `objects × choices × agreement`: 12 designs with simulated people (`hf_alignet.teacher.planning`), who look at some
  directions of 64 features like an encoder's. Several studies of each; the standard error is over studies.
- `things/N`: the first N choices of the training split of THINGS, features of CLIP, measured on its test split. They
  need `--things`, a folder with the files of `recipes/things-clip/README.md`.

Each method is measured by accuracy and cross-entropy of fresh choices about the same objects, and simulated people
also about 200 new ones. `raw` are the unchanged features at the scale that fits the training choices best.

    OMP_NUM_THREADS=1 python benchmarks/small_studies.py --things DATA
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy.special import softmax

from hf_alignet.errors import RunError
from hf_alignet.judgments import load_judgments
from hf_alignet.teacher import fit_teacher, observed_choices
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.choosing import best_scale
from hf_alignet.teacher.planning import SimulatedPeople, measure, random_triplets

OBJECTS, CHOICES, AGREEMENT = (30, 90, 300), (300, 3000), (0.6, 0.8)
METHODS = ("raw", "hard", "uncertainty_distillation", "auto")
NEW, TESTED, NUM_FEATURES = 200, 20_000, 64


def encoder_like(number: int, rng: np.random.Generator) -> np.ndarray:
    """Features (number, 64) whose directions differ in variance."""
    return (rng.normal(size=(number, NUM_FEATURES)) / np.sqrt(1 + np.arange(NUM_FEATURES))).astype(np.float32)


def fitted(method: str, features: np.ndarray, judgments: Dataset) -> tuple[Callable, dict]:
    """What transforms features, and what is told of the fit."""
    if method == "raw":
        scale = best_scale(AffineData.checked(features, *observed_choices(judgments)))
        return lambda x: scale * x, {}
    try:
        transform = fit_teacher(features, judgments, method, progress=False).transform  # type: ignore[arg-type]
    except RunError as error:  # VICE found no dimension: it knows nothing
        return lambda x: 0 * x, {"failed": str(error)}
    names = ("method", "concentration", "regularization")
    return transform, {f"chosen_{name}": transform.info.get(name) for name in names} if method == "auto" else {}


def study(objects: int, choices: int, agreement: float, seed: int, methods: Sequence[str]) -> dict[str, dict]:
    """By method: accuracy and cross-entropy about old and new objects in one simulated study."""
    rng = np.random.default_rng(seed)
    features = encoder_like(objects + NEW, rng)
    people = SimulatedPeople(features, agreement, seed)
    judgments = people.judge(random_triplets(objects, choices, rng), rng)
    old, new = random_triplets(objects, TESTED, rng), objects + random_triplets(NEW, TESTED, rng)
    found = {}
    for method in methods:
        started = time.perf_counter()
        transform, facts = fitted(method, features[:objects], judgments)
        seconds = time.perf_counter() - started
        transformed = transform(features)
        numbers = [*measure(transformed, old, shares(people, old)), *measure(transformed, new, shares(people, new))]
        found[method] = {"numbers": numbers, "seconds": seconds, **facts}
    return found


def shares(people: SimulatedPeople, triplets: np.ndarray) -> np.ndarray:
    return softmax(people.logits(triplets), axis=1)


NAMES = ("accuracy", "cross_entropy", "accuracy_new", "cross_entropy_new")


def designs(studies: int, methods: Sequence[str]) -> None:
    for objects, choices, agreement in product(OBJECTS, CHOICES, AGREEMENT):
        runs = [study(objects, choices, agreement, seed, methods) for seed in range(studies)]
        raw = np.array([run["raw"]["numbers"] for run in runs])
        for method in methods:
            numbers = np.array([run[method]["numbers"] for run in runs])
            line: dict[str, Any] = {"benchmark": f"small_studies/{objects}x{choices}x{agreement:g}", "method": method}
            for name, values, gains in zip(NAMES, numbers.T, (numbers - raw).T, strict=True):
                line |= {name: values.mean(), f"{name}_gain": gains.mean(), f"{name}_gain_se": error(gains)}
            line["seconds"] = float(np.mean([run[method]["seconds"] for run in runs]))
            if method == "auto":
                line["chosen"] = [
                    f"{run[method]['chosen_method']} {run[method]['chosen_concentration']}" for run in runs
                ]
            say(line)


def error(values: np.ndarray) -> float:
    """Standard error of the mean of independent studies."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def things(directory: Path, numbers: Sequence[int], methods: Sequence[str]) -> None:
    features = np.load(directory / "clip_vitb32_things_images_uid_order.npy")
    splits = load_judgments(str(directory / "things_human_triplets.npz"), None, None, len(features))
    triplets, observed, weights = observed_choices(splits["test"])
    for number in numbers:
        train = splits["train"].select(range(min(number, len(splits["train"]))))
        for method in methods:
            started = time.perf_counter()
            transform, facts = fitted(method, features, train)
            seconds = time.perf_counter() - started
            accuracy, cross_entropy = measure(transform(features), triplets, observed)
            line = {"benchmark": f"small_studies/things/{len(train)}", "method": method, "accuracy": accuracy}
            se = (accuracy * (1 - accuracy) / len(triplets)) ** 0.5
            say({**line, "accuracy_se": se, "cross_entropy": cross_entropy, "seconds": seconds, **facts})


def say(line: dict) -> None:
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in line.items()}
    print(json.dumps(rounded), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--studies", type=int, default=4, help="simulated studies of each design, 0 for none (%(default)s)"
    )
    parser.add_argument("--things", type=Path, help="folder of the THINGS files")
    parser.add_argument("--choices", type=int, nargs="+", default=[300, 1000, 3000, 20_000, 249_251], help="of THINGS")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS[1:], default=METHODS[1:], help="beside raw (%(default)s)"
    )
    arguments = parser.parse_args()
    methods = ["raw", *arguments.methods]
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if arguments.studies:
        designs(arguments.studies, methods)
    if arguments.things is not None:
        things(arguments.things, arguments.choices, methods)


if __name__ == "__main__":
    main()
