"""Similarity matrices: how similar people found every two of some stimuli."""

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
CONFIG, PARTICIPANTS = "matrix", "participants"  # of a dataset of a matrix
NAME, PARTICIPANT = "name", "participant"

FEWEST_STIMULI = 3  # of two there is one pair, and one pair correlates with nothing
ROUNDING = 1e-5  # of the largest entry: differences below it are rounding, not asymmetry
BLOCK_ENTRIES = 4_000_000  # looked at, at once


@dataclass(frozen=True, eq=False)
class SimilarityMatrix:
    """What people said about all pairs of n stimuli.

    Attributes:
        names: of the n stimuli, in the order of the rows.
        matrix: (n, n) float32, symmetric; NaN where a pair was not judged. The diagonal has no meaning.
        kind: `similarity` (larger is more similar) or `dissimilarity`.
        source: where it is from, for messages and cards.
        participants: (p, n, n) float32 of which `matrix` is the mean, where they are known.
        is_named: whether `names` are names; otherwise they are the numbers of the rows.

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
            raise InputError(f"{self.source} has {n} stimuli, and there are {len(self.names)} names for them")
        if len(set(self.names)) < n:
            twice = next(name for name in self.names if list(self.names).count(name) > 1)
            raise InputError(f"two stimuli of {self.source} are called {twice!r}")
        if self.participants is not None and self.participants.shape[1:] != (n, n):
            raise InputError(
                f"{self.source} has {n} stimuli, but matrices of participants of shape {self.participants.shape}"
            )
        _warn_if_turned_round(self.matrix, self.kind, self.source)


def mean_over_participants(participants: np.ndarray) -> np.ndarray:
    """(n, n) float32 mean of matrices (p, n, n), each pair over those who judged it; NaN where nobody did."""
    is_judged = ~np.isnan(participants)
    total = np.where(is_judged, participants, 0).sum(0, dtype=np.float64)
    number = is_judged.sum(0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(np.float32)


def check_kind(kind: str) -> None:
    """Refuses what is no kind of matrix.

    Raises:
        InputError: lists the kinds.
    """
    if kind not in get_args(MatrixKind):
        raise InputError(f"kind must be one of {', '.join(get_args(MatrixKind))}, got {kind!r}")


def check_symmetric(matrix: np.ndarray) -> int:
    """Refuses what cannot be similarities of all pairs, NaN being a missing pair.

    Args:
        matrix: (n, n).

    Returns:
        The number of missing pairs of different objects.

    Raises:
        InputError: it is not square, smaller than 3, infinite somewhere, or not symmetric beyond rounding (names the
            entry).
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.dtype.kind not in "fiu":
        raise InputError(f"a similarity matrix must be square and hold numbers, got {matrix.dtype} {matrix.shape}")
    n = len(matrix)
    if n < FEWEST_STIMULI:
        raise InputError(f"similarities are compared over pairs of at least {FEWEST_STIMULI} stimuli, got {n}")
    missing, size = 0, max(1, BLOCK_ENTRIES // n)
    largest, worst, at = 0.0, 0.0, (0, 0)
    for start in range(0, n, size):
        rows = np.asarray(matrix[start : start + size, start:], np.float64)
        mirrored = np.asarray(matrix[start:, start : start + size], np.float64).T
        is_missing = np.isnan(rows)
        _refuse_entry(np.isinf(rows) | np.isinf(mirrored), start, "is infinite")
        _refuse_entry(is_missing != np.isnan(mirrored), start, "is missing, but not its mirror image, or the reverse")
        missing += int(np.triu(is_missing, 1).sum())
        difference = np.where(is_missing, 0, np.abs(rows - mirrored))
        largest = max(largest, float(np.nanmax(np.abs(rows), initial=0)))
        if difference.max() > worst:
            worst, place = float(difference.max()), divmod(int(difference.argmax()), difference.shape[1])
            at = (place[0] + start, place[1] + start)
    if worst > ROUNDING * largest:
        i, j = at
        raise InputError(
            f"the similarity matrix is not symmetric: the entry ({i}, {j}) is {matrix[i, j]}, and ({j}, {i}) is "
            f"{matrix[j, i]}; if only one triangle was filled in, mirror it"
        )
    return missing


def _refuse_entry(is_bad: np.ndarray, start: int, problem: str) -> None:
    if is_bad.any():
        i, j = (np.argwhere(is_bad)[0] + start).tolist()
        raise InputError(f"the entry ({i}, {j}) of the similarity matrix {problem}")


def kind_by_diagonal(matrix: np.ndarray) -> MatrixKind | None:
    """The kind that the diagonal (n, n) tells, since a stimulus is most similar to itself; None where it does not.

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


def _warn_if_turned_round(matrix: np.ndarray, kind: MatrixKind, source: str) -> None:
    if kind_by_diagonal(matrix) not in (None, kind):
        logger.warning(
            "%s is read as %s, but its diagonal is %s than all other entries: if it is the other kind, say so, since "
            "correlations would have the wrong sign",
            *(source, kind, "smaller" if kind == "similarity" else "larger"),
        )


def as_rows(matrix: SimilarityMatrix) -> dict[str, Dataset]:
    """The matrix as a dataset, one row a stimulus, by name of the configuration.

    Returns:
        `matrix` with the columns `name` and `similarity` (or `dissimilarity`), a list of n float32, NaN where a pair
        was not judged; and, where participants are known, `participants`, the same with a column `participant`.
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
    """Kind, matrix (n, n) float32 and names of the configuration `matrix`.

    Raises:
        InputError: the columns are others (lists them), or there are not as many numbers in a row as rows.
    """
    kind: MatrixKind | None = next((kind for kind in get_args(MatrixKind) if kind in dataset.column_names), None)
    if kind is None or NAME not in dataset.column_names:
        raise InputError(
            f"a dataset of a similarity matrix has the columns {NAME} and {' or '.join(get_args(MatrixKind))}; "
            f"there are {', '.join(dataset.column_names)}"
        )
    table = dataset.with_format("arrow")[:]
    flat = np.array(table[kind].combine_chunks().flatten(), np.float32)
    if len(flat) != len(dataset) ** 2:
        raise InputError(f"the column {kind!r} of {len(dataset)} stimuli must hold as many numbers in each row")
    return kind, flat.reshape(len(dataset), len(dataset)), table[NAME].to_pylist()
