"""Representational similarity matrices (RSMs): of a model's embeddings, or judged by people.

An RSM of many objects is large: 26,000 objects have 338 million pairs. So its rows are computed from the embeddings
when they are needed, and two RSMs are read together, a block of rows at a time.
"""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch

from hf_alignet.errors import InputError
from hf_alignet.judgments.similarity_matrices import FEWEST_STIMULI, MatrixKind, check_kind, check_symmetric
from hf_alignet.ranges import checked
from hf_alignet.similarity import SimilarityKind, check_finite, check_vectors, prepare_embeddings

BLOCK_PAIRS = 4_000_000  # similarities in memory at once


class Rsm:
    """A symmetric matrix (n, n) of similarities, by `from_embeddings` or `from_matrix`. Entries may be missing (NaN).

    Example:
        >>> Rsm.from_embeddings(np.eye(3), kernel="dot").matrix()[0].tolist()
        [1.0, 0.0, 0.0]
    """

    def __init__(self, vectors: np.ndarray | None, entries: Any = None, sign: int = 1, num_missing: int = 0):
        self._vectors, self._entries, self._sign = vectors, entries, sign
        self.num_missing = num_missing  # pairs of different objects

    @classmethod
    @checked
    def from_embeddings(cls, embeddings: np.ndarray, kernel: SimilarityKind = "pearson") -> Self:
        """The similarities of embeddings.

        Args:
            embeddings: (n, d) of n >= 3 objects.
            kernel: `pearson` (correlation of two embeddings over d), `cosine` or `dot`. A vector that is zero (for
                Pearson, constant) has Pearson and cosine similarity 0 to everything.

        Raises:
            InputError: there are fewer than 3 embeddings, or one is not finite (the message names the row).
        """
        embeddings = np.asarray(embeddings)
        check_vectors(embeddings)
        if len(embeddings) < FEWEST_STIMULI:
            raise InputError(
                f"similarities are compared over pairs of at least {FEWEST_STIMULI} objects, got {len(embeddings)}"
            )
        check_finite(embeddings)
        vectors = np.empty(embeddings.shape, np.float32)
        rows = max(1, BLOCK_PAIRS // max(1, embeddings.shape[1]))
        for start in range(0, len(embeddings), rows):
            # In double precision a constant vector minus its mean is exactly zero, not rounding of any direction
            part = torch.from_numpy(embeddings[start : start + rows].astype(np.float64))
            vectors[start : start + rows] = prepare_embeddings(part, kernel).numpy()
        return cls(vectors)

    @classmethod
    def from_matrix(cls, matrix: np.ndarray, kind: MatrixKind = "similarity") -> Self:
        """The RSM of similarities, or of dissimilarities, whose sign is changed; NaN where a pair was not judged.

        Args:
            matrix: (n, n), n >= 3, symmetric; not copied. The diagonal is never used.
            kind: `similarity` or `dissimilarity`.

        Raises:
            InputError: the matrix is not square, not symmetric up to rounding, too small, or has an infinite entry.
        """
        check_kind(kind)
        return cls(None, matrix, -1 if kind == "dissimilarity" else 1, check_symmetric(matrix))

    def __len__(self) -> int:
        return len(self._entries if self._vectors is None else self._vectors)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, n - start) float32: some rows, with the columns from `start` on."""
        if self._vectors is not None:
            with np.errstate(over="ignore", invalid="ignore"):  # rsa.py refuses similarities that are not finite
                return self._vectors[start:stop] @ self._vectors[start:].T
        rows = self._entries[start:stop, start:].astype(np.float32)
        return np.negative(rows, out=rows) if self._sign < 0 else rows

    def matrix(self) -> np.ndarray:
        """The whole matrix, (n, n) float32."""
        return self.rows(0, len(self))

    def select(self, objects: np.ndarray) -> "Rsm":
        """The RSM of some objects (k,), in the order given."""
        if self._vectors is not None:
            return Rsm(self._vectors[objects])
        entries = self._entries[np.ix_(objects, objects)]
        return Rsm(None, entries, self._sign, check_symmetric(entries))


def num_pairs(n: int) -> int:
    return n * (n - 1) // 2


def triangle_blocks(
    model: Rsm, human: Rsm, block_pairs: int = BLOCK_PAIRS
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The upper triangles of two RSMs of the same objects, row by row, in blocks.

    Yields the number of pairs before the block, and the similarities (m,) float32 of its pairs in both RSMs.
    """
    n, start, offset = len(model), 0, 0
    while start < n - 1:
        stop = min(n - 1, start + max(1, block_pairs // (n - start)))
        blocks = [rsm.rows(start, stop) for rsm in (model, human)]
        x, y = (np.concatenate([row[r + 1 :] for r, row in enumerate(block)]) for block in blocks)
        yield offset, x, y
        start, offset = stop, offset + len(x)


def pair_rows(positions: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The objects i < j of pairs that are numbered along the upper triangle, row by row.

    Example:
        >>> [objects.tolist() for objects in pair_rows(np.arange(3), 3)]
        [[0, 0, 1], [1, 2, 2]]
    """
    i = np.arange(n, dtype=np.int64)
    starts = i * (2 * n - i - 1) // 2
    first = np.searchsorted(starts[:-1], positions, side="right") - 1
    return first, positions - starts[first] + first + 1
