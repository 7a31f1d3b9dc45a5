"""Opens judgments in any form they come in; what a file is, its content tells."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pyarrow as pa
from datasets import Dataset, DatasetDict, concatenate_datasets

from hf_alignet.errors import InputError
from hf_alignet.judgments import index_files, own_table, things
from hf_alignet.judgments.judgment_dataset import COUNTS, LEVEL, PARTICIPANT, check_judgments, conform
from hf_alignet.judgments.rows import ODD, TRIPLET
from hf_alignet.judgments.stimulus_names import renumber
from hf_alignet.judgments.text_table import read_header, read_table
from hf_alignet.sources import load_splits

logger = logging.getLogger(__name__)

CONFIG = "judgments"  # of a dataset that has images and triplets too
TABLES = (".csv", ".tsv")
UNDERSTOOD = f"""what is understood:
- a dataset with the columns {TRIPLET} and {ODD} (or {COUNTS}), as save_to_disk writes it, as parquet, or on the Hub
- a table (csv or parquet), or a folder of them, with the columns {", ".join(own_table.REQUIRED)}
- the THINGS table triplets_large_final*.csv, with the columns {", ".join(things.NEEDED)}
- triplets by number, the odd one out last: .txt, .npy, .npz, or a folder of them such as trainset.txt, test_10.npy"""


def load_judgments(
    path_or_id: str,
    names: Sequence[str] | None = None,
    order: things.ObjectOrder | None = None,
    num_images: int | None = None,
) -> DatasetDict:
    """All splits of some judgments, in the schema of `hf_alignet.judgments.judgment_dataset`, and checked.

    Understood are: a directory written by `save_to_disk`, a parquet file or a Hub dataset id of that schema
    (configuration `judgments` if it has one); a CSV or parquet table of your own (see `own_table`); the THINGS table
    (see `things`); triplets by number, in a file or a folder of files (see `index_files`). CSV tables in a folder
    belong to the split that the file's name tells (`test_anna.csv` to `test`), or else to `train`. Rows that repeat or
    contradict a participant's earlier choice are kept, and counted in a warning.

    Args:
        path_or_id: a local path or a Hub id, optionally with `@revision`.
        names: of the images or objects, in the order of their rows (see `own_table.image_names`). Needed where
            judgments name images, and, as uniqueIDs, where THINGS files are in file-name order. Where given, rows
            beyond them are refused, and a dataset with a list of its stimuli is renumbered (see `stimuli`).
        order: of the objects in THINGS index files and tables, `uid` or `file_name`; None tells by the file's name
            (see `things.published_order`): uniqueID order but for the publishers' early files.
        num_images: how many there are, where they have no names; rows beyond them are refused.

    Returns:
        The splits by name; judgments without splits become `train`.

    Raises:
        InputError: nothing that is understood is there, or it cannot be right; says what and where.
    """
    if order not in (None, *get_args(things.ObjectOrder)):
        raise InputError(f"order must be one of {', '.join(get_args(things.ObjectOrder))}, got {order!r}")
    path = Path(path_or_id).expanduser()
    folder = path / CONFIG if (path / CONFIG).is_dir() else path
    files = index_files.index_files(folder) if folder.is_dir() else []
    tables = _text_tables(folder) if folder.is_dir() and not files else []
    if files:
        splits = index_files.load_index_files(files, names, order)
    elif tables:
        splits = _load_text_tables(tables, names, order)
    elif path.is_file() and path.suffix in index_files.SUFFIXES:
        splits = index_files.load_index_files([path], names, order)
    elif path.is_file() and path.suffix != ".parquet":
        splits = _load_text_table(path, names, order)
    else:
        loaded = load_splits(path_or_id, config=CONFIG)
        splits = DatasetDict({name: _conform(data, names, f"{path_or_id} ({name})") for name, data in loaded.items()})
        if names is not None and not path.is_file():
            splits = renumber(splits, path_or_id, names)
    for name, judgments in splits.items():
        check_judgments(judgments, num_images if names is None else len(names), name)
    return splits


def _text_tables(folder: Path) -> list[Path]:
    """The tables of text in a folder that are judgments, going by their columns."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in TABLES)
    headers = {path: read_header(path)[0] for path in paths}
    tables = [p for p, header in headers.items() if own_table.is_own_table(header) or things.is_things_table(header)]
    if tables and len(tables) < len(paths):
        others = ", ".join(path.name for path in paths if path not in tables)
        logger.warning("left out, since their columns are no judgments: %s", others)
    return tables


def _load_text_tables(
    paths: Sequence[Path], names: Sequence[str] | None, order: things.ObjectOrder | None
) -> DatasetDict:
    """The judgments of some tables by split, those of a split one after another."""
    parts: dict[str, list[Dataset]] = {}
    for path in paths:
        splits = _load_text_table(path, names, order)
        told = index_files.split_of(path.name) if list(splits) == ["train"] else None
        for name, judgments in splits.items():
            parts.setdefault(told or name, []).append(judgments)
    return DatasetDict({name: conform(concatenate_datasets(part)) for name, part in parts.items()})


def _load_text_table(path: Path, names: Sequence[str] | None, order: things.ObjectOrder | None) -> DatasetDict:
    header, delimiter = read_header(path)
    if things.is_things_table(header):
        return things.load_things_table(path, names, order)
    if not own_table.is_own_table(header):
        raise InputError(f"{path} has the columns {', '.join(header)}, which are no judgments; {UNDERSTOOD}")
    known = [name for name in (*own_table.REQUIRED, *own_table.OPTIONAL) if name in header]
    texts = dict.fromkeys((*own_table.REQUIRED, PARTICIPANT, LEVEL), pa.string())  # "007" is a name
    table = read_table(path, delimiter, known, texts)
    return DatasetDict(train=own_table.read_own_table(table, names, path.name))


def _conform(dataset: Dataset, names: Sequence[str] | None, source: str) -> Dataset:
    """The dataset with the columns of the schema alone, in their types."""
    if own_table.is_own_table(dataset.column_names):
        return own_table.read_own_table(own_table.named_table(dataset), names, source)
    if TRIPLET not in dataset.column_names or not {ODD, COUNTS} & set(dataset.column_names):
        raise InputError(f"{source} has the columns {', '.join(dataset.column_names)}; {UNDERSTOOD}")
    return conform(dataset)
