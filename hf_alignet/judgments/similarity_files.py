"""Opens similarity matrices: tables and arrays of your own, and the published ones of three studies.

How the studies' files are laid out is read from code that others published for them, not from the files: gLocal's
loaders (Muttenthaler et al. 2023) for all three, and for Peterson's also the analysis script of Hebart et al. 2020. A
folder is expected as gLocal has it, with the pictures in `images` and the matrices in `sim_judgements`. Inferred, not
stated: rows are in the order of the pictures' file names by code point.

- Peterson et al. 2016, 2018 (Cognitive Science 42): six sets (animals, automobiles, fruits, furniture, various,
  vegetables) of 120 pictures. A `.mat` file with one matrix of mean ratings from 0 (not similar) to 10, the diagonal
  10, in a variable whose name has `sim` in it (`simMatrix`, `simmat`, `simMatrix_mturkfurniture` …).
- King et al. 2019 (NeuroImage 197): `BEHAVIOR.mat`, a structure `BEHAVIOR` with `set1` and `set2`, each with
  `pairwisedistances` (participants, pairs). gLocal's comment calls the pairs the lower triangle, but its code reads
  them as the upper one row by row, the order of MATLAB's `pdist`; so it is here.
- Cichy et al. 2019 (NeuroImage 194): `judgments_general.mat` with `judgments` (participants, n, n) of 118 pictures.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from hf_alignet.errors import InputError
from hf_alignet.judgments.similarity_matrices import (
    CONFIG,
    MatrixKind,
    SimilarityMatrix,
    check_kind,
    check_symmetric,
    from_rows,
    kind_by_diagonal,
    mean_over_participants,
)
from hf_alignet.judgments.text_table import read_header
from hf_alignet.sources import hub_id, load_splits

PICTURES = (".jpg", ".jpeg", ".png")
TEXT = (".csv", ".tsv", ".txt")
SUFFIXES = (*TEXT, ".npy", ".npz", ".mat")
MISSING = ("", "na", "nan")
HIGHEST_RATING = 10  # of Peterson et al.
IMAGES, JUDGMENTS = "images", "sim_judgements"


def load_similarity_matrix(
    path: str | Path, kind: MatrixKind | None, names: Sequence[str] | None = None, variable: str | None = None
) -> SimilarityMatrix:
    """A matrix (n, n) from a file: `.csv`, `.tsv`, `.txt`, `.npy`, `.npz` or `.mat`; or from a dataset of one.

    A dataset is one that `recipes/publish.py` made, a directory or on the Hub (optionally with `@revision`). Text may
    have the names of the stimuli in its first row, its first column, or both; empty cells, `NA` and `NaN` are pairs
    that were not judged. Arrays (p, n, n) are the matrices of p participants.

    Args:
        path: of the file, or path or Hub id of the dataset.
        kind: `similarity` or `dissimilarity`; a file does not tell. None goes by the diagonal: a stimulus is most
            similar to itself. Of a dataset, None goes by what it says.
        names: of the stimuli; by default those in the file (in an `.npz`, the array `names`), or else the row numbers.
        variable: which array of an `.npz` or `.mat` file, if it holds several.

    Raises:
        InputError: the file cannot be read, or what it holds is no such matrix.
    """
    source, path = str(path), Path(path).expanduser()
    if kind is not None:
        check_kind(kind)
    found: Sequence[str] | None = None
    if path.is_dir() or (hub_id(source) is not None and not path.exists() and path.suffix not in SUFFIXES):
        stated, matrix, found = from_rows(next(iter(load_splits(source, CONFIG).values())))
        kind = kind or stated
    elif path.suffix in TEXT:
        matrix, found = _read_text(path)
    elif path.suffix == ".npy":
        matrix = _load_numpy(path)
    elif path.suffix == ".npz":
        arrays = _load_numpy(path)
        found = arrays.pop("names").tolist() if "names" in arrays and variable != "names" else None
        matrix = _choose(arrays, variable, path)
    elif path.suffix == ".mat":
        matrix = _choose(_load_mat(path), variable, path)
    else:
        raise InputError(f"{path.name} is no similarity matrix; understood are {', '.join(TEXT)}, .npy, .npz and .mat")
    return _similarity_matrix(matrix, kind, path.name, names or found)


def load_peterson(path: str | Path, names: Sequence[str] | None = None) -> SimilarityMatrix:
    """One of the six sets of Peterson et al., mean ratings from 0 to 10, see the module.

    Args:
        path: the `.mat` file, or the folder of a set (such as `animals`) with `images` and `sim_judgements`.
        names: of the stimuli; by default the names of the pictures, or else the row numbers.

    Raises:
        InputError: there is no such file, or what it holds is no such matrix.
    """
    path = Path(path).expanduser()
    file = _peterson_file(path) if path.is_dir() else path
    arrays = {name: array for name, array in _load_mat(file).items() if "sim" in name.lower()}
    if not arrays:
        raise InputError(f"{file.name} has no variable whose name has 'sim' in it, as the published files do")
    matrix = _choose(arrays, None, file)
    found = _similarity_matrix(
        matrix, "similarity", f"Peterson et al. ({file.name})", names or _pictures(path / IMAGES)
    )
    if np.nanmin(matrix) < 0 or np.nanmax(matrix) > HIGHEST_RATING:
        raise InputError(
            f"{file.name} has entries from {np.nanmin(matrix):g} to {np.nanmax(matrix):g}; mean ratings are from 0 to "
            f"{HIGHEST_RATING}"
        )
    return found


def load_king(path: str | Path, stimulus_set: str = "set1", names: Sequence[str] | None = None) -> SimilarityMatrix:
    """Dissimilarities of King et al. 2019, the mean and those of each participant, see the module.

    Args:
        path: `BEHAVIOR.mat`, or the folder with `images/set1`, `images/set2` and `sim_judgements`.
        stimulus_set: `set1` or `set2`.
        names: of the stimuli; by default the names of the pictures, or else the row numbers.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    path = Path(path).expanduser()
    file = path / JUDGMENTS / "BEHAVIOR.mat" if path.is_dir() else path
    content: Any = _load_mat(file)
    try:
        distances = np.atleast_2d(np.asarray(content["BEHAVIOR"][stimulus_set]["pairwisedistances"], np.float64))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{file.name} has no BEHAVIOR.{stimulus_set}.pairwisedistances of numbers") from error
    n = (1 + int(np.sqrt(1 + 8 * distances.shape[-1]))) // 2
    if distances.ndim != 2 or n * (n - 1) // 2 != distances.shape[1]:
        raise InputError(
            f"BEHAVIOR.{stimulus_set}.pairwisedistances of {file.name} has shape {distances.shape}; expected one row "
            "a participant, and n (n - 1) / 2 pairs"
        )
    participants = np.zeros((len(distances), n, n), np.float32)
    i, j = np.triu_indices(n, 1)
    participants[:, i, j] = participants[:, j, i] = distances
    source = f"King et al. 2019, {stimulus_set}"
    return _similarity_matrix(participants, "dissimilarity", source, names or _pictures(path / IMAGES / stimulus_set))


def load_cichy(path: str | Path, names: Sequence[str] | None = None) -> SimilarityMatrix:
    """Dissimilarities of Cichy et al. 2019, the mean and those of each participant, see the module.

    Args:
        path: `judgments_general.mat`, or the folder with `images` and `sim_judgements`.
        names: of the stimuli; by default the names of the pictures, or else the row numbers.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    path = Path(path).expanduser()
    file = path / JUDGMENTS / "judgments_general.mat" if path.is_dir() else path
    judgments = np.asarray(_load_mat(file).get("judgments"))
    if judgments.dtype.kind not in "fiu" or judgments.ndim != 3 or judgments.shape[1] != judgments.shape[2]:
        raise InputError(f"{file.name} has no array judgments of shape (participants, n, n)")
    return _similarity_matrix(judgments, "dissimilarity", "Cichy et al. 2019", names or _pictures(path / IMAGES))


def _similarity_matrix(
    array: np.ndarray, kind: MatrixKind | None, source: str, names: Sequence[str] | None
) -> SimilarityMatrix:
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
            f"the diagonal of {source} does not tell whether it holds similarity or dissimilarity: give "
            "`kind` (for the commands evaluate and publish `rsa_kind` and `matrix_kind`)"
        )
    return SimilarityMatrix(names, matrix, kind, source, array if array.ndim == 3 else None, is_named)


def _pictures(folder: Path) -> list[str] | None:
    """The pictures of a folder in the order of the rows; None where there is no folder."""
    if not folder.is_dir():
        return None
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in PICTURES) or None


def _peterson_file(folder: Path) -> Path:
    files = [file for file in sorted((folder / JUDGMENTS).glob("*.mat")) if "sim" in file.name.lower()]
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise InputError(f"{folder} must hold one file {JUDGMENTS}/*sim*.mat, found {found}; give the file itself")
    return files[0]


def _load_numpy(path: Path) -> Any:
    try:
        content = np.load(path, allow_pickle=False)
        return dict(content) if path.suffix == ".npz" else content
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise InputError(f"cannot read the similarity matrix {path}: {error}") from error


def _load_mat(path: Path) -> dict[str, Any]:
    try:
        content = loadmat(path, simplify_cells=True)
    except NotImplementedError as error:
        raise InputError(
            f"{path.name} was saved by MATLAB with -v7.3 (HDF5), which is not read here; save it with -v7, or as .csv"
        ) from error
    except (OSError, ValueError, TypeError, MatReadError, EOFError) as error:
        raise InputError(f"cannot read the MATLAB file {path}: {error}") from error
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _choose(arrays: dict[str, Any], variable: str | None, path: Path) -> np.ndarray:
    """The named array of a file, or the only one that can be a similarity matrix."""
    if variable is not None:
        if variable not in arrays:
            raise InputError(f"{path.name} has no array {variable!r}; it has {', '.join(arrays)}")
        return np.asarray(arrays[variable])
    fitting = [name for name, array in arrays.items() if _is_matrix(array)]
    if len(fitting) != 1:
        raise InputError(
            f"{path.name} has {len(fitting) or 'no'} arrays that can be a similarity matrix; name one with "
            f"`variable`: it has {', '.join(arrays)}"
        )
    return np.asarray(arrays[fitting[0]])


def _is_matrix(array: Any) -> bool:
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3) or array.dtype.kind not in "fiu":
        return False
    return array.shape[-1] == array.shape[-2] > 1


def _read_text(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """The matrix of a text table, and the names in its first row or column."""
    delimiter = read_header(path)[1]
    if path.suffix == ".txt" and delimiter == ",":
        with path.open(encoding="utf-8-sig") as file:
            delimiter = "," if "," in file.readline() else " "
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        cells = [[cell.strip() for cell in line] for line in lines if any(cell.strip() for cell in line)]
    width = len(cells[0])
    ragged = next((row for row, line in enumerate(cells) if len(line) != width), None)
    if ragged is not None:
        raise InputError(f"line {ragged + 1} of {path.name} has {len(cells[ragged])} cells, the first one has {width}")
    has_header, has_names = _where_names_are(cells)
    across = cells[0][has_names:] if has_header else None
    down = [line[0] for line in cells[has_header:]] if has_names else None
    if across is not None and down is not None and across != down:
        at = next((k for k, pair in enumerate(zip(across, down, strict=False)) if pair[0] != pair[1]), 0)
        raise InputError(
            f"{path.name}: stimulus {at} is {across[at]!r} in the first row, {down[at]!r} in the first column"
        )
    values = [line[has_names:] for line in cells[has_header:]]
    for row, line in enumerate(values):
        for column, cell in enumerate(line):
            if not _is_value(cell):
                raise InputError(f"{path.name}: the entry ({row}, {column}) is {cell!r}, which is no number")
    matrix = np.array([[np.nan if cell.lower() in MISSING else float(cell) for cell in line] for line in values])
    return matrix, across or down


def _where_names_are(cells: list[list[str]]) -> tuple[bool, bool]:
    """Whether the first row, and the first column, are names; they may be numbers too."""
    height, width = len(cells), len(cells[0])
    if height != width:
        return height == width + 1, width == height + 1
    # A matrix without a diagonal starts with an empty cell, as a table with names on both sides does
    is_diagonal_missing = all(cells[k][k].lower() in MISSING for k in range(height))
    corner = cells[0][0]
    has_both = not is_diagonal_missing and (corner == "" or not _is_value(corner))
    has_both |= any(not _is_value(cell) for cell in cells[0][1:])
    return has_both, has_both


def _is_value(cell: str) -> bool:
    if cell.lower() in MISSING:
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True
