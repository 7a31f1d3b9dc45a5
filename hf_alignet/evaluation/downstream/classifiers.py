"""Classifiers on frozen embeddings: ridge, logistic regression, prototypes and nearest neighbours.

Each is fitted to embeddings (n, d) with labels (n,) in 0 … c - 1, and predicts labels in blocks of rows, so that a
million images fit into the memory. The same on every machine: nothing is drawn at random.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy
import torch

BLOCK = 8192  # rows that are predicted together
CELLS = 50_000_000  # of a block of similarities
RIDGE = 2.0**10  # of big_vision's few-shot evaluation
RIDGES = 2.0 ** np.arange(-4, 21, 2)
BIAS = 100.0  # constant feature in place of an intercept, as there: the ridge hardly shrinks it
TOO_FLAT = 1e-5  # added to standard deviations, as there


class Predictor(Protocol):
    """A fitted classifier."""

    def predict(self, embeddings: np.ndarray) -> np.ndarray: ...


Fit = Callable[[np.ndarray, np.ndarray, int], Predictor]


class Linear(NamedTuple):
    """The class with the largest score `x @ weight + bias`."""

    weight: np.ndarray  # (d, c)
    bias: np.ndarray  # (c,)

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """(n,) int64."""
        weight, bias = self.weight.astype(np.float32), self.bias.astype(np.float32)
        found = [(np.asarray(part, np.float32) @ weight + bias).argmax(1) for part in _blocks(embeddings)]
        return np.concatenate(found) if found else np.empty(0, np.int64)


class Standard(NamedTuple):
    """Moves and scales features to mean 0 and standard deviation 1 over the images that are learned from."""

    mean: np.ndarray  # (d,)
    std: np.ndarray  # (d,)

    @classmethod
    def of(cls, embeddings: np.ndarray) -> "Standard":
        mean = embeddings.mean(0, dtype=np.float64)
        squares = sum(((part - mean) ** 2).sum(0) for part in _blocks(embeddings))
        return cls(mean, np.sqrt(squares / len(embeddings)) + TOO_FLAT)

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, d) float64."""
        return (embeddings - self.mean) / self.std

    def undone(self, weight: np.ndarray, bias: np.ndarray) -> Linear:
        """The same scores from features as they were."""
        weight = weight / self.std[:, None]
        return Linear(weight, bias - self.mean @ weight)


def fit_ridge(embeddings: np.ndarray, labels: np.ndarray, num_classes: int, ridge: float | None = RIDGE) -> Linear:
    """Ridge regression to +1 for the class and -1 for others, as in big_vision's `fewshot_lsr`.

    Features are standardised by the images that are learned from, and a constant feature of 100 takes the place of an
    intercept. Without a `ridge`, that of `RIDGES` with the smallest squared error of leaving one image out is taken.
    """
    standard = Standard.of(embeddings)
    if ridge is None:
        solved = _solve_best(_with_bias(standard(embeddings)), labels, num_classes)
    elif len(embeddings) <= embeddings.shape[1]:
        x = _with_bias(standard(embeddings))
        solved = x.T @ scipy.linalg.solve(_plus(x @ x.T, ridge), _signs(labels, num_classes), assume_a="pos")
    else:
        square: Any = 0.0
        sums: Any = 0.0
        for part, of_part in zip(_blocks(embeddings), _blocks(labels), strict=True):
            x = _with_bias(standard(part))
            square += x.T @ x
            sums += _product_with_signs(x, of_part, num_classes)
        solved = scipy.linalg.solve(_plus(square, ridge), sums, assume_a="pos")
    return standard.undone(solved[:-1], BIAS * solved[-1])


def _blocks(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def _with_bias(x: np.ndarray) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 1)), constant_values=BIAS)


def _signs(labels: np.ndarray, num_classes: int) -> np.ndarray:
    signs = np.full((len(labels), num_classes), -1.0)
    signs[np.arange(len(labels)), labels] = 1.0
    return signs


def _product_with_signs(x: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """(d, c) x'y for signs y: twice the sum over each class less the sum over all, without a matrix (n, c)."""
    n = len(x)
    sums = scipy.sparse.csr_array((np.ones(n), (labels, np.arange(n))), shape=(num_classes, n)) @ x
    return (2 * sums - sums.sum(0)).T


def _plus(square: np.ndarray, ridge: float) -> np.ndarray:
    square[np.diag_indices_from(square)] += ridge
    return square


def _solve_best(x: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    left, values, right = scipy.linalg.svd(x, full_matrices=False, overwrite_a=True)
    inside = _product_with_signs(left, labels, num_classes)
    shrunk = values**2 / (values**2 + RIDGES[:, None])
    errors = np.zeros(len(RIDGES))
    for part, of_part in zip(_blocks(left), _blocks(labels), strict=True):
        signs = _signs(of_part, num_classes)
        for index, share in enumerate(shrunk):
            residuals = signs - (part * share) @ inside
            errors[index] += ((residuals / (1 - (part**2 @ share))[:, None]) ** 2).sum()
    ridge = RIDGES[int(np.argmin(errors))]
    return right.T @ ((values / (values**2 + ridge))[:, None] * inside)


def fit_prototypes(embeddings: np.ndarray, labels: np.ndarray, num_classes: int) -> Linear:
    """The nearest mean of a class, by Euclidean distance (Snell et al. 2017)."""
    sums = np.zeros((num_classes, embeddings.shape[1]))
    np.add.at(sums, labels, embeddings)
    means = sums / np.bincount(labels, minlength=num_classes)[:, None]
    return Linear(2 * means.T, -(means**2).sum(1))


class Neighbours(NamedTuple):
    """The class that most of the k nearest images have, by cosine; of several such classes the first."""

    directions: np.ndarray  # (n, d) float32 of unit length
    labels: np.ndarray  # (n,)
    k: int

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """(m,) int64."""
        num_classes = int(self.labels.max()) + 1
        found = []
        for nearest in nearest_rows(unit(embeddings), self.directions, self.k):
            votes = self.labels[nearest] + num_classes * np.arange(len(nearest))[:, None]
            counts = np.bincount(votes.ravel(), minlength=num_classes * len(nearest))
            found.append(counts.reshape(len(nearest), num_classes).argmax(1))
        return np.concatenate(found) if found else np.empty(0, np.int64)


def fit_neighbours(embeddings: np.ndarray, labels: np.ndarray, num_classes: int, k: int = 5) -> Neighbours:
    """Remembers all images. Where classes have fewer than `k`, as with few shots, so many neighbours count."""
    return Neighbours(unit(embeddings), labels, min(k, int(np.bincount(labels).min())))


def unit(embeddings: np.ndarray) -> np.ndarray:
    """The embeddings (n, d) float32 at unit length; zeros stay zeros."""
    norms = np.sqrt(np.einsum("ij,ij->i", embeddings, embeddings, dtype=np.float64))[:, None]  # without their squares
    return np.divide(embeddings, norms, out=np.zeros(embeddings.shape, np.float32), where=norms > 0, casting="unsafe")


def nearest_rows(queries: np.ndarray, directions: np.ndarray, k: int) -> Iterator[np.ndarray]:
    """Blocks (b, k) of the rows of `directions` with the largest dot products with each query, the largest first."""
    return (found.indices.numpy() for found in _nearest(queries, directions, k))


def nearest_products(queries: np.ndarray, directions: np.ndarray, k: int) -> Iterator[np.ndarray]:
    """Blocks (b, k) of the k largest dot products of each query with `directions`."""
    return (found.values.numpy() for found in _nearest(queries, directions, k))


def _nearest(queries: np.ndarray, directions: np.ndarray, k: int) -> Iterator[Any]:
    table, step = torch.from_numpy(directions).T, max(1, CELLS // len(directions))
    for start in range(0, len(queries), step):
        yield (torch.from_numpy(np.ascontiguousarray(queries[start : start + step])) @ table).topk(k, dim=1)
