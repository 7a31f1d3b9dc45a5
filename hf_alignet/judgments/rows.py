"""Triplets as columns of a Dataset: shared by human judgments and by the labels of a teacher.

A triplet is three row numbers of an image dataset. The order of the three images does not matter.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset

from hf_alignet.errors import InputError
from hf_alignet.ranges import LARGEST_ROW

TRIPLET, ODD = "triplet", "odd"
LARGEST_CUBE = 2_097_151  # the cube of a larger number overflows int64


def column(dataset: Dataset, name: str) -> np.ndarray:
    """A whole column as one array: (n, 3) if its cells are lists of three numbers, (n,) if they are numbers.

    Raises an InputError if a cell is missing, or a list does not have three numbers.
    """
    cells = arrow_column(dataset, name)
    is_list = pa.types.is_nested(cells.type)
    flat = cells.flatten() if is_list else cells
    if cells.null_count or flat.null_count:
        raise InputError(f"the column {name!r} has missing values")
    if is_list and len(flat) != 3 * len(cells):
        raise InputError(f"the column {name!r} must hold lists of three numbers")
    values = np.array(flat)  # a copy, because Arrow's own memory cannot be written to
    return values.reshape(len(cells), 3) if is_list else values


def arrow_column(dataset: Dataset, name: str) -> pa.Array:
    """A whole column in one piece. It comes from Arrow, because `datasets` would convert each list by itself."""
    return dataset.with_format("arrow", columns=[name])[:].column(name).combine_chunks()


def named_table(dataset: Dataset) -> pa.Table:
    """The table of a dataset, in which names of classes replace their numbers; no class becomes null."""
    table = dataset.with_format("arrow")[:]
    for i, name in enumerate(table.column_names):
        feature = dataset.features[name]
        if isinstance(feature, ClassLabel):
            numbers = pc.if_else(pc.less(table[name], 0), None, table[name])
            table = table.set_column(i, name, pc.take(pa.array(feature.names, pa.string()), numbers))
    return table


def lists_of_three(values: np.ndarray) -> pa.FixedSizeListArray:
    """Numbers (n, 3) as a column of n lists."""
    return pa.FixedSizeListArray.from_arrays(np.ascontiguousarray(values).ravel(), 3)


def with_triplets(dataset: Dataset, triplets: np.ndarray) -> Dataset:
    """The dataset with other row numbers (n, 3) in the column `triplet`, whose type stays."""
    table = dataset.with_format("arrow")[:]
    position = table.schema.get_field_index(TRIPLET)
    field = table.schema.field(position)
    cells = lists_of_three(triplets).cast(field.type)
    return Dataset(table.set_column(position, field, cells), info=dataset.info.copy())


def select_rows(dataset: Dataset, is_member: np.ndarray) -> Dataset:
    """The rows where `is_member` (n,) is true, in the same order, as a new table.

    `Dataset.select` would keep a list of row numbers, and every later access would be a hundred times slower.
    """
    table = dataset.with_format("arrow")[:].filter(pa.array(is_member))
    return Dataset(table, info=dataset.info.copy(), split=dataset.split)


def check_columns(dataset: Dataset, required: Iterable[str], what: str) -> None:
    """Raises an InputError if `what` (such as "'train' triplets") lacks a required column, or has no rows."""
    missing = [repr(name) for name in required if name not in dataset.column_names]
    if missing:
        existing = ", ".join(dataset.column_names)
        raise InputError(f"the {what} lack the column {' and '.join(missing)}; there are {existing}")
    if len(dataset) == 0:
        raise InputError(f"the {what} are empty")


def check_rows(triplets: np.ndarray, num_images: int | None, what: str) -> None:
    """Raises an InputError if triplets (n, 3) point outside the images (None: any number) or name an image twice."""
    if len(triplets) and triplets.dtype.kind not in "iu":
        raise InputError(f"the {what} must be row numbers, integers from 0, got {triplets.dtype}")
    largest = LARGEST_ROW if num_images is None else num_images - 1
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
    """Finds the distinct sets of three images among triplets (n, 3) of row numbers from 0.

    Returns:
        (u, 3) int64 distinct triplets, ascending within each row and from row to row; (n,) number of the distinct
        triplet of each row; (n, 3) positions in the row that sort its images.
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
