"""Similarity matrices: how similar people judged all pairs of some stimuli."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, List, Value

from hf_alignet.errors import InputError

logger = logging.getLogger(__name__)

MatrixKind = Literal["similarity", "dissimilarity"]
CONFIG, PARTICIPANTS = "matrix", "participants"  # configurations of the dataset of a matrix
NAME, PARTICIPANT = "name", "participant"

FEWEST_STIMULI = 3  # two stimuli make one pair, and a correlation needs several pairs
ROUNDING = 1e-5  # share of the largest entry; a smaller difference is rounding, not asymmetry
BLOCK_ENTRIES = 4_000_000  # number of entries to check at once


@dataclass(frozen=True, eq=False)
class SimilarityMatrix:
    """Judged similarities or dissimilarities of all pairs of n stimuli.

    Attributes:
        names: names of the n stimuli, in the order of the rows.
        matrix: (n, n) float32, symmetric; NaN if nobody judged the pair. The diagonal has no meaning.
        kind: `similarity` (larger is more similar) or `dissimilarity`.
        source: origin of the matrix, for messages and cards.
        participants: (p, n, n) float32, matrices of the participants if known; `matrix` is their mean.
        is_named: whether `names` are real names; otherwise they are row numbers.

    Raises:
        InputError: the matrix is not square, symmetric and finite, or the names or participants do not fit it.
    """

    names: Sequence[str]
    matrix: np.ndarray
    kind: MatrixKind
    source: str
    participants: np.ndarray | None = None
    is_named: bool = True

    def __post_init__(self) -> None:
        check_kind(self.kind)
        try:
            check_symmetric(self.matrix)
        except InputError as error:
            raise InputError(f"{self.source}: {error}") from error
        n = len(self.matrix)
        if len(self.names) != n:
            raise InputError(f"{self.source} has {n} stimuli, but {len(self.names)} names; give one name for each")
        if len(set(self.names)) < n:
            twice = next(name for name in self.names if list(self.names).count(name) > 1)
            raise InputError(f"two stimuli of {self.source} have the name {twice!r}; give each its own name")
        if self.participants is not None and self.participants.shape[1:] != (n, n):
            shape = self.participants.shape
            raise InputError(f"{self.source} has {n} stimuli, but matrices of its participants have the shape {shape}")
        if kind_by_diagonal(self.matrix) not in (None, self.kind):
            logger.warning(
                "%s is read as %s, but its diagonal is %s than all other entries: if it is the other kind, change "
                "`kind`, because correlations would have the wrong sign",
                *(self.source, self.kind, "smaller" if self.kind == "similarity" else "larger"),
            )


def from_array(
    array: np.ndarray, kind: MatrixKind | None, source: str, names: Sequence[str] | None
) -> SimilarityMatrix:
    """The matrix of an array (n, n), or the mean of an array (p, n, n) of p participants.

    Without `names`, the rows are numbered; without `kind`, the diagonal decides. Raises an InputError if the array is
    no such matrix, or its diagonal does not show the kind.
    """
    if array.dtype.kind not in "fiu" or array.ndim not in (2, 3):
        raise InputError(f"{source} holds {array.dtype} of shape {array.shape}, not a matrix of numbers (n, n)")
    array = array.astype(np.float32)
    matrix = mean_over_participants(array) if array.ndim == 3 else array
    is_named, names = names is not None, list(map(str, range(len(matrix)) if names is None else names))
    if kind is None:
        check_symmetric(matrix)
        kind = kind_by_diagonal(matrix)
    if kind is None:
        raise InputError(
            f"the diagonal of {source} does not show whether the entries are similarities or dissimilarities: give "
            "`kind` (in the commands evaluate and publish, `rsa_kind` and `matrix_kind`)"
        )
    return SimilarityMatrix(names, matrix, kind, source, array if array.ndim == 3 else None, is_named)


def mean_over_participants(participants: np.ndarray) -> np.ndarray:
    """(n, n) float32 mean of matrices (p, n, n), over the participants who judged a pair; NaN if nobody did."""
    is_judged = ~np.isnan(participants)
    total = np.where(is_judged, participants, 0).sum(0, dtype=np.float64)
    number = is_judged.sum(0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(np.float32)


def check_kind(kind: str) -> None:
    """Raises an InputError if `kind` is not a kind of matrix."""
    if kind not in get_args(MatrixKind):
        raise InputError(f"`kind` must be one of {', '.join(get_args(MatrixKind))}, got {kind!r}")


def check_symmetric(matrix: np.ndarray) -> int:
    """Number of missing pairs (NaN) in a matrix (n, n), without the diagonal, after a check of the matrix.

    Raises an InputError if the matrix is not square, smaller than 3, infinite somewhere, or not symmetric beyond
    rounding (the message names the first such entry).
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.dtype.kind not in "fiu":
        raise InputError(f"a similarity matrix must be square and hold numbers, got {matrix.dtype} {matrix.shape}")
    n = len(matrix)
    if n < FEWEST_STIMULI:
        raise InputError(f"a comparison of similarities needs at least {FEWEST_STIMULI} stimuli, got {n}")
    highest, lowest = (float(f.reduce(matrix, axis=None, initial=0)) for f in (np.fmax, np.fmin))
    missing, size = 0, max(1, BLOCK_ENTRIES // n)
    for start in range(0, n, size):
        rows = np.asarray(matrix[start : start + size, start:], np.float64)
        mirrored = np.asarray(matrix[start:, start : start + size], np.float64).T
        is_missing = np.isnan(rows)
        _refuse_entry(np.isinf(rows) | np.isinf(mirrored), start, "is infinite")
        _refuse_entry(is_missing != np.isnan(mirrored), start, "is missing on one side of the diagonal only")
        is_asymmetric = np.abs(rows - mirrored) > ROUNDING * max(highest, -lowest)
        if is_asymmetric.any():
            i, j = (np.argwhere(is_asymmetric)[0] + start).tolist()
            raise InputError(
                f"the similarity matrix is not symmetric: the entry ({i}, {j}) is {matrix[i, j]}, and ({j}, {i}) is "
                f"{matrix[j, i]}; if only one triangle has values, copy them to the other one"
            )
        missing += int(np.triu(is_missing, 1).sum())
    return missing


def _refuse_entry(is_bad: np.ndarray, start: int, problem: str) -> None:
    if is_bad.any():
        i, j = (np.argwhere(is_bad)[0] + start).tolist()
        raise InputError(f"the entry ({i}, {j}) of the similarity matrix {problem}")


def kind_by_diagonal(matrix: np.ndarray) -> MatrixKind | None:
    """The kind of a matrix (n, n) from its diagonal: a stimulus is most similar to itself. None if it is not clear.

    Example:
        >>> kind_by_diagonal(np.array([[0.0, 2.0, 3.0], [2.0, 0.0, 1.0], [3.0, 1.0, 0.0]]))
        'dissimilarity'
    """
    n, diagonal = len(matrix), np.diagonal(matrix)
    if np.isnan(diagonal).any() or np.isnan(matrix).sum() == n * (n - 1):
        return None
    if (matrix <= diagonal.max()).sum() == n:  # the diagonal, and no other entry
        return "dissimilarity"
    return "similarity" if (matrix >= diagonal.min()).sum() == n else None


def as_rows(matrix: SimilarityMatrix) -> dict[str, Dataset]:
    """The matrix as datasets with one row for each stimulus, by name of the configuration.

    Returns:
        `matrix` with the columns `name` and `similarity` (or `dissimilarity`), a list of n float32, NaN if nobody
        judged the pair; and if participants are known, `participants`, the same with a column `participant`.
    """
    n = len(matrix.names)
    features = Features({NAME: Value("string"), matrix.kind: List(Value("float32"), length=n)})
    datasets = {CONFIG: _table([list(matrix.names)], matrix.matrix, features)}
    if matrix.participants is not None:
        p = len(matrix.participants)
        numbers = np.repeat(np.arange(p, dtype=np.int32), n)
        rows = matrix.participants.reshape(p * n, n)
        every = Features({PARTICIPANT: Value("int32"), **features})
        datasets[PARTICIPANTS] = _table([numbers, list(matrix.names) * p], rows, every)
    return datasets


def _table(columns: Sequence[np.ndarray | list[str]], rows: np.ndarray, features: Features) -> Dataset:
    flat = pa.array(np.ascontiguousarray(rows, np.float32).ravel())
    lists = pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
    return Dataset(pa.table([*map(pa.array, columns), lists], schema=features.arrow_schema))


def from_rows(dataset: Dataset) -> tuple[MatrixKind, np.ndarray, list[str]]:
    """Kind, matrix (n, n) float32 and names from the configuration `matrix` of a dataset."""
    kind: MatrixKind | None = next((kind for kind in get_args(MatrixKind) if kind in dataset.column_names), None)
    if kind is None or NAME not in dataset.column_names:
        needed, found = " or ".join(get_args(MatrixKind)), ", ".join(dataset.column_names)
        raise InputError(f"a similarity matrix needs the columns {NAME} and {needed}; there are {found}")
    table = dataset.with_format("arrow")[:]
    flat = np.array(table[kind].combine_chunks().flatten(), np.float32)
    if len(flat) != len(dataset) ** 2:
        raise InputError(f"each row of the column {kind!r} must hold {len(dataset)} numbers, one for each stimulus")
    return kind, flat.reshape(len(dataset), len(dataset)), table[NAME].to_pylist()
