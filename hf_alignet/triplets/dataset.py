"""The triplet Dataset: rows of an image dataset three by three, with the teacher's similarities and the odd one out.

Columns: `triplet` three row numbers, `similarities` three floats in pair order (see `hf_alignet.similarity`), `odd`
the position of the odd one out. A row needs `triplet` and what its loss learns from: `similarities`, or `odd` for
human choices.
"""

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, DatasetDict, Features, List, Value

from hf_alignet.errors import InputError
from hf_alignet.similarity import odd_one_out
from hf_alignet.sources import load_splits

TRIPLET, SIMILARITIES, ODD = "triplet", "similarities", "odd"
FEATURES = Features(
    {TRIPLET: List(Value("int32"), length=3), SIMILARITIES: List(Value("float32"), length=3), ODD: Value("int8")}
)


def make_triplets(triplets: np.ndarray, similarities: np.ndarray) -> Dataset:
    """The Dataset of n triplets and the teacher's similarities of their pairs, the odd ones out worked out.

    Args:
        triplets: (n, 3) rows of an image dataset.
        similarities: (n, 3) in pair order; where two are the highest, no image is the odd one out (-1).

    Raises:
        ValueError: the shapes are not as above.
    """
    triplets, similarities = np.asarray(triplets, np.int32), np.asarray(similarities, np.float32)
    if triplets.shape != similarities.shape or triplets.shape[1:] != (3,):
        raise ValueError(f"expected two arrays of shape (n, 3), got {triplets.shape} and {similarities.shape}")
    odd = odd_one_out(torch.from_numpy(similarities)).numpy().astype(np.int8)
    columns = [pa.FixedSizeListArray.from_arrays(values.ravel(), 3) for values in (triplets, similarities)]
    # Straight from arrays: `Dataset.from_dict` would look at every number by itself.
    return Dataset(pa.table([*columns, odd], schema=FEATURES.arrow_schema))


def load_triplets(path_or_id: str) -> DatasetDict:
    """The triplet splits at a local path or Hub id (configuration `triplets` if it has one)."""
    return load_splits(path_or_id, config="triplets")


def column(dataset: Dataset, name: str) -> np.ndarray:
    """A whole column as one array: (n, 3) for `triplet` and `similarities`, (n,) for `odd`."""
    array = dataset.with_format("numpy", columns=[name])[:][name]
    return np.asarray(array).reshape(len(dataset), 3) if name in (TRIPLET, SIMILARITIES) else np.asarray(array)


def check_triplets(dataset: Dataset, num_images: int, required: str | None, split: str = "train") -> None:
    """Refuses triplets that could not be learned from, before anything long begins.

    Args:
        dataset: one split.
        num_images: length of the image dataset that the rows point into.
        required: the column that the loss learns from, `similarities` or `odd`; None checks the rows alone.
        split: name for the messages.

    Raises:
        InputError: a column is missing (lists those there), the split is empty, or a row has an index out of range, a
            repeated image, a similarity that is not finite, or an odd one out that is not 0, 1 or 2 (names the first
            row).
    """
    missing = [name for name in (TRIPLET, required) if name is not None and name not in dataset.column_names]
    if missing:
        raise InputError(
            f"the {split!r} triplets lack the column {' and '.join(map(repr, missing))}; "
            f"there are {', '.join(dataset.column_names)}"
        )
    if len(dataset) == 0:
        raise InputError(f"the {split!r} triplets are empty")
    triplet = column(dataset, TRIPLET)
    out_of_range = np.any((triplet < 0) | (triplet >= num_images), axis=1)
    _refuse(out_of_range, triplet, split, f"points outside the {num_images} images")
    repeated = np.any(triplet == np.roll(triplet, 1, axis=1), axis=1)
    _refuse(repeated, triplet, split, "names an image twice")
    if required is None:
        return
    target = column(dataset, required)
    if required == SIMILARITIES:
        _refuse(~np.isfinite(target).all(1), target, split, "has a similarity that is not finite")
    else:
        _refuse(~np.isin(target, (0, 1, 2)), target, split, "has an odd one out that is not 0, 1 or 2")


def _refuse(is_bad: np.ndarray, values: np.ndarray, split: str, problem: str) -> None:
    if is_bad.any():
        row = int(is_bad.argmax())
        more = f" ({is_bad.sum() - 1} more such rows)" if is_bad.sum() > 1 else ""
        raise InputError(f"row {row} of the {split!r} triplets {problem}: {values[row].tolist()}{more}")
