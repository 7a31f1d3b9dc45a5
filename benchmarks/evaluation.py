"""What measuring a model costs: one JSON line a result, each from a process of its own.

- `odd_one_out`: accuracy of 1,854 x 768 embeddings on a million triplets. Beside it the matrix product of all pairs
  alone.
- `objects_interval`: the interval of that accuracy over objects, 1,000 bootstraps of the million.
- `rsa`: Spearman's correlation of the similarities of 2,000 x 768 embeddings with a given matrix, from the embeddings
  on, beside SciPy's `spearmanr` on the two vectors of similarities alone.
- `rsa_interval`: the same with the bootstrap interval of 1,000 resamples of 144 objects.
- `rsa_large`: two models of 26,000 objects, 338 million pairs; memory is what it takes beyond the embeddings.
- `cka`: linear CKA of two 1,854 x 768 embeddings. Beside it the three matrix products alone.

Of several calls the fastest counts; the first, for which Numba compiles, does not.

    OMP_NUM_THREADS=1 python benchmarks/evaluation.py
"""

import numpy as np
from measuring import Cost, cost, least, random_triplets, run_parts
from scipy.stats import spearmanr

from hf_alignet.analysis import linear_cka
from hf_alignet.evaluation import (
    Rsm,
    are_correct,
    compare_rsms,
    correlate_rsms,
    object_bootstrap,
    odd_one_out_accuracy,
    odd_one_out_choices,
)

NUM_OBJECTS, NUM_FEATURES, NUM_TRIPLETS = 1854, 768, 1_000_000


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


def objects_interval() -> dict[str, float]:
    embeddings, (triplets, odd) = two_models(NUM_OBJECTS)[0], judged_triplets()
    correct = are_correct(odd_one_out_choices(embeddings, triplets), odd)
    object_bootstrap(correct[:3], triplets[:3])
    return costs(least(lambda: object_bootstrap(correct, triplets), 3))


def rsa(n: int = 2000) -> dict[str, float]:
    first, second = two_models(n)
    judged = Rsm.from_matrix(Rsm.from_embeddings(second).matrix())
    ours = least(lambda: correlate_rsms(Rsm.from_embeddings(first), judged), 3)
    rows = np.triu_indices(n, 1)
    x, y = Rsm.from_embeddings(first).matrix()[rows], judged.matrix()[rows]
    return {**costs(ours), "scipy_vectors_cpu_s": least(lambda: spearmanr(x, y), 3).cpu_s}


def rsa_interval(n: int = 144) -> dict[str, float]:
    first, second = map(Rsm.from_embeddings, two_models(n))
    return costs(least(lambda: compare_rsms(first, second), 3))


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
    parts = (odd_one_out, objects_interval, rsa, rsa_interval, rsa_large, cka)
    run_parts(__doc__, {part.__name__: part for part in parts})
