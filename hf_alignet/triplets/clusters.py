"""Clusters of images: k-means of the teacher's embeddings. AligNet draws triplets at their boundaries (A.1.2).

k-means (`kmeans`) runs on a sample of up to 256 images per cluster. Then each image gets its nearest center. The
memory holds the sample and a block of rows: 0.6 GB for 500 clusters of 1,152 dimensions. Neither the number of threads
nor that of processes changes anything. `benchmarks/triplets.py` compares this with a fit to all images, and with
MiniBatchKMeans, which is faster but less exact.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from accelerate.utils import reduce
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.processes import this_process
from hf_alignet.ranges import Seed, checked
from hf_alignet.similarity import check_vectors
from hf_alignet.triplets.kmeans import fit_centers, nearest, one_thread

MAX_CLUSTERS, IMAGES_PER_CLUSTER = 500, 20  # defaults: the paper's number; the mean size for fewer images
SAMPLE_PER_CLUSTER = 256
MAX_ELBOW_CLUSTERS, NUM_ELBOW_FITS = 1000, 10
BLOCK = 4096  # rows that are compared with all centers at once

logger = logging.getLogger(__name__)


@dataclass
class Clusters:
    """The cluster of each image."""

    assignments: np.ndarray  # (n,) int32 in [0, k)
    centers: np.ndarray  # (k, p) float32
    num_merged: int = 0  # clusters with fewer than two images, which went to the next nearest center

    @property
    def sizes(self) -> np.ndarray:
        """(k,) number of images in each cluster."""
        return np.bincount(self.assignments, minlength=len(self.centers))


def default_num_clusters(num_images: int) -> int:
    """500 as in the paper, or fewer, so that a cluster has 20 images or more on average."""
    return max(2, min(MAX_CLUSTERS, num_images // IMAGES_PER_CLUSTER))


@checked
def fit_clusters(
    embeddings: np.ndarray, num_clusters: int, seed: Seed = 0, rows: np.ndarray | None = None, progress: bool = True
) -> Clusters:
    """Clusters embeddings. Each cluster has two images or more.

    Args:
        embeddings: (n, p) of any float type, may be a memory map.
        num_clusters: k, at least 2. The result has fewer if some must be merged.
        seed: seed of the sample and of the first centers.
        rows: (m,) rows that the centers are fitted to. Default: all.
        progress: show a bar.

    Raises:
        InputError: there are fewer than two images per cluster, or an embedding is not finite (names the row).
    """
    num_rows = len(embeddings) if rows is None else len(rows)
    if not 2 <= num_clusters <= num_rows / 2:
        raise InputError(
            f"{num_clusters} clusters are not possible: `num_clusters` must be 2 or more, with 2 images or more per "
            f"cluster, and there are {num_rows} images"
        )
    check_teacher_embeddings(embeddings)
    sample = _sample(embeddings, rows, num_clusters * SAMPLE_PER_CLUSTER, seed)
    centers, _ = fit_centers(sample, num_clusters, seed)
    with one_thread():
        return _without_small(embeddings, centers, progress)


def check_enough_to_cluster(num_images: int, elbow: bool = False) -> None:
    """Raises an InputError if there are too few images for two clusters, or for a series with an elbow."""
    if num_images < 4:
        raise InputError(f"clusters need 4 images or more, two in each of two clusters, and there are {num_images}")
    if elbow and num_images < 4 * IMAGES_PER_CLUSTER:
        raise InputError(f"{num_images} images are too few to find an elbow: give `num_clusters`")


@checked
def elbow_curve(
    embeddings: np.ndarray, seed: Seed = 0, rows: np.ndarray | None = None, progress: bool = True
) -> pd.DataFrame:
    """Mean squared distance to the nearest center (`inertia`) for ten values of `num_clusters`, in a geometric series.

    They are from 2 to at most 1,000, with 20 images or more on average. The arguments are those of `fit_clusters`, and
    centers and distances use `rows` alone.
    """
    check_teacher_embeddings(embeddings)
    num_rows = len(embeddings) if rows is None else len(rows)
    check_enough_to_cluster(num_rows, elbow=True)
    largest = min(MAX_ELBOW_CLUSTERS, num_rows // IMAGES_PER_CLUSTER)
    numbers = np.unique(np.geomspace(2, largest, NUM_ELBOW_FITS).round().astype(int))
    sample = _sample(embeddings, rows, largest * SAMPLE_PER_CLUSTER, seed)
    inertia = [
        fit_centers(sample, number, seed)[1] / len(sample)
        for number in tqdm(numbers, desc="numbers of clusters", disable=not progress)
    ]
    return pd.DataFrame({"num_clusters": numbers, "inertia": inertia})


def elbow(curve: pd.DataFrame) -> int:
    """The number of clusters at the elbow: the point of the curve that is furthest below the line between its ends.

    Both axes are scaled to [0, 1] (Satopää et al. 2011).

    Example:
        >>> elbow(pd.DataFrame({"num_clusters": [2, 10, 20, 100], "inertia": [9.0, 2.0, 1.8, 1.0]}))
        10
    """
    x, y = (curve[name].to_numpy(float) for name in ("num_clusters", "inertia"))
    x, y = (x - x[0]) / (x[-1] - x[0]), (y - y[-1]) / (y[0] - y[-1])
    return int(curve.num_clusters[(1 - x - y).argmax()])


def _sample(embeddings: np.ndarray, rows: np.ndarray | None, size: int, seed: int) -> np.ndarray:
    """At most `size` of the rows, in ascending order, as float32."""
    rows = np.arange(len(embeddings)) if rows is None else rows
    if len(rows) > size:
        rows = np.sort(np.random.default_rng(seed).choice(rows, size, replace=False))
    return embeddings[rows].astype(np.float32)


def _without_small(embeddings: np.ndarray, centers: np.ndarray, progress: bool) -> Clusters:
    """Assigns all rows to centers, and repeats without the centers of fewer than two rows until there are none."""
    found = len(centers)
    while True:
        clusters = Clusters(_nearest(embeddings, centers, progress), centers, found - len(centers))
        is_large = clusters.sizes >= 2
        if is_large.all():
            break
        centers = centers[is_large]
    if clusters.num_merged:
        logger.warning(
            "%d of %d clusters had fewer than two images, which are now in other clusters", clusters.num_merged, found
        )
    return clusters


def _nearest(embeddings: np.ndarray, centers: np.ndarray, progress: bool) -> np.ndarray:
    """(n,) int32 nearest centers. The processes share the blocks."""
    state = this_process()
    found = torch.zeros(len(embeddings), dtype=torch.int32)
    on_device, is_hidden = torch.from_numpy(centers).to(state.device), not (progress and state.is_main_process)
    with tqdm(total=len(embeddings), desc="assigning clusters", unit="image", disable=is_hidden) as bar:
        for index, (start, block) in enumerate(_blocks(embeddings)):
            if index % state.num_processes == state.process_index:
                found[start : start + len(block)] = nearest(torch.from_numpy(block).to(state.device), on_device)[0]
            bar.update(len(block))
    if state.num_processes > 1:
        found = reduce(found.to(state.device), reduction="sum").cpu()
    return found.numpy()


def _blocks(embeddings: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(embeddings), BLOCK):
        yield start, embeddings[start : start + BLOCK].astype(np.float32)


def check_teacher_embeddings(embeddings: np.ndarray, rows: np.ndarray | None = None) -> None:
    """Raises an InputError if an embedding (n, p) of the images in `rows` (n,), or of all images, is not finite."""
    check_vectors(embeddings, "teacher's embeddings")
    for start, block in _blocks(embeddings):
        is_bad = ~np.isfinite(block).all(1)
        if is_bad.any():
            row = start + is_bad.argmax()
            row = row if rows is None else rows[row]
            raise InputError(f"the teacher's embedding of image row {row} is not finite")
