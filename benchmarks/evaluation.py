"""What measuring a model costs: one JSON line a result, each from a process of its own.

- `odd_one_out`: accuracy of 1,854 x 768 embeddings on a million triplets. Beside it the matrix product of all pairs
  alone.
- `choices_of_many`, `choices_of_few`: choices alone, of a million triplets of 100,000 images and of 100,000 triplets
  of 1,854. Beside them the rows of each pair gathered at once, how many choices differ from it, and half precision.
- `objects_interval`: the interval of an accuracy over 1,854 objects, of 10 million choices. Beside it one look at each
  choice alone, the count of choices of each object.
- `rsa`: Spearman's correlation of the similarities of 2,000 x 768 embeddings with a given matrix, from the embeddings
  on, beside SciPy's `spearmanr` on the two vectors of similarities alone.
- `rsa_interval`: the same with the interval over objects.
- `rsa_permutations`: an order of 1,854 objects for the p-value. Beside it the same with one pair that was not judged,
  whose orders are each ranked again, as all were before.
- `resampled_correlation`: one correlation whose entries count several times, as 1,000 do for the SD of a bootstrap:
  Spearman's of 1.7 million entries, and Kendall's of 250,000. Beside it SciPy's of the repeated entries, which sorts
  them again each time, and Spearman's in NumPy alone. On one core of an AMD EPYC: Spearman 0.03 s, NumPy 0.06 s, SciPy
  0.4 s; Kendall 0.006 s, SciPy 0.05 s.
- `rsa_large`: two models of 26,000 objects, 338 million pairs; memory is what it takes beyond the embeddings. On one
  core of an AMD EPYC it takes 230 to 260 s and 2.9 GB. Ranks found by `np.searchsorted` took 430 s. SciPy's
  `rankdata` of all pairs takes as long with 2,000 objects, a third longer with 6,000, and would need 24 GB here (70
  bytes a pair).
- `cka`: linear CKA of two 1,854 x 768 embeddings. Beside it the three matrix products alone.

Of several calls the fastest counts; the first, for which Numba compiles, does not.

    OMP_NUM_THREADS=1 python benchmarks/evaluation.py
"""

import numpy as np
import torch
from measuring import Cost, cost, least, run_parts
from scipy.stats import kendalltau, rankdata, spearmanr

from hf_alignet.analysis import linear_cka
from hf_alignet.evaluation import (
    Rsm,
    compare_rsms,
    correlate_rsms,
    odd_one_out_accuracy,
    odd_one_out_choices,
    permutation_p_value,
    share_correct,
)
from hf_alignet.evaluation.statistics.correlations import CorrelationWith, Measure, codes
from hf_alignet.similarity import PAIRS
from hf_alignet.similarity import odd_one_out as choose
from hf_alignet.similarity.products import products_of_triplets
from hf_alignet.teacher.planning import random_triplets

NUM_OBJECTS, NUM_FEATURES, NUM_TRIPLETS, NUM_CHOICES = 1854, 768, 1_000_000, 10_000_000


def costs(call: Cost) -> dict[str, float]:
    return {"cpu_s": call.cpu_s, "wall_s": call.wall_s, "peak_mb": call.peak_mb}


def two_models(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, 768) of two models that see some of the same."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((n, NUM_FEATURES), np.float32) / np.sqrt(1 + np.arange(NUM_FEATURES, dtype=np.float32))
    second = first[:, ::-1] + rng.standard_normal((n, NUM_FEATURES), np.float32) / 10 + first
    return first, np.ascontiguousarray(second)


def judged_triplets() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return random_triplets(NUM_OBJECTS, NUM_TRIPLETS, rng), rng.integers(3, size=NUM_TRIPLETS)


def odd_one_out() -> dict[str, float]:
    embeddings, (triplets, odd) = two_models(NUM_OBJECTS)[0], judged_triplets()
    ours = least(lambda: odd_one_out_accuracy(embeddings, triplets, odd), 5)
    return {**costs(ours), "product_cpu_s": least(lambda: embeddings @ embeddings.T, 5).cpu_s}


def choices(num_objects: int, num_triplets: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((num_objects, NUM_FEATURES), np.float32)
    triplets, half = random_triplets(num_objects, num_triplets, rng), embeddings.astype(np.float16)
    table, rows = torch.from_numpy(embeddings), torch.from_numpy(triplets)

    def gather() -> torch.Tensor:
        return choose(torch.stack([(table[rows[:, i]] * table[rows[:, j]]).sum(-1) for i, j in PAIRS], -1))

    for given in (embeddings, half):
        products_of_triplets(given, triplets[:1])
    ours, gathered = cost(lambda: odd_one_out_choices(embeddings, triplets)), cost(gather)
    found = {f"gathered_{name}": value for name, value in costs(gathered).items()}
    found["differ"] = float((ours.value != gathered.value.numpy()).sum())
    return {**costs(ours), **found, "float16_cpu_s": least(lambda: products_of_triplets(half, triplets), 2).cpu_s}


def choices_of_many() -> dict[str, float]:
    return choices(100_000, NUM_TRIPLETS)


def choices_of_few() -> dict[str, float]:
    return choices(NUM_OBJECTS, 100_000)


def objects_interval() -> dict[str, float]:
    rng = np.random.default_rng(1)
    triplets = random_triplets(NUM_OBJECTS, NUM_CHOICES, rng)
    correct = rng.random(NUM_CHOICES) < 0.5
    counts = least(lambda: np.bincount(triplets.ravel(), np.repeat(correct, 3)), 3)
    return {**costs(least(lambda: share_correct(correct, triplets), 3)), "count_cpu_s": counts.cpu_s}


def rsa(n: int = 2000) -> dict[str, float]:
    first, second = two_models(n)
    judged = Rsm.from_matrix(Rsm.from_embeddings(second).matrix())
    ours = least(lambda: correlate_rsms(Rsm.from_embeddings(first), judged), 3)
    rows = np.triu_indices(n, 1)
    x, y = Rsm.from_embeddings(first).matrix()[rows], judged.matrix()[rows]
    return {**costs(ours), "scipy_vectors_cpu_s": least(lambda: spearmanr(x, y), 3).cpu_s}


def rsa_interval(n: int = NUM_OBJECTS) -> dict[str, float]:
    first, second = map(Rsm.from_embeddings, two_models(n))
    return costs(least(lambda: compare_rsms(first, second), 3))


def rsa_permutations(n: int = NUM_OBJECTS) -> dict[str, float]:
    first, second = map(Rsm.from_embeddings, two_models(n))
    unjudged = second.matrix()
    unjudged[0, 1] = unjudged[1, 0] = np.nan
    partly = Rsm.from_matrix(unjudged)
    for human in (second, partly):
        permutation_p_value(first, human, num_permutations=1)

    def seconds(human: Rsm, number: int) -> float:
        return cost(lambda: permutation_p_value(first, human, num_permutations=number)).cpu_s

    return {
        "ms_an_order": (seconds(second, 101) - seconds(second, 1)) * 10,
        "ranked_again_ms_an_order": (seconds(partly, 11) - seconds(partly, 1)) * 100,
    }


def numpy_spearman(x: np.ndarray, y: np.ndarray, times: np.ndarray) -> float:
    """Of codes from 0, each of which counts several times."""
    some = np.flatnonzero(times)
    x, y, times = x[some], y[some], times[some]
    ranks = []
    for side in (x, y):
        counts = np.bincount(side, times)
        ranks.append((2 * np.cumsum(counts) - counts - times.sum())[side])
    a, b = ranks
    return float((a * times) @ b / np.sqrt((a * times) @ a) / np.sqrt((b * times) @ b))


def resampled_correlation() -> dict[str, float]:
    rng = np.random.default_rng(0)
    sizes: dict[Measure, int] = {"spearman": NUM_OBJECTS, "kendall": 708}
    found: dict[str, float] = {}
    for measure, n in sizes.items():
        i, j = np.triu_indices(n, 1)
        x = rng.standard_normal(len(i), np.float32)
        y = x + rng.standard_normal(len(i), np.float32)
        objects = np.bincount(rng.integers(n, size=n), minlength=n)
        times = objects[i] * objects[j]
        found |= one_correlation(x, y, times, measure)
    return found


def one_correlation(x: np.ndarray, y: np.ndarray, times: np.ndarray, measure: Measure) -> dict[str, float]:
    with_y, of_x = CorrelationWith(y, measure), codes(x, measure)

    def scipy() -> float:
        a, b = np.repeat(x, times), np.repeat(y, times)
        if measure == "kendall":
            return kendalltau(a, b, method="asymptotic").statistic
        return np.corrcoef(rankdata(a), rankdata(b))[0, 1]

    found = {f"{measure}_cpu_s": least(lambda: with_y.of(of_x, times), 5).cpu_s}
    if measure == "spearman":
        found["numpy_spearman_cpu_s"] = least(lambda: numpy_spearman(of_x, with_y.y, times), 5).cpu_s
    return {**found, f"scipy_{measure}_cpu_s": least(scipy, 3).cpu_s}


def rsa_large(n: int = 26_000) -> dict[str, float]:
    first, second = map(Rsm.from_embeddings, two_models(n))
    return costs(cost(lambda: correlate_rsms(first, second)))


def cka() -> dict[str, float]:
    first, second = two_models(NUM_OBJECTS)

    def products() -> None:
        for x, y in ((first, second), (first, first), (second, second)):
            x.T @ y

    return {**costs(least(lambda: linear_cka(first, second), 20)), "products_cpu_s": least(products, 20).cpu_s}


if __name__ == "__main__":
    parts = (
        *(odd_one_out, choices_of_many, choices_of_few, objects_interval),
        *(rsa, rsa_interval, rsa_permutations, resampled_correlation, rsa_large, cka),
    )
    run_parts(__doc__, {part.__name__: part for part in parts})
