"""Do 95 % intervals hold the truth in 95 % of studies? One JSON line for each kind of interval and world.

In each world many studies are simulated whose truth is known. `coverage` is the share of intervals that hold it, to be
read beside `error`, its standard error; `width` is relative to that of independent cases where there is one.

- `share_triplets`: accuracy with Wilson's interval over triplets, of objects that all are equally hard.
- `share_objects`: accuracy with the interval over objects. `effect` is the SD of how much an object raises the chance
  of its triplets to be right: 0 where objects do not differ, 0.1 where they differ much. `raters` judge each triplet.
- `share_bootstrap`: the same by resampling objects and multiplying the weights of a triplet's three objects, as
  version 0.1 did.
- `cross_entropy`: mean over choices, over objects.
- `paired_change`: the paired change of accuracy between two models. `effect` is the SD of an object's part in the
  advantage.
- `rsa`: correlation of two similarity matrices of the same objects, over objects.
- `hesitation`: Spearman's correlation of two measures of triplets that share objects.
- `calibration`: expected calibration error of a model that is too sure, over triplets, by the basic bootstrap.
- `ceiling`: noise ceiling of triplets that 2 to 8 people judged, by the bootstrap over triplets.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from measuring import run_parts

from hf_alignet.evaluation import (
    change,
    choice_accuracy,
    choice_cross_entropy,
    expected_calibration_error,
    noise_ceiling,
    share_correct,
    spearman,
)
from hf_alignet.evaluation.statistics.correlations import CorrelationWith, Measure, codes, correlation_metric
from hf_alignet.judgments import make_judgments
from hf_alignet.metric import Metric
from hf_alignet.teacher.planning import random_triplets

WORLDS = ((12, 200), (30, 600), (92, 1_407), (92, 20_000), (1_854, 25_000))  # objects, triplets
EFFECTS = (0.0, 0.02, 0.05, 0.1)


def covered(
    study: Callable[[], Metric], truth: float, studies: int, width: float | None = None, **world: Any
) -> dict[str, Any]:
    """What share of studies has the truth in its interval. `width` is that of independent cases."""
    ends = np.array([study()["ci95"] for _ in range(studies)])
    share = float(np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1])))
    found = world | {"studies": studies, "coverage": share, "error": math.sqrt(max(share * (1 - share), 0) / studies)}
    return found | ({"width": float(np.ptp(ends, axis=1).mean() / width)} if width is not None else {})


def studies_of(number: int) -> int:
    return 2000 if number < 10_000 else 400


def share_triplets() -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)

    def study(number: int, truth: float) -> Metric:
        return share_correct(rng.random(number) < truth)

    for number, truth in ((40, 0.5), (400, 0.9), (2000, 0.35)):
        yield covered(partial(study, number, truth), truth, 2000, triplets=number)


def share_objects() -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    for objects, number in WORLDS:
        triplets = random_triplets(objects, number, rng)
        width = 2 * 1.96 * math.sqrt(0.25 / number)

        def study(effect: float, rows: np.ndarray = triplets, objects: int = objects) -> Metric:
            ease = rng.normal(0, effect, objects)[rows].sum(1)
            return share_correct(rng.random(len(rows)) < 0.5 + ease, rows)

        for effect in EFFECTS:
            world = {"objects": objects, "triplets": number, "effect": effect}
            yield covered(partial(study, effect), 0.5, studies_of(number), width, **world)
    triplets = random_triplets(40, 150, rng)
    for effect in EFFECTS[::2]:

        def repeated(effect: float = effect) -> Metric:
            share = 0.5 + rng.normal(0, effect, 40)[triplets].sum(1) + rng.normal(0, 0.1, len(triplets))
            right = rng.binomial(20, share.clip(0, 1))
            counts = np.stack([right, 20 - right, 0 * right], axis=1)
            return choice_accuracy(np.tile([0.0, -1.0, -2.0], (len(triplets), 1)), counts, triplets)

        yield covered(repeated, 0.5, 1000, objects=40, triplets=150, raters=20, effect=effect)


def share_bootstrap() -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    objects, number = 92, 1_407
    triplets = random_triplets(objects, number, rng)

    def study() -> Metric:
        correct = rng.random(number) < 0.5
        times = rng.multinomial(objects, np.full(objects, 1 / objects), size=300)
        weights = times[:, triplets].prod(axis=2)
        ends = np.quantile(weights @ correct / weights.sum(1), (0.025, 0.975))
        return Metric(correct.mean(), number, 1 / 3, ends.tolist(), "objects")

    width = 2 * 1.96 * math.sqrt(0.25 / number)
    yield covered(study, 0.5, 300, width, objects=objects, triplets=number, effect=0.0)


def cross_entropy() -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    triplets = random_triplets(60, 1500, rng)
    for effect in EFFECTS[::2]:

        def study(effect: float = effect) -> Metric:
            # Of each triplet, log-probabilities that people follow, shifted by its objects
            logits = rng.normal(size=(1500, 3))
            logits -= np.log(np.exp(logits).sum(1, keepdims=True))
            chosen = (logits + rng.gumbel(size=logits.shape)).argmax(1)
            shifted = logits + 10 * effect * rng.normal(0, 0.1, 60)[triplets].sum(1, keepdims=True)
            return choice_cross_entropy(shifted, np.eye(3, dtype=np.int64)[chosen], triplets)

        many = rng.normal(size=(1_000_000, 3))
        many -= np.log(np.exp(many).sum(1, keepdims=True))
        truth = float(-(np.exp(many) * many).sum(1).mean())
        yield covered(study, truth, 1000, objects=60, triplets=1500, effect=effect)


def paired_change() -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    for objects, number in ((30, 600), (92, 1_407)):
        triplets = random_triplets(objects, number, rng)
        for effect in EFFECTS:

            def study(rows: np.ndarray = triplets, objects: int = objects, effect: float = effect) -> Metric:
                ease, better = (rng.normal(0, sd, objects)[rows].sum(1) for sd in (0.1, effect))
                luck = rng.random(len(rows))
                one, other = luck < 0.45 + ease, luck < 0.5 + ease + better
                return change(share_correct(one, rows), share_correct(other, rows))

            yield covered(study, 0.05, 1000, objects=objects, triplets=number, effect=effect)


def rsa() -> Iterator[dict[str, Any]]:
    measures: tuple[tuple[Measure, int], ...] = (("spearman", 20), ("spearman", 48), ("pearson", 48), ("kendall", 48))
    rng = np.random.default_rng(0)
    for measure, objects in measures:
        i, j = np.triu_indices(objects, 1)

        def study(measure: Measure = measure, objects: int = objects, i: np.ndarray = i, j: np.ndarray = j) -> Metric:
            places = rng.normal(size=(objects, 5))
            sides = [places + rng.normal(0, 0.7, places.shape) for _ in range(2)]
            x, y = (((side[i] - side[j]) ** 2).sum(1) + rng.normal(size=len(i)) for side in sides)
            members = np.stack([i, j], axis=1)
            return correlation_metric(codes(x, measure), CorrelationWith(y, measure), members, "objects")

        truth = float(np.mean([study()["value"] for _ in range(2000)]))
        yield covered(study, truth, 1000, measure=measure, objects=objects)


def hesitation() -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    triplets = random_triplets(60, 600, rng)
    for effect in (0.0, 0.5):

        def study(effect: float = effect) -> Metric:
            x = rng.normal(size=600) + effect * rng.normal(size=60)[triplets].sum(1)
            y = 0.6 * x + rng.normal(size=600) + effect * rng.normal(size=60)[triplets].sum(1)
            return spearman(x, y, draws=2, triplets=triplets).metric

        truth = float(np.mean([study()["value"] for _ in range(2000)]))
        yield covered(study, truth, 1000, objects=60, triplets=600, effect=effect)


def calibration() -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)

    def world(number: int) -> tuple[np.ndarray, np.ndarray]:
        people = rng.dirichlet([1.0, 1.0, 1.0], number)
        sharp = people**2 / (people**2).sum(1, keepdims=True)
        return people, sharp

    people, sharp = world(1_000_000)
    truth = float(np.abs(sharp.max(1) - people.max(1)).mean())

    def study() -> Metric:
        people, sharp = world(2000)
        chosen = (np.log(people) + rng.gumbel(size=people.shape)).argmax(1)
        return expected_calibration_error(np.log(sharp), np.eye(3, dtype=np.int64)[chosen], seed=int(rng.integers(9)))

    yield covered(study, truth, 300, triplets=2000)


def ceiling() -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(0)
    concentration = 0.7
    truth = float(rng.dirichlet([concentration] * 3, 1_000_000).max(1).mean())
    triplets = random_triplets(60, 300, rng)

    def study() -> Metric:
        raters = rng.integers(2, 9, 300)
        shares = rng.dirichlet([concentration] * 3, 300).repeat(raters, axis=0)
        odd = (np.log(shares) + rng.gumbel(size=shares.shape)).argmax(1)
        return noise_ceiling(make_judgments(triplets.repeat(raters, axis=0), odd), seed=int(rng.integers(9)))

    yield covered(study, truth, 200, triplets=300)


def worlds(part: Callable[[], Iterator[dict[str, Any]]]) -> dict[str, Any]:
    return {"worlds": list(part())}


PARTS = (
    *(share_triplets, share_objects, share_bootstrap, cross_entropy, paired_change, rsa, hesitation, calibration),
    ceiling,
)

if __name__ == "__main__":
    run_parts(__doc__, {part.__name__: partial(worlds, part) for part in PARTS})
