"""What fitting a teacher costs: one JSON line a result, each from a process of its own.

- `affine`: a whole fit with λ given, to 100,000 and to 1,000,000 random triplets of 1,854 objects with 768 features
  whose choices follow a planted transform; the ratio of the two says how little triplets cost. Beside it the matrix
  products alone that its steps cannot do without: what a step costs at least.
- `affine_few_judged`: a fit to 600 choices about 40 of 2,000 and of 50,000 objects, with the selection of λ.
- `vice`: a step of VICE as published (100,000 triplets, 100 dimensions, 128 triplets a step), beside the same step by
  autograd; and a step with all triplets.
- `vice_many_objects`: a step with 200,000 triplets of 20,000 objects, beside that through the matrix of all pairs.

    OMP_NUM_THREADS=1 python benchmarks/teacher.py
"""

import json
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from measuring import cost, run_parts

from hf_alignet.teacher import AffineTeacher, Vice
from hf_alignet.teacher.evidence import AllChoices, all_choices
from hf_alignet.teacher.planning import random_triplets
from hf_alignet.teacher.settings import ViceSettings
from hf_alignet.teacher.vice_run import ViceRun

NUM_OBJECTS, NUM_FEATURES, NUM_DIMENSIONS, BATCH = 1854, 768, 100, 128
REGULARIZATION = 0.1
FEW, MANY = 100_000, 1_000_000
VICE_STEPS = 200


def planted_choices(number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features like an encoder's, whose directions differ in variance, and choices that follow some directions."""
    features = rng.normal(size=(NUM_OBJECTS, NUM_FEATURES)) / np.sqrt(1 + np.arange(NUM_FEATURES))
    triplets = random_triplets(NUM_OBJECTS, number, rng)
    seen = 0.9 * features[:, :60] * np.sqrt(1 + np.arange(60))
    a, b, c = (seen[triplets[:, i]] for i in range(3))
    logits = 0.2 * np.stack([(a * b).sum(1), (a * c).sum(1), (b * c).sum(1)], axis=1)
    pair = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    return features.astype(np.float32), triplets, np.eye(3)[pair]


def affine(number: int) -> dict[str, float]:
    features, triplets, choices = planted_choices(number, np.random.default_rng(0))
    teacher = AffineTeacher("hard", REGULARIZATION)
    fit = cost(lambda: teacher.fit(features, triplets, choices, progress=False))
    steps = len(teacher.history_)
    z, square = torch.from_numpy(features), torch.eye(NUM_FEATURES)

    def products() -> None:
        for _ in range(steps):
            similarities = (z @ square) @ z.T
            z.T @ (similarities @ z)

    products()
    floor = cost(products).cpu_s
    times = {"cpu_s": fit.cpu_s, "wall_s": fit.wall_s}
    return {"triplets": number, **times, "steps": steps, "products_cpu_s": floor, "peak_mb": fit.peak_mb}


def affine_few_judged(num_objects: int) -> dict[str, float]:
    """A fit to 600 choices about 40 of the objects, with the selection of λ."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(num_objects, 64)).astype(np.float32)
    triplets = random_triplets(40, 600, rng)
    a, b, c = (features[triplets[:, i], :8] for i in range(3))
    logits = np.stack([(a * b).sum(1), (a * c).sum(1), (b * c).sum(1)], axis=1)
    choices = np.eye(3)[(logits + rng.gumbel(size=logits.shape)).argmax(1)]
    fit = cost(lambda: AffineTeacher("hard").fit(features, triplets, choices, progress=False))
    return {"objects": num_objects, "cpu_s": fit.cpu_s, "peak_mb": fit.peak_mb}


def vice(batch_size: int | None) -> dict[str, float | int | None]:
    rng = np.random.default_rng(0)
    triplets = random_triplets(NUM_OBJECTS, FEW, rng)
    counts = np.eye(3, dtype=np.int64)[rng.integers(0, 3, FEW)]
    vice = Vice(num_dimensions=NUM_DIMENSIONS, batch_size=batch_size, learning_rate=1e-3, initial_scale=None)
    run = ViceRun(ViceSettings(**vice.settings()), triplets, counts, NUM_OBJECTS)
    steps = VICE_STEPS if batch_size else 20

    def several() -> None:
        done = 0
        while done < steps:
            for slope in run.evidence.slopes(run.generator):
                run._step(slope)
                done += 1
                if done == steps:
                    break

    several()
    found: dict[str, float | int | None] = {"batch_size": batch_size, "ms_a_step": 1e3 * cost(several).cpu_s / steps}
    return found | ({"autograd_ms_a_step": autograd_step(triplets, steps)} if batch_size else {})


def vice_many_objects(num_objects: int = 20_000) -> dict[str, float]:
    rng = np.random.default_rng(0)
    triplets = random_triplets(num_objects, 2 * FEW, rng)
    counts = np.eye(3, dtype=np.int64)[rng.integers(0, 3, len(triplets))]
    embedding = torch.from_numpy(rng.gamma(1, size=(num_objects, NUM_DIMENSIONS)).astype(np.float32) / 10)
    found: dict[str, float] = {}
    for name, way in (("", all_choices), ("matrix_", AllChoices)):
        (slope,) = way(triplets, counts, num_objects).slopes(torch.Generator())
        step = cost(partial(slope, embedding))
        found |= {f"{name}cpu_s": step.cpu_s, f"{name}peak_mb": step.peak_mb}
    return found


def autograd_step(triplets: np.ndarray, steps: int) -> float:
    """CPU milliseconds of the published step as one would write it: losses, backward, Adam."""
    loc = torch.nn.Parameter(torch.randn(NUM_OBJECTS, NUM_DIMENSIONS) * 0.14)
    log_scale = torch.nn.Parameter(torch.full_like(loc, -7.0))
    adam = torch.optim.Adam([loc, log_scale], lr=1e-3)
    rows = torch.from_numpy(triplets[: BATCH * steps].reshape(-1, BATCH, 3))

    def step(batch: torch.Tensor) -> None:
        draw = loc + log_scale.exp() * torch.randn_like(loc)
        a, b, c = draw.relu()[batch].unbind(1)
        logits = torch.stack([(a * b).sum(1), (a * c).sum(1), (b * c).sum(1)], 1)
        log_q = torch.distributions.Normal(loc, log_scale.exp()).log_prob(draw).sum()
        spike, slab = (torch.distributions.Normal(0, s).log_prob(draw) + math.log(0.5) for s in (0.25, 1.0))
        loss = -logits.log_softmax(1)[:, 0].mean() + (log_q - torch.logaddexp(spike, slab).sum()) / len(triplets)
        adam.zero_grad()
        loss.backward()
        adam.step()

    def all_steps() -> None:
        for batch in rows:
            step(batch)

    step(rows[0])
    return 1e3 * cost(all_steps).cpu_s / steps


PARTS: dict[str, Callable[[], dict]] = {
    "affine_few": lambda: affine(FEW),
    "affine_many": lambda: affine(MANY),
    "affine_few_judged": lambda: affine_few_judged(2000),
    "affine_few_judged_of_many": lambda: affine_few_judged(50_000),
    "vice_batch": lambda: vice(BATCH),
    "vice_all": lambda: vice(None),
    "vice_many_objects": vice_many_objects,
}


def main() -> None:
    results = run_parts(__doc__, PARTS)
    few, many = results["affine_few"], results["affine_many"]
    fit, step = many["cpu_s"] / few["cpu_s"], (many["cpu_s"] / many["steps"]) / (few["cpu_s"] / few["steps"])
    print(json.dumps({"benchmark": "teacher/affine_growth", "cpu_ratio": fit, "cpu_ratio_a_step": step}))


if __name__ == "__main__":
    main()
