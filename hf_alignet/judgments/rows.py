"""Rows of three images: what people's judgments and a teacher's triplets have in common.

A triplet names three rows of an image dataset; shown in any order, it is the same triplet.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from datasets import Dataset

from hf_alignet.errors import InputError

TRIPLET, ODD = "triplet", "odd"
LARGEST_CUBE = 2_097_151  # the cube of a larger number overflows int64


def column(dataset: Dataset, name: str) -> np.ndarray:
    """A whole column as one array: (n, 3) where its cells are lists of three numbers, (n,) for numbers.

    Raises:
        InputError: a cell is missing, or a list has not three numbers.
    """
    cells = arrow_column(dataset, name)
    is_list = pa.types.is_nested(cells.type)
    flat = cells.flatten() if is_list else cells
    if cells.null_count or flat.null_count:
        raise InputError(f"the column {name!r} has missing values")
    if not is_list:
        return np.array(cells)
    if len(flat) != 3 * len(cells):
        raise InputError(f"the column {name!r} must hold lists of three numbers")
    return np.array(flat).reshape(len(cells), 3)  # a copy: Arrow's own memory cannot be written to


def arrow_column(dataset: Dataset, name: str) -> pa.Array:
    """A whole column in one piece; straight from Arrow, since `datasets` would look at every list by itself."""
    return dataset.with_format("arrow", columns=[name])[:].column(name).combine_chunks()


def lists_of_three(values: np.ndarray) -> pa.FixedSizeListArray:
    """(n, 3) numbers as the cells of a column."""
    return pa.FixedSizeListArray.from_arrays(np.ascontiguousarray(values).ravel(), 3)


def select_rows(dataset: Dataset, is_member: np.ndarray) -> Dataset:
    """The rows where `is_member` (n,) is true, in their order, as a table of their own.

    `Dataset.select` would leave a mapping behind through which every later look is a hundred times slower.
    """
    table = dataset.with_format("arrow")[:].filter(pa.array(is_member))
    return Dataset(table, info=dataset.info.copy(), split=dataset.split)


def check_columns(dataset: Dataset, required: Iterable[str], what: str) -> None:
    """Refuses a dataset that lacks a column or has no rows.

    Raises:
        InputError: says which of `what` (such as "'train' triplets") are missing, and which are there.
    """
    missing = [name for name in required if name not in dataset.column_names]
    if missing:
        raise InputError(
            f"the {what} lack the column {' and '.join(map(repr, missing))}; "
            f"there are {', '.join(dataset.column_names)}"
        )
    if len(dataset) == 0:
        raise InputError(f"the {what} are empty")


def check_rows(triplets: np.ndarray, num_images: int | None, what: str) -> None:
    """Refuses triplets (n, 3) that point outside the images (if their number is known) or name one twice.

    Raises:
        InputError: names the first such row of `what`.
    """
    largest = np.iinfo(np.int64).max if num_images is None else num_images - 1
    images = "dataset" if num_images is None else f"{num_images} images"
    refuse(np.any((triplets < 0) | (triplets > largest), axis=1), triplets, what, f"points outside the {images}")
    refuse(np.any(triplets == np.roll(triplets, 1, axis=1), axis=1), triplets, what, "names an image twice")


def refuse(is_bad: np.ndarray, values: np.ndarray, what: str, problem: str) -> None:
    """Raises an InputError that names the first row of `what` where `is_bad` (n,) holds, and counts the others."""
    if is_bad.any():
        row = int(is_bad.argmax())
        more = f" ({is_bad.sum() - 1} more such rows)" if is_bad.sum() > 1 else ""
        raise InputError(f"row {row} of the {what} {problem}: {values[row : row + 1].tolist()[0]}{more}")


def distinct_triplets(triplets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of n triplets are the same three images.

    Args:
        triplets: (n, 3) non-negative.

    Returns:
        (u, 3) int64 distinct triplets, ascending in each row and by rows; (n,) which of those each triplet is; and
        (n, 3) its positions in ascending order of the images.
    """
    order = triplets.argsort(axis=1)
    triplets = np.take_along_axis(triplets, order, 1).astype(np.int64)
    n = int(triplets.max(initial=0)) + 1
    if n > LARGEST_CUBE:
        rows, inverse = np.unique(triplets, return_inverse=True)
        distinct, which, _ = distinct_triplets(inverse.reshape(-1, 3))
        return rows[distinct], which, order
    keys, which = np.unique((triplets[:, 0] * n + triplets[:, 1]) * n + triplets[:, 2], return_inverse=True)
    return np.stack([keys // n // n, keys // n % n, keys % n], axis=1), which, order
