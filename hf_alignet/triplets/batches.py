"""In-batch triplets: the teacher's vectors of the images in a batch label all triplets of the batch.

One forward pass of B images trains on up to B(B-1)(B-2)/6 triplets. Triplets that are drawn before need up to three
images each. A batch has some clusters (or classes), and some images of each. So it has triplets within and between
clusters.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from hf_alignet.encoder.embedding import load_embeddings
from hf_alignet.errors import InputError, naming
from hf_alignet.ranges import Count, Seed, checked, row_numbers
from hf_alignet.similarity import triplet_similarities
from hf_alignet.sources import load_matrix
from hf_alignet.triplets.clusters import check_teacher_embeddings, default_num_clusters, fit_clusters
from hf_alignet.triplets.partition import read_labels
from hf_alignet.triplets.triplet_dataset import column, triplets_from_arrays

VECTORS = "the teacher's vectors"


class TeacherVectors(Dataset):
    """Images with the teacher's vectors. Dot products of vectors are the teacher's similarities.

    Args:
        rows: (m,) rows of the image dataset.
        vectors: (m, p) finite vectors of the images, or of their classes.
        clusters: (m,) integers, the cluster or class of each image.

    Raises:
        InputError: the lengths differ, or a vector is not finite (names the row).
    """

    def __init__(self, rows: np.ndarray, vectors: np.ndarray, clusters: np.ndarray):
        if not len(rows) == len(vectors) == len(clusters):
            numbers = f"{len(rows)} images, {len(vectors)} vectors and {len(clusters)} clusters"
            raise InputError(f"{numbers} are not equally many")
        check_teacher_embeddings(vectors, rows)
        if len(vectors) > 1 and (vectors == vectors[0]).all():
            raise InputError("the teacher's vectors are all the same: is it collapsed?")
        self.rows, self.clusters = row_numbers(rows, None, "the rows of the images"), np.asarray(clusters)
        self.vectors = np.asarray(vectors, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray]:
        return int(self.rows[index]), self.vectors[index]


class TripletRows(Dataset):
    """Triplets of a Dataset, held in memory (24 bytes each): `datasets` would make lists of the numbers of every row.

    Args:
        triplets: columns of numbers, or of three numbers; see `hf_alignet.judgments.rows.column`.
    """

    def __init__(self, triplets: datasets.Dataset):
        self.columns = {name: column(triplets, name) for name in triplets.column_names}
        self.length = len(triplets)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[index] for name, values in self.columns.items()}

    def __getitems__(self, rows: list[int]) -> list[dict[str, Any]]:
        """Many at once, as DataLoader asks for them."""
        columns = [values[rows] for values in self.columns.values()]
        return [dict(zip(self.columns, cells, strict=True)) for cells in zip(*columns, strict=True)]


class ClusterSampler(Sampler[int]):
    """Orders images so that each batch has some clusters, with `images_per_cluster` images of each.

    The clusters of a batch are drawn uniformly, from those with enough images. An epoch has (number of images) //
    `batch_size` batches. The order depends only on the seed and the epoch. `clusters` (m,) has the cluster of each
    image. Raises an InputError if `batch_size` is below 3 or no multiple of `images_per_cluster`, or too few clusters
    have enough images.
    """

    @checked
    def __init__(self, clusters: np.ndarray, batch_size: int, images_per_cluster: Count, seed: Seed):
        if batch_size < 3:
            raise InputError(f"`per_device_train_batch_size` must be at least 3, a triplet, got {batch_size}")
        if batch_size % images_per_cluster:
            raise InputError(
                f"`per_device_train_batch_size` must be a multiple of `images_per_cluster`, got {batch_size} and "
                f"{images_per_cluster}"
            )
        order = np.argsort(clusters, kind="stable")
        members = np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1)
        self.members = [rows for rows in members if len(rows) >= images_per_cluster]
        self.clusters_per_batch = batch_size // images_per_cluster
        if len(self.members) < self.clusters_per_batch:
            raise InputError(
                f"{len(self.members)} clusters have {images_per_cluster} images or more, and a batch of {batch_size} "
                f"needs {self.clusters_per_batch}: lower `per_device_train_batch_size` or raise `images_per_cluster`"
            )
        self.images_per_cluster = images_per_cluster
        self.num_batches = max(1, len(clusters) // batch_size)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches * self.clusters_per_batch * self.images_per_cluster

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        for _ in range(self.num_batches):
            for cluster in rng.permutation(len(self.members))[: self.clusters_per_batch]:
                yield from rng.permutation(self.members[cluster])[: self.images_per_cluster].tolist()


def fewest_per_cluster(clusters: np.ndarray, batch_size: int) -> int:
    """The least number of images of a cluster with which batches find enough clusters; all of them if none do."""
    sizes = np.unique(clusters, return_counts=True)[1]
    divisors = (number for number in range(1, batch_size + 1) if batch_size % number == 0)
    return next((k for k in divisors if np.count_nonzero(sizes >= k) >= batch_size // k), batch_size)


def triplets_of_batch(
    vectors: torch.Tensor, limit: int | None, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """All B(B-1)(B-2)/6 triplets of a batch, or `limit` of them, drawn without replacement.

    Returns positions (T, 3) in the batch, and their similarities (T, 3) in pair order, from the teacher's `vectors`
    (B, p).
    """
    number = math.comb(len(vectors), 3)
    if limit is None or limit >= number:
        triplets = all_triplets(len(vectors))
    else:
        triplets = torch.from_numpy(triplets_at(rng.choice(number, limit, replace=False, shuffle=False)))
    return triplets, triplet_similarities(vectors, triplets)


def sample_in_batch(
    dataset: TeacherVectors, batches: np.ndarray, number: int, rng: np.random.Generator
) -> datasets.Dataset:
    """A triplet Dataset with up to `number` triplets of each batch. `batches` (k, B) are positions in the dataset."""
    rows, similarities = [], []
    for batch in batches:
        drawn = triplets_of_batch(torch.from_numpy(dataset.vectors[batch]), number, rng)
        rows.append(dataset.rows[batch[drawn[0].numpy()]])
        similarities.append(drawn[1].numpy())
    return triplets_from_arrays(np.concatenate(rows), np.concatenate(similarities))


def triplets_at(ranks: np.ndarray) -> np.ndarray:
    """The triplets (n, 3) i < j < k at ranks (n,) of the list of all triplets, without making this long list.

    The list is sorted by k, then j, then i, so the rank of a triplet is C(k, 3) + C(j, 2) + i.
    """
    size = 3 + round((6 * float(ranks.max(initial=0))) ** (1 / 3))
    n = np.arange(size + 1)
    pairs, triples = n * (n - 1) // 2, n * (n - 1) * (n - 2) // 6
    k = np.searchsorted(triples, ranks, side="right") - 1
    rest = ranks - triples[k]
    j = np.searchsorted(pairs, rest, side="right") - 1
    return np.stack([rest - pairs[j], j, k], axis=1)


@lru_cache(maxsize=4)
def all_triplets(number: int) -> torch.Tensor:
    """All triplets i < j < k of `number` positions, (T, 3)."""
    return torch.combinations(torch.arange(number), 3)


@checked
def load_teacher(
    images: datasets.Dataset,
    rows: np.ndarray,
    embeddings: str | np.ndarray | None = None,
    class_table: str | None = None,
    seed: Seed = 0,
) -> TeacherVectors:
    """The teacher's vectors of some images, from an array or one of two `.npy` files.

    Args:
        images: the image dataset.
        rows: (m,) rows to train on.
        embeddings: array or file of (n, p), one row for each image of the dataset. k-means makes the clusters.
        class_table: file of (num_classes, p), one row for each class of the column `label`. Classes are the clusters.
        seed: seed of k-means.

    Raises:
        InputError: a file cannot be read or does not fit the images, or there are no labels.
    """
    if embeddings is not None:
        with naming("teacher_embeddings"):
            vectors = load_embeddings(embeddings, VECTORS, images) if isinstance(embeddings, str) else embeddings
        if len(vectors) != len(images):
            name = embeddings if isinstance(embeddings, str) else "`teacher_embeddings`"
            raise InputError(f"{name} has {len(vectors)} rows for {len(images)} images: embed the images again")
        vectors = vectors[rows]
        check_teacher_embeddings(vectors, rows)  # k-means does not know the rows
        clusters = fit_clusters(vectors, default_num_clusters(len(rows)), seed, progress=False)
        return TeacherVectors(rows, vectors, clusters.assignments)
    labels = read_labels(images)[rows]
    with naming("class_vectors"):
        return TeacherVectors(rows, class_vectors(labels, load_matrix(str(class_table), VECTORS)), labels)


def class_vectors(labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Vectors (m, p) of images with the classes `labels` (m,), from a table (num_classes, p).

    Raises an InputError that names a class if the table has no finite vector for it.
    """
    classes = np.unique(labels)
    has_vector = (classes >= 0) & (classes < len(table))
    has_vector[has_vector] = np.isfinite(table[classes[has_vector]]).all(1)
    if not has_vector.all():
        raise InputError(
            f"the table of class vectors lacks class {classes[~has_vector][0]}: it has {len(table)} rows, one for "
            "each class, and NaN means that there is no vector"
        )
    return table[labels]
