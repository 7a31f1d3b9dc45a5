"""Opens judgments in any supported form; the content of a file decides which form it has."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from datasets import Dataset, DatasetDict, concatenate_datasets

from hf_alignet.errors import InputError
from hf_alignet.judgments import index_files, things
from hf_alignet.judgments.column_names import CHOICE, IMAGES, is_table_of_choices
from hf_alignet.judgments.judgment_dataset import COUNTS, check_judgments, conform
from hf_alignet.judgments.own_table import TableForm, TimeUnit, read_own_table
from hf_alignet.judgments.rows import ODD, TRIPLET
from hf_alignet.judgments.stimulus_names import renumber
from hf_alignet.judgments.table_files import SUFFIXES, TEXT, cells_of, header_of, read_table_file
from hf_alignet.sources import load_splits

logger = logging.getLogger(__name__)

CONFIG = "judgments"  # the dataset may also have images and triplets
UNDERSTOOD = f"""supported are:
- a dataset with the columns {TRIPLET} and {ODD} (or {COUNTS}), as save_to_disk writes it, as parquet, or on the Hub
- a table ({", ".join(SUFFIXES)}, .parquet), or a folder of them, with columns such as {", ".join((*IMAGES, CHOICE))};
  `columns` says what other names mean
- the THINGS table triplets_large_final*.csv, with the columns {", ".join(things.NEEDED)}
- triplets by number, the odd one out last: .txt, .npy, .npz, or a folder of them such as trainset.txt, test_10.npy"""


def load_judgments(
    path_or_id: str,
    names: Sequence[str] | None = None,
    order: things.ObjectOrder | None = None,
    num_images: int | None = None,
    *,
    columns: Mapping[str, str] | str | None = None,
    rt_unit: TimeUnit | None = None,
    max_missing: float = 0.5,
) -> DatasetDict:
    """All splits by name (`train` if there are none), checked, in the schema of `judgments.judgment_dataset`.

    Supported are: a directory from `save_to_disk`, a parquet file or a Hub dataset of that schema (configuration
    `judgments` if it has one); a table of your own or of your software (see `own_table`), as CSV, TSV, text, workbook
    (.xlsx), JSON, JSON lines or parquet; the THINGS table (see `things`); triplets by number, in a file or a folder of
    files (see `index_files`). In a folder of tables, the name of a file gives the split (`test_anna.csv` is `test`);
    without one it is `train`. Rows that repeat or contradict a participant's earlier choice are kept, and a warning
    counts them. The log (level INFO) says what was read of a table, and which columns were not.

    Args:
        path_or_id: a local path or a Hub id, optionally with `@revision`.
        names: names of the images or objects in the order of their rows (see `own_table.image_names`). Needed if the
            judgments name images; THINGS files in file-name order need uniqueIDs. With names, rows beyond them are
            errors, and a dataset with a list of its stimuli is renumbered (see `stimulus_names`).
        order: order of the objects in THINGS index files and tables, `uid` or `file_name`; None: the file name
            decides (see `things.published_order`), `uid` except for the early files.
        num_images: number of images if they have no names; rows beyond it are errors.
        columns: names of the columns of a table, by what they are: a mapping, or text such as
            `image_1=Left,odd_one_out=Answer`; an empty name leaves a column out, and numbers from 1 are for tables
            without a header. By default common names are known (see `column_names`).
        rt_unit: unit of response times in a table, `s` or `ms`. By default the column's name or the median tells it.
        max_missing: largest share of the trials of a table that may have no answer. They are skipped.

    Raises:
        InputError: the judgments have no supported form, or are wrong; the message says what and where.
    """
    if order not in (None, *get_args(things.ObjectOrder)):
        raise InputError(f"`order` must be one of {', '.join(get_args(things.ObjectOrder))}, got {order!r}")
    form = TableForm(columns, rt_unit, max_missing)
    path = Path(path_or_id).expanduser()
    folder = path / CONFIG if (path / CONFIG).is_dir() else path
    files = [] if form.given else index_files.index_files(folder)
    tables = _tables(folder, form) if folder.is_dir() and not files else []
    if files and not (folder.is_file() and folder.suffix in TEXT and _is_own_table(folder, form)):
        splits = index_files.load_index_files(files, names, order)
    elif tables:
        splits = _load_tables(tables, names, order, form)
    elif path.is_file() and path.suffix != ".parquet":
        splits = _load_table(path, names, order, form)
    else:
        loaded = load_splits(path_or_id, config=CONFIG)
        sources = {name: f"{path_or_id} ({name})" for name in loaded}
        splits = DatasetDict({name: _conform(data, names, sources[name], form) for name, data in loaded.items()})
        if names is not None and not path.is_file():
            splits = renumber(splits, path_or_id, names)
    for name, judgments in splits.items():
        check_judgments(judgments, num_images if names is None else len(names), name)
    return splits


def _is_own_table(path: Path, form: TableForm) -> bool:
    """Whether a file can be read as a table, and has columns of choices."""
    try:
        return is_table_of_choices(header_of(path, form.given), form.given)
    except InputError as reason:
        logger.info("%s", reason)
        return False


def _tables(folder: Path, form: TableForm) -> list[Path]:
    """The tables of a folder whose columns are those of judgments."""
    files = [path for path in sorted(folder.iterdir()) if _is_table_file(path)]
    tables = [path for path in files if _is_own_table(path, form)]
    if tables and len(tables) < len(files):
        others = ", ".join(path.name for path in files if path not in tables)
        logger.warning("left out these tables, because they do not have the columns of judgments: %s", others)
    return tables


def _is_table_file(path: Path) -> bool:
    is_hidden = path.name.startswith((".", "~$"))  # a workbook that is open has a second file
    return path.suffix.lower() in SUFFIXES and path.suffix != ".txt" and not is_hidden


def _load_tables(
    paths: Sequence[Path], names: Sequence[str] | None, order: things.ObjectOrder | None, form: TableForm
) -> DatasetDict:
    """The judgments of some tables; tables of the same split are concatenated."""
    parts: dict[str, list[Dataset]] = {}
    for path in paths:
        splits = _load_table(path, names, order, form)
        named_split = index_files.split_of(path.name) if list(splits) == ["train"] else None
        for name, judgments in splits.items():
            parts.setdefault(named_split or name, []).append(judgments)
    return DatasetDict({name: conform(concatenate_datasets(part)) for name, part in parts.items()})


def _load_table(
    path: Path, names: Sequence[str] | None, order: things.ObjectOrder | None, form: TableForm
) -> DatasetDict:
    if not form.given and path.suffix in TEXT and things.is_things_file(path):
        return things.load_things_table(path, names, order)
    table = read_table_file(path, form.given)
    if not is_table_of_choices(table.header, form.given):
        raise InputError(
            f"{path} has the columns {', '.join(table.header)}, which do not show judgments; {UNDERSTOOD}"
        )
    return DatasetDict(train=read_own_table(table, names, form))


def _conform(dataset: Dataset, names: Sequence[str] | None, source: str, form: TableForm) -> Dataset:
    """The dataset with only the columns of the schema, in their types."""
    if TRIPLET in dataset.column_names and {ODD, COUNTS} & set(dataset.column_names) and not form.given:
        return conform(dataset)
    if is_table_of_choices(dataset.column_names, form.given):
        return read_own_table(cells_of(dataset, source, form.given), names, form)
    raise InputError(f"{source} has the columns {', '.join(dataset.column_names)}; {UNDERSTOOD}")
