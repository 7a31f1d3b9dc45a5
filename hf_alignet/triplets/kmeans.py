"""k-means of many rows: the same centers with any number of threads and processes.

Rows are compared with all centers in fixed blocks, in float32 on the device. Their sums by cluster are whole numbers,
which have no rounding, so that the order of blocks changes nothing, and processes may share them. A start from few
rows saves most of the work: greedy k-means++ (scikit-learn's) of all rows took two thirds of the time.
"""

import contextlib
import math
from collections.abc import Iterator

import numpy as np
import torch
from accelerate.utils import reduce
from threadpoolctl import threadpool_limits
from torch import Tensor

from hf_alignet.processes import this_process

SMALL = 5_000_000  # rows times clusters up to which all rows are those of the start
START_PER_CLUSTER = 48  # rows
BLOCK = 4096  # rows that are compared with all centers at once
MOST_ROUNDS = 100
LEAST_GAIN = 5e-5  # of the inertia in a round; with less the centers are found
BITS = 62  # of a sum of whole numbers


def fit_centers(rows: np.ndarray, num_clusters: int, seed: int) -> tuple[np.ndarray, float]:
    """Centers (k, p) float32 of rows (n, p) float32, and the sum of squared distances to the nearest.

    Every process must call it, with the same rows. Few rows are left to scikit-learn as a whole.
    """
    from sklearn.cluster import KMeans

    with one_thread():
        is_small = len(rows) * num_clusters <= SMALL or len(rows) <= START_PER_CLUSTER * num_clusters
        if is_small:
            fitted = KMeans(num_clusters, n_init=1, random_state=seed).fit(rows)
            return fitted.cluster_centers_, float(fitted.inertia_)
        rng = np.random.default_rng(seed)
        drawn = np.sort(rng.choice(len(rows), START_PER_CLUSTER * num_clusters, replace=False))
        return _lloyd(rows, _spread(rows[drawn], num_clusters, rng))


def nearest(block: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest of centers (k, p) to each row (b, p), the one with the highest x · c - |c|² / 2, and that number."""
    scores = torch.addmm(-(centers**2).sum(1) / 2, block, centers.T)
    highest, found = scores.max(1)
    return found, highest


def _spread(rows: np.ndarray, num_clusters: int, rng: np.random.Generator) -> np.ndarray:
    """Rows (k, p) that lie far apart: greedy k-means++ (Arthur & Vassilvitskii 2007), in float32.

    Each is the best of some that are drawn with the squared distance to the nearest so far as their weight.
    """
    table = torch.from_numpy(rows - rows.mean(0))  # near 0 the squares lose less to rounding
    norms = (table**2).sum(1)
    trials = 2 + int(math.log(num_clusters))
    chosen = [int(rng.integers(len(rows)))]
    nearest_so_far = _distances(table, norms, chosen)[0]
    while len(chosen) < num_clusters:
        cumulated = nearest_so_far.double().cumsum(0).numpy()
        drawn = np.searchsorted(cumulated, rng.random(trials) * cumulated[-1]).clip(max=len(rows) - 1)
        distances = torch.minimum(_distances(table, norms, drawn.tolist()), nearest_so_far)
        best = int(distances.sum(1, dtype=torch.float64).argmin())
        chosen.append(int(drawn[best]))
        nearest_so_far = distances[best]
    return rows[chosen]


def _distances(table: Tensor, norms: Tensor, some: list[int]) -> Tensor:
    """(t, n) squared distances of some rows to all."""
    return torch.addmm(norms + norms[some].unsqueeze(1), table[some], table.T, alpha=-2).clamp_(min=0)


def _lloyd(rows: np.ndarray, centers: np.ndarray) -> tuple[np.ndarray, float]:
    """Lloyd's rounds until the inertia falls by less than `LEAST_GAIN`."""
    state = this_process()
    table, squares = torch.from_numpy(rows), float(np.einsum("ij,ij->", rows, rows, dtype=np.float64))
    # Multiplied by this power of two, rows are whole numbers whose sum has at most `BITS` bits
    unit = 2.0 ** (BITS - math.ceil(math.log2(len(rows))) - math.frexp(float(np.abs(rows).max()))[1])
    found, inertia = torch.from_numpy(centers).to(state.device), math.inf
    mine = torch.zeros(found.shape, dtype=torch.int64, device=state.device)  # sums of the rows of this process
    clusters = torch.full((len(rows),), -1)
    for _ in range(MOST_ROUNDS):
        counts = torch.zeros(len(found), dtype=torch.int64, device=state.device)
        gained = torch.zeros(len(range(0, len(rows), BLOCK)), dtype=torch.float64, device=state.device)
        for start in range(state.process_index * BLOCK, len(rows), state.num_processes * BLOCK):
            block = table[start : start + BLOCK].to(state.device)
            cluster, highest = nearest(block, found)
            _move(mine, block, unit, clusters[start : start + BLOCK].to(state.device), cluster)
            clusters[start : start + BLOCK] = cluster
            counts += torch.bincount(cluster, minlength=len(found))
            gained[start // BLOCK] = highest.sum(dtype=torch.float64)
        sums = mine
        if state.num_processes > 1:
            sums, counts, gained = (reduce(part, reduction="sum") for part in (mine, counts, gained))
        before, inertia = inertia, squares - 2 * float(gained.cpu().numpy().sum())
        if before - inertia <= LEAST_GAIN * inertia:
            break
        means = (sums.double() / unit / counts.clamp(min=1).unsqueeze(1)).float()
        found = torch.where(counts.unsqueeze(1) > 0, means, found)
    return found.cpu().numpy(), inertia


def _move(sums: Tensor, block: Tensor, unit: float, before: Tensor, after: Tensor) -> None:
    """Adds rows (b, p) to the sums of their clusters, and takes them away from those before; -1 is none."""
    moved = torch.nonzero(before != after).squeeze(1)
    before, after, numbers = before[moved], after[moved], (block[moved].double() * unit).round_().long()
    sums.index_add_(0, after, numbers)
    was_in = before >= 0
    sums.index_add_(0, before[was_in], numbers[was_in], alpha=-1)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Uses one thread: matrix products differ in the last digits with their number, and so what follows from them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
