"""The triplet Dataset: each row has three rows of an image dataset, the teacher's similarities and the odd one out.

The columns are `triplet` (three row numbers), `similarities` (three floats in pair order, see
`hf_alignet.similarity`) and `odd` (position of the odd one out). A loss needs `triplet`, and `similarities` or `odd`.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, DatasetDict, Features, List, Value
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HTTPError, RemoteEntryNotFoundError

from hf_alignet.errors import InputError
from hf_alignet.judgments.index_files import index_files
from hf_alignet.judgments.judgment_dataset import COUNTS, without_catch_trials
from hf_alignet.judgments.loading import load_judgments
from hf_alignet.judgments.rows import ODD, TRIPLET, check_columns, check_rows, column, lists_of_three, refuse
from hf_alignet.judgments.stimulus_names import CONFIG as STIMULI
from hf_alignet.judgments.stimulus_names import image_names
from hf_alignet.ranges import row_numbers
from hf_alignet.similarity import NO_CHOICE, odd_one_out
from hf_alignet.sources import has_config, load_splits, local_path, split_revision
from hf_alignet.text_files import load_json

SIMILARITIES = "similarities"
INFO_FILE = "triplets.json"
ROWS_AT_ONCE = 100_000  # written to the cache of `datasets` at once; its default of 1,000 rows has only 25 kB
FEATURES = Features(
    {TRIPLET: List(Value("int32"), length=3), SIMILARITIES: List(Value("float32"), length=3), ODD: Value("int8")}
)

logger = logging.getLogger(__name__)


def triplets_from_arrays(triplets: np.ndarray, similarities: np.ndarray) -> Dataset:
    """Makes the triplet Dataset, and finds the odd ones out. Raises a ValueError for other shapes, or no row numbers.

    Args:
        triplets: (n, 3) rows of an image dataset.
        similarities: (n, 3) of the teacher in pair order. If two are the highest, there is no odd one out (-1).
    """
    return Dataset(triplet_table(triplets, similarities))


def triplet_table(triplets: np.ndarray, similarities: np.ndarray) -> pa.Table:
    """The same as a table for parquet files."""
    triplets = row_numbers(triplets, None, "the triplets").astype(np.int32)
    similarities = np.asarray(similarities, np.float32)
    if triplets.shape != similarities.shape or triplets.shape[1:] != (3,):
        raise ValueError(f"expected two arrays of shape (n, 3), got {triplets.shape} and {similarities.shape}")
    odd = odd_one_out(torch.from_numpy(similarities)).numpy().astype(np.int8)
    columns = [lists_of_three(values) for values in (triplets, similarities)]
    # Directly from arrays: `Dataset.from_dict` converts number by number
    return pa.table([*columns, odd], schema=FEATURES.arrow_schema)


def load_triplets(path_or_id: str, images: Dataset | None = None, **table: Any) -> DatasetDict:
    """The triplet splits at a local path or Hub id (the configuration `triplets`, if there is one), or choices.

    Choices of people have no similarities. They are read as `load_judgments` reads them, and without checks of
    attention.

    Args:
        path_or_id: labelled triplets, or choices in any form that `load_judgments` reads.
        images: the images that choices name.
        **table: `columns`, `rt_unit` and `max_missing` of `load_judgments`.

    Raises:
        InputError: nothing such can be opened, or choices name their stimuli and the images have no names.
    """
    path = local_path(path_or_id)
    is_table = path is not None and (path.is_file() and path.suffix != ".parquet" or bool(index_files(path)))
    if not is_table:
        splits = load_splits(path_or_id, "triplets", ROWS_AT_ONCE)
        columns = {name for data in splits.values() for name in data.column_names}
        if SIMILARITIES in columns or (TRIPLET in columns and not columns & {ODD, COUNTS}):
            return splits
    names = image_names(images) if images is not None else None
    if names is None and has_config(path_or_id, STIMULI):
        raise InputError(f"the choices of {path_or_id!r} have a list of their stimuli: give `images` that have names")
    judged = load_judgments(path_or_id, names, num_images=len(images) if images is not None else None, **table)
    return DatasetDict({split: without_catch_trials(data) for split, data in judged.items()})


def read_info(path_or_id: str) -> dict[str, Any]:
    """The facts about triplets in their file `triplets.json`, or nothing if there is no such file."""
    try:
        file = file_beside(path_or_id, INFO_FILE)
        return load_json(file, "the facts about the triplets") if file is not None else {}
    except (HTTPError, OSError, ValueError) as error:
        logger.warning("cannot read the facts about the triplets %s: %s", path_or_id, error)
        return {}


def file_beside(path_or_id: str, name: str) -> Path | None:
    """A file beside the triplets, which is downloaded if necessary; None if there is none."""
    path, (hub_name, revision) = local_path(path_or_id), split_revision(path_or_id)
    try:
        file = path / name if path else Path(hf_hub_download(hub_name, name, repo_type="dataset", revision=revision))
    except RemoteEntryNotFoundError:
        return None
    return file if file.is_file() else None


def check_triplets(dataset: Dataset, num_images: int, required: str | None, split: str = "train") -> None:
    """Checks triplets before the training.

    Args:
        dataset: one split.
        num_images: length of the image dataset.
        required: the column for the loss, `similarities` or `odd`. None checks only the rows of images.
        split: name of the split, for messages.

    Raises:
        InputError: a column is missing, the split is empty, or a row has an index out of range, an image twice, a
            similarity that is not finite, or an odd one out that is not 0, 1 or 2 (names the first row); or in every
            row two similarities are the highest.
    """
    what = f"{split!r} triplets"
    check_columns(dataset, [name for name in (TRIPLET, required) if name is not None], what)
    check_rows(column(dataset, TRIPLET), num_images, what)
    if required is None:
        return
    target = column(dataset, required)
    if required == SIMILARITIES:
        if target.dtype.kind not in "fiu":
            raise InputError(f"the column {SIMILARITIES!r} of the {what} must hold numbers, not {target.dtype}")
        refuse(~np.isfinite(target).all(1), target, what, "has a similarity that is not finite")
        if (odd_one_out(torch.from_numpy(target)) == NO_CHOICE).all():
            raise InputError(f"the teacher is undecided about every one of the {what}: is it collapsed?")
    else:
        refuse(~np.isin(target, (0, 1, 2)), target, what, "has an odd one out that is not 0, 1 or 2")
