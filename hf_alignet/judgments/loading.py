"""Opens judgments in any supported form; the content of a file decides which form it has."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pyarrow as pa
from datasets import Dataset, DatasetDict, concatenate_datasets

from hf_alignet.errors import InputError
from hf_alignet.judgments import index_files, own_table, things
from hf_alignet.judgments.file_reading import read_header, read_table
from hf_alignet.judgments.judgment_dataset import COUNTS, LEVEL, PARTICIPANT, check_judgments, conform
from hf_alignet.judgments.rows import ODD, TRIPLET
from hf_alignet.judgments.stimulus_names import renumber
from hf_alignet.sources import load_splits

logger = logging.getLogger(__name__)

CONFIG = "judgments"  # the dataset may also have images and triplets
UNDERSTOOD = f"""supported are:
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
    """All splits by name (`train` if there are none), checked, in the schema of `judgments.judgment_dataset`.

    Supported are: a directory from `save_to_disk`, a parquet file or a Hub dataset of that schema (configuration
    `judgments` if it has one); a CSV or parquet table of your own (see `own_table`); the THINGS table (see `things`);
    triplets by number, in a file or a folder of files (see `index_files`). In a folder of CSV tables, the name of a
    file gives the split (`test_anna.csv` is `test`); without one it is `train`. Rows that repeat or contradict a
    participant's earlier choice are kept, and a warning counts them.

    Args:
        path_or_id: a local path or a Hub id, optionally with `@revision`.
        names: names of the images or objects in the order of their rows (see `own_table.image_names`). Needed if the
            judgments name images; THINGS files in file-name order need uniqueIDs. With names, rows beyond them are
            errors, and a dataset with a list of its stimuli is renumbered (see `stimulus_names`).
        order: order of the objects in THINGS index files and tables, `uid` or `file_name`; None: the file name
            decides (see `things.published_order`), `uid` except for the early files.
        num_images: number of images if they have no names; rows beyond it are errors.

    Raises:
        InputError: the judgments have no supported form, or are wrong; the message says what and where.
    """
    if order not in (None, *get_args(things.ObjectOrder)):
        raise InputError(f"`order` must be one of {', '.join(get_args(things.ObjectOrder))}, got {order!r}")
    path = Path(path_or_id).expanduser()
    folder = path / CONFIG if (path / CONFIG).is_dir() else path
    files = index_files.index_files(folder)
    tables = _text_tables(folder) if folder.is_dir() and not files else []
    if files:
        splits = index_files.load_index_files(files, names, order)
    elif tables:
        splits = _load_text_tables(tables, names, order)
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
    """The text tables of a folder whose columns are those of judgments."""
    headers = {path: read_header(path)[0] for path in sorted(folder.iterdir()) if path.suffix in (".csv", ".tsv")}
    tables = [p for p, header in headers.items() if own_table.is_own_table(header) or things.is_things_table(header)]
    if tables and len(tables) < len(headers):
        others = ", ".join(path.name for path in headers if path not in tables)
        logger.warning("left out these tables, because they do not have the columns of judgments: %s", others)
    return tables


def _load_text_tables(
    paths: Sequence[Path], names: Sequence[str] | None, order: things.ObjectOrder | None
) -> DatasetDict:
    """The judgments of some tables; tables of the same split are concatenated."""
    parts: dict[str, list[Dataset]] = {}
    for path in paths:
        splits = _load_text_table(path, names, order)
        named_split = index_files.split_of(path.name) if list(splits) == ["train"] else None
        for name, judgments in splits.items():
            parts.setdefault(named_split or name, []).append(judgments)
    return DatasetDict({name: conform(concatenate_datasets(part)) for name, part in parts.items()})


def _load_text_table(path: Path, names: Sequence[str] | None, order: things.ObjectOrder | None) -> DatasetDict:
    header, delimiter = read_header(path)
    if things.is_things_table(header):
        return things.load_things_table(path, names, order)
    if not own_table.is_own_table(header):
        raise InputError(f"{path} has the columns {', '.join(header)}, which do not show judgments; {UNDERSTOOD}")
    known = [name for name in (*own_table.REQUIRED, *own_table.OPTIONAL) if name in header]
    texts = dict.fromkeys((*own_table.REQUIRED, PARTICIPANT, LEVEL), pa.string())  # "007" stays a name
    table = read_table(path, delimiter, known, texts)
    return DatasetDict(train=own_table.read_own_table(table, names, path.name))


def _conform(dataset: Dataset, names: Sequence[str] | None, source: str) -> Dataset:
    """The dataset with only the columns of the schema, in their types."""
    if own_table.is_own_table(dataset.column_names):
        return own_table.read_own_table(own_table.named_table(dataset), names, source)
    if TRIPLET not in dataset.column_names or not {ODD, COUNTS} & set(dataset.column_names):
        raise InputError(f"{source} has the columns {', '.join(dataset.column_names)}; {UNDERSTOOD}")
    return conform(dataset)
