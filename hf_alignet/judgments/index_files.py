"""Files of triplets by number: three columns, the pair that was kept together and then the odd one out, from 0.

The form in which SPoSE, VICE, gLocal and THINGS-data keep choices: `trainset.txt`, `testset1.txt`, `train_90.npy` …;
an `.npz` holds one array a split. The file's name tells the split: `trainset` and `train_90` are `train`,
`validationset` is `validation`, `testset1` is `test1`, `testset2_repeat` is `test2_repeat`, `test_10` is `test` (two
digits are a share in per cent).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict
from pyarrow import csv

from hf_alignet.errors import InputError
from hf_alignet.judgments.judgment_dataset import make_judgments
from hf_alignet.judgments.things import ObjectOrder, published_order, to_uid_order

SUFFIXES = (".txt", ".npy", ".npz")
SPLIT = re.compile(
    r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?:set|data|triplets)?(?![a-z])"
    r"(?:_?\d\d(?!\d)|_?(\d)(?!\d))?(_repeat)?"
)


def split_of(file_name: str) -> str | None:
    """The split that a file's name tells, or None.

    Example:
        >>> [split_of(name) for name in ("validationset.txt", "test_10.npy", "testset1.txt", "latest.txt")]
        ['validation', 'test', 'test1', None]
    """
    match = SPLIT.search(Path(file_name).stem.lower())
    if match is None:
        return None
    return match[1].replace("val", "validation") + (match[2] or "") + (match[3] or "")


def index_files(folder: Path) -> list[Path]:
    """The files of a folder that are triplets by number, going by suffix and name."""
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and split_of(path.name))


def load_index_files(
    paths: Sequence[Path], unique_ids: Sequence[str] | None = None, order: ObjectOrder | None = None
) -> DatasetDict:
    """The judgments of some files by split; a single file whose name tells no split is `train`.

    Args:
        paths: the files.
        unique_ids: of the objects, needed for files in file-name order.
        order: how the files number the objects; None tells by their names (see `things.published_order`).

    Raises:
        InputError: a file cannot be read, does not hold three columns of row numbers, or two give the same split.
    """
    splits: dict[str, Dataset] = {}
    sources: dict[str, Path] = {}
    for path in paths:
        for split, triplets in _read(path).items():
            if split in splits:
                raise InputError(
                    f"{sources[split].name} and {path.name} both give the split {split!r}; name one of the files"
                )
            triplets = to_uid_order(triplets, order or published_order(path.name), unique_ids, path)
            splits[split] = make_judgments(triplets, np.full(len(triplets), 2))
            sources[split] = path
    return DatasetDict(splits)


def _read(path: Path) -> dict[str, np.ndarray]:
    split = split_of(path.name) or "train"
    if path.suffix == ".txt":
        return {split: _checked(_read_text(path), path.name)}
    try:
        if path.suffix == ".npy":
            arrays = {split: np.load(path, allow_pickle=False)}
        else:
            with np.load(path, allow_pickle=False) as archive:
                arrays = dict(archive)
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise InputError(f"cannot read the triplets {path}: {error}") from error
    return {name: _checked(array, f"the array {name!r} of {path.name}") for name, array in arrays.items()}


def _read_text(path: Path) -> np.ndarray:
    """(n, k) numbers of a text file without a header, separated by one space, tab or comma."""
    with path.open("rb") as file:
        line = file.readline()
    if not line.strip():
        raise InputError(f"{path} is empty")
    delimiter = next((mark for mark in "\t," if mark.encode() in line), " ")
    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(autogenerate_column_names=True),
            parse_options=csv.ParseOptions(delimiter=delimiter),
        )
        return np.stack([column.cast(pa.float64()).to_numpy() for column in table.columns], axis=1)
    except pa.ArrowInvalid as error:
        raise InputError(f"cannot read {path.name} as columns of numbers: {error}") from error


def _checked(array: np.ndarray, name: str) -> np.ndarray:
    """int64 triplets; files written by `np.loadtxt` and `np.save` hold them as floats."""
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "iuf":
        raise InputError(
            f"{name} has shape {array.shape} of {array.dtype}; triplets have three columns of row numbers: the two "
            "images that were kept together, and the odd one out"
        )
    if len(array) == 0:
        raise InputError(f"{name} is empty")
    is_number = np.isfinite(array).all(1)
    whole = np.where(is_number[:, None], array, -1).astype(np.int64)
    is_bad = ~is_number | (whole != array).any(1) | (whole < 0).any(1)
    if is_bad.any():
        row = int(is_bad.argmax())
        raise InputError(f"row {row} of {name} does not hold row numbers from 0: {array[row].tolist()}")
    return whole
