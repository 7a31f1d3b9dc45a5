"""Files of triplets by number: three columns of row numbers from 0. The last column is the odd one out.

SPoSE, VICE, gLocal and THINGS-data keep choices in this form: `trainset.txt`, `testset1.txt`, `train_90.npy` …; an
`.npz` file holds one array for each split. The file name gives the split: `trainset` and `train_90` are `train`,
`validationset` is `validation`, `testset1` is `test1`, `testset2_repeat` is `test2_repeat`, `test_10` is `test` (two
digits are a share in per cent).
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict
from pyarrow import csv

from hf_alignet.errors import InputError
from hf_alignet.judgments.file_reading import read_arrays, read_first_line
from hf_alignet.judgments.judgment_dataset import make_judgments
from hf_alignet.judgments.rows import refuse
from hf_alignet.judgments.things import ObjectOrder, published_order, to_uid_order

SUFFIXES = (".txt", ".npy", ".npz")
SPLIT = re.compile(
    r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?:set|data|triplets)?(?![a-z])"
    r"(?:_?\d\d(?!\d)|_?(\d)(?!\d))?(_repeat)?"
)


def split_of(file_name: str) -> str | None:
    """The split in a file name, or None.

    Example:
        >>> [split_of(name) for name in ("validationset.txt", "test_10.npy", "testset1.txt", "latest.txt")]
        ['validation', 'test', 'test1', None]
    """
    match = SPLIT.search(Path(file_name).stem.lower())
    return None if match is None else match[1].replace("val", "validation") + (match[2] or "") + (match[3] or "")


def index_files(path: Path) -> list[Path]:
    """The files of a folder that have the suffix and the name of triplets by number, or a file with such a suffix."""
    if path.is_file():
        return [path] if path.suffix in SUFFIXES else []
    return sorted(file for file in path.glob("*") if file.suffix in SUFFIXES and split_of(file.name))


def load_index_files(
    paths: Sequence[Path], unique_ids: Sequence[str] | None = None, order: ObjectOrder | None = None
) -> DatasetDict:
    """The judgments of some files by split. A file without a split in its name is `train`.

    `unique_ids` and `order` are those of `things.load_things_table`. Raises an InputError if a file cannot be read or
    does not hold three columns of row numbers, or if two files hold the same split.
    """
    splits: dict[str, Dataset] = {}
    sources: dict[str, Path] = {}
    for path in paths:
        for split, triplets in _read(path).items():
            if split in splits:
                raise InputError(f"{sources[split].name} and {path.name} both hold the split {split!r}; name one file")
            triplets = to_uid_order(triplets, order or published_order(path.name), unique_ids, path)
            splits[split] = make_judgments(triplets, np.full(len(triplets), 2))
            sources[split] = path
    return DatasetDict(splits)


def _read(path: Path) -> dict[str, np.ndarray]:
    split = split_of(path.name) or "train"
    if path.suffix == ".txt":
        return {split: _checked(_read_text(path), f"file {path.name}")}
    arrays = {name or split: array for name, array in read_arrays(path, "triplets").items()}
    return {name: _checked(array, f"array {name!r} of {path.name}") for name, array in arrays.items()}


def _read_text(path: Path) -> np.ndarray:
    """(n, k) numbers of a text file without a header. One space, tab or comma is between the numbers."""
    line = read_first_line(path)
    delimiter = next((mark for mark in "\t," if mark in line), " ")
    try:
        names, parse = csv.ReadOptions(autogenerate_column_names=True), csv.ParseOptions(delimiter=delimiter)
        table = csv.read_csv(path, read_options=names, parse_options=parse)
        return np.stack([column.cast(pa.float64()).to_numpy() for column in table.columns], axis=1)
    except pa.ArrowInvalid as error:
        raise InputError(f"cannot read {path.name} as columns of numbers: {error}") from error


def _checked(array: np.ndarray, name: str) -> np.ndarray:
    """int64 triplets; files that come from `np.loadtxt` and `np.save` hold them as floats."""
    if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "iuf":
        raise InputError(
            f"the {name} has shape {array.shape} of {array.dtype}; triplets need three columns of row numbers: two "
            "images, and the odd one out"
        )
    if len(array) == 0:
        raise InputError(f"the {name} is empty")
    is_number = np.isfinite(array).all(1)
    whole = np.where(is_number[:, None], array, -1).astype(np.int64)
    is_bad = ~is_number | (whole != array).any(1) | (whole < 0).any(1)
    refuse(is_bad, array, name, "does not hold row numbers from 0")
    return whole
