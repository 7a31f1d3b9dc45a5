"""Opens similarity matrices: your own tables and arrays, and the published files of three studies.

The layout of the studies' files comes from published code that reads them, not from the files: gLocal's loaders
(Muttenthaler et al. 2023) for all three, and the analysis script of Hebart et al. 2020 for Peterson's. As in gLocal, a
folder has the pictures in `images` and the matrices in `sim_judgements`. We infer that the rows are in the order of
the pictures' file names by code point.

- Peterson et al. 2016, 2018 (Cognitive Science 42): six sets (animals, automobiles, fruits, furniture, various,
  vegetables) of 120 pictures. A `.mat` file has one matrix of mean ratings from 0 (not similar) to 10, with 10 on the
  diagonal. The name of the variable contains `sim` (`simMatrix`, `simmat`, `simMatrix_mturkfurniture` …).
- King et al. 2019 (NeuroImage 197): `BEHAVIOR.mat` has a structure `BEHAVIOR` with `set1` and `set2`, each with
  `pairwisedistances` (participants, pairs). gLocal's comment calls the pairs the lower triangle, but its code reads
  them as the upper triangle row by row, the order of MATLAB's `pdist`. This module does the same.
- Cichy et al. 2019 (NeuroImage 194): `judgments_general.mat` with `judgments` (participants, n, n) of 118 pictures.
"""

import csv
import logging
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import scipy

from hf_alignet.errors import InputError
from hf_alignet.judgments.file_reading import read_arrays, read_text
from hf_alignet.judgments.pair_ratings import find_pairs, read_pairs
from hf_alignet.judgments.similarity_matrices import (
    CONFIG,
    MatrixKind,
    SimilarityMatrix,
    check_kind,
    from_array,
    from_rows,
)
from hf_alignet.judgments.table_files import SEPARATOR
from hf_alignet.sources import hub_id, load_splits

logger = logging.getLogger(__name__)

PICTURES = (".jpg", ".jpeg", ".png")
TEXT = (".csv", ".tsv", ".txt")
SUFFIXES = (*TEXT, ".npy", ".npz", ".mat")
R_NAMES = re.compile(r"V1( V\d+)*|Var1( Var\d+)*|X1( X\d+)*")  # of R and MATLAB, for columns without a name
COUNTED = re.compile(rf"{R_NAMES.pattern}|[01]( \d+)*")
HIGHEST_RATING = 10  # of Peterson et al.


def load_similarity_matrix(
    path: str | Path, kind: MatrixKind | None, names: Sequence[str] | None = None, variable: str | None = None
) -> SimilarityMatrix:
    """A matrix (n, n) from a file (`.csv`, `.tsv`, `.txt`, `.npy`, `.npz` or `.mat`) or a published dataset.

    `hf-alignet publish` makes such datasets, in a directory or on the Hub (optionally with `@revision`). Text may have
    the names of the stimuli in its first row, its first column, or both, or one rating a row (see `pair_ratings`).
    Empty cells, `NA` and `NaN` are pairs that nobody judged. Arrays (p, n, n), or (n, n, p) as MATLAB stacks them, are
    the matrices of p participants.

    Args:
        path: path of the file, or path or Hub id of the dataset.
        kind: `similarity` or `dissimilarity`. None: a dataset states its kind; for a file the diagonal decides,
            because a stimulus is most similar to itself.
        names: names of the stimuli; by default those in the file (in an `.npz`, the array `names`), or else the row
            numbers.
        variable: name of the array, if an `.npz` or `.mat` file has several.

    Raises:
        InputError: the file cannot be read, or does not hold such a matrix.
    """
    source, path = str(path), Path(path).expanduser()
    suffix = path.suffix.lower()
    if kind is not None:
        check_kind(kind)
    found: Sequence[str] | None = None
    stated: MatrixKind | None
    if path.is_dir() or (hub_id(source) is not None and not path.exists() and suffix not in SUFFIXES):
        stated, matrix, found = from_rows(next(iter(load_splits(source, CONFIG).values())))
        kind = kind or stated
    elif suffix in TEXT:
        matrix, found, stated = _read_text(path)
        kind = kind or stated
    elif suffix == ".mat":
        matrix = _choose(_load_mat(path), variable, path)
    elif suffix in (".npy", ".npz"):
        arrays = read_arrays(path, "similarity matrix")
        found = arrays.pop("names").tolist() if "names" in arrays and variable != "names" else None
        matrix = _people_first(arrays[""]) if suffix == ".npy" else _choose(arrays, variable, path)
    else:
        raise InputError(f"{path.name} is no similarity matrix; supported are {', '.join(SUFFIXES)}")
    return from_array(matrix, kind, path.name, names or found)


def load_peterson(path: str | Path, names: Sequence[str] | None = None) -> SimilarityMatrix:
    """One of the six sets of Peterson et al.: mean ratings from 0 to 10 (see the top of this module).

    Args:
        path: path of the `.mat` file, or of the folder of a set (such as `animals`).
        names: names of the stimuli; by default the file names of the pictures, or else the row numbers.

    Raises:
        InputError: the file is missing, or does not hold such a matrix.
    """
    file, pictures = _published(path, "*sim*.mat", "images")
    arrays = {name: array for name, array in _load_mat(file).items() if "sim" in name.lower()}
    if not arrays:
        raise InputError(f"{file.name} has no variable with 'sim' in its name, as the published files have")
    matrix = _choose(arrays, None, file)
    found = from_array(matrix, "similarity", f"Peterson et al. ({file.name})", names or pictures)
    lowest, highest = np.nanmin(matrix), np.nanmax(matrix)
    if lowest < 0 or highest > HIGHEST_RATING:
        raise InputError(
            f"{file.name} has entries from {lowest:g} to {highest:g}; mean ratings are from 0 to {HIGHEST_RATING}"
        )
    return found


def load_king(path: str | Path, stimulus_set: str = "set1", names: Sequence[str] | None = None) -> SimilarityMatrix:
    """Dissimilarities of King et al. 2019: of each participant, and their mean (see the top of this module).

    `path` is that of `BEHAVIOR.mat`, or of the folder with `images/set1`, `images/set2` and `sim_judgements`.
    `stimulus_set` is `set1` or `set2`. Names and errors are those of `load_peterson`.
    """
    file, pictures = _published(path, "behavior.mat", f"images/{stimulus_set}")
    variable, content = f"BEHAVIOR.{stimulus_set}.pairwisedistances", _load_mat(file)
    try:
        distances = np.atleast_2d(np.asarray(content["BEHAVIOR"][stimulus_set]["pairwisedistances"], np.float32))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{file.name} has no {variable} of numbers") from error
    if distances.ndim != 2 or distances.size == 0 or not scipy.spatial.distance.is_valid_y(distances[0]):
        expected = "expected one row for each participant, with n (n - 1) / 2 pairs"
        raise InputError(f"{variable} of {file.name} has shape {distances.shape}; {expected}")
    participants = np.stack([scipy.spatial.distance.squareform(row) for row in distances])
    return from_array(participants, "dissimilarity", f"King et al. 2019, {stimulus_set}", names or pictures)


def load_cichy(path: str | Path, names: Sequence[str] | None = None) -> SimilarityMatrix:
    """Dissimilarities of Cichy et al. 2019: of each participant, and their mean (see the top of this module).

    `path` is that of `judgments_general.mat`, or of the folder with `images` and `sim_judgements`. Names and errors
    are those of `load_peterson`.
    """
    file, pictures = _published(path, "judgments_general.mat", "images")
    judgments: Any = _load_mat(file).get("judgments")
    if not _is_matrix(judgments) or judgments.ndim != 3:
        raise InputError(f"{file.name} has no array judgments of shape (participants, n, n)")
    return from_array(_people_first(judgments), "dissimilarity", "Cichy et al. 2019", names or pictures)


def _published(path: str | Path, pattern: str, images: str) -> tuple[Path, list[str] | None]:
    """The file of a study, and the names of the pictures in its folder in the order of the rows; None without them."""
    path = Path(path).expanduser()
    if not path.is_dir():
        return path, None
    files = [file for file in sorted(path.glob("sim_judgements/*")) if fnmatch(file.name.lower(), pattern)]
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise InputError(f"{path} must hold one file sim_judgements/{pattern}, found {found}; give the file itself")
    pictures = sorted(file.name for file in path.glob(f"{images}/*") if file.suffix.lower() in PICTURES)
    return files[0], pictures or None


def _load_mat(path: Path) -> dict[str, Any]:
    try:
        content = scipy.io.loadmat(path, simplify_cells=True)
    except NotImplementedError as error:
        raise InputError(
            f"MATLAB saved {path.name} with -v7.3 (HDF5), which is not supported; save it with -v7, or as .csv"
        ) from error
    except (OSError, ValueError, TypeError, scipy.io.matlab.MatReadError, EOFError) as error:
        raise InputError(f"cannot read the MATLAB file {path}: {error}") from error
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _choose(arrays: dict[str, Any], variable: str | None, path: Path) -> np.ndarray:
    """The array with the given name, or the only one that can be a similarity matrix."""
    fitting = [name for name, array in arrays.items() if _is_matrix(array)]
    if variable is not None and variable not in arrays:
        raise InputError(f"{path.name} has no array {variable!r}; it has {', '.join(arrays)}")
    if variable is None and len(fitting) != 1:
        raise InputError(
            f"{path.name} has {len(fitting) or 'no'} arrays that can be a similarity matrix; give the name of one as "
            f"`variable` (`rsa_variable` of evaluate, `matrix_variable` of publish): it has {', '.join(arrays)}"
        )
    return _people_first(np.asarray(arrays[variable or fitting[0]]))


def _people_first(array: np.ndarray) -> np.ndarray:
    """(p, n, n) from (n, n, p); other arrays as they are."""
    is_last = array.ndim == 3 and array.shape[0] == array.shape[1] != array.shape[2]
    return np.moveaxis(array, 2, 0) if is_last else array


def _is_matrix(array: Any) -> bool:
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3) or array.dtype.kind not in "fiu":
        return False
    return array.shape[-1] == array.shape[-2] > 1 or array.shape[0] == array.shape[1] > 1


def _read_text(path: Path) -> tuple[np.ndarray, list[str] | None, MatrixKind | None]:
    """The matrix of a text table, the names in its first row or column, and the kind if a column says it."""
    cells, number = _read_cells(path)
    pairs = find_pairs(cells[0])
    if pairs is not None:
        return read_pairs(cells, pairs, number, path.name)
    numbers = [[number(cell) for cell in line] for line in cells]
    has_header, has_names = _where_names_are(cells, numbers)
    across = cells[0][has_names:] if has_header else None
    down = [line[0] for line in cells[has_header:]] if has_names else None
    if across is not None and down is not None and across != down:
        # R numbers rows, and calls columns V1, V2 …, if a matrix has no names
        across, down = (None if COUNTED.fullmatch(" ".join(names)) else names for names in (across, down))
    for k, (first, second) in enumerate(zip(across or (), down or (), strict=False)):
        if first != second:
            where = f"{first!r} in the first row, {second!r} in the first column"
            raise InputError(f"{path.name}: stimulus {k} is {where}")
    values = [line[has_names:] for line in numbers[has_header:]]
    for row, entries in enumerate(values):
        if None in entries:
            k = entries.index(None)
            cell = cells[row + has_header][k + has_names]
            raise InputError(f"{path.name}: the entry ({row}, {k}) is {cell!r}, which is not a number")
    names = across or down
    if names is not None and R_NAMES.fullmatch(" ".join(names)):
        names = None
    return np.array(values, np.float64), names, None


def _read_cells(path: Path) -> tuple[list[list[str]], Callable[[str], float | None]]:
    """The rows of a text table without empty ones, and how to read a number in them."""
    content, note = read_text(path)
    if note is not None:
        logger.warning("%s", note)
    lines = content.decode("utf-8").splitlines(keepends=True)
    if not any(line.strip() for line in lines):
        raise InputError(f"{path} is empty")
    if stated := SEPARATOR.match(lines[0]):
        del lines[0]
    first_line = next(line for line in lines if line.strip())
    marks = stated[1] if stated else "\t;,"
    delimiter = next((mark for mark in marks if mark in first_line), " " if path.suffix == ".txt" else ",")
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        cells = [[cell.strip() for cell in line] for line in rows if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise InputError(f"cannot read {path.name} as a table: {error}") from error
    width = len(cells[0])
    if len(cells) > 1 and all(len(line) == width + 1 for line in cells[1:]):
        cells[0], width = ["", *cells[0]], width + 1  # R's write.table leaves out the corner
    for row, line in enumerate(cells, 1):
        if len(line) != width:
            raise InputError(f"line {row} of {path.name} has {len(line)} cells, but the first line has {width}")
    return cells, _number if delimiter == "," else lambda cell: _number(cell.replace(",", "."))


def _number(cell: str) -> float | None:
    """The number in a cell, NaN if nobody judged the pair; None for other text."""
    if cell.lower() in ("", "na", "null", "none"):
        return np.nan
    try:
        return float(cell)
    except ValueError:
        return None


def _where_names_are(cells: list[list[str]], numbers: list[list[float | None]]) -> tuple[bool, bool]:
    """Whether the first row, and the first column, are names; names may be numbers too."""
    height, width = len(cells), len(cells[0])
    if height != width:
        return height == width + 1, width == height + 1
    # A matrix without a diagonal starts with an empty cell; so does a table with names in its first row and column
    diagonal = [numbers[k][k] for k in range(height)]
    is_diagonal_missing = None not in diagonal and np.isnan(np.array(diagonal, np.float64)).all()
    has_both = not is_diagonal_missing and (cells[0][0] == "" or numbers[0][0] is None)
    has_both |= None in numbers[0][1:]
    return has_both, has_both
