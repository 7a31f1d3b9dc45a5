"""The metadata files of a folder of pictures: a table with a row for each picture, as `datasets` defines them.

`metadata.csv`, `metadata.jsonl` or `metadata.parquet` may lie in any folder. The column `file_name`, which becomes
`image`, and columns such as `left_file_name` hold paths of pictures from the folder of the file on. Only files that
were found in the folder of pictures are opened.
"""

import csv
import posixpath
from collections.abc import Callable, Sequence, Set
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features
from datasets import Image as ImageFeature
from pyarrow import json as arrow_json

from hf_alignet.errors import InputError
from hf_alignet.images.picture_files import IMAGE_COLUMN, as_cells
from hf_alignet.text_files import refuse_twice

METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"
DELIMITERS = ",;\t"


def read_metadata(root: str, paths: Sequence[str], known: Set[str]) -> tuple[pa.Table, Features, set[str]]:
    """The rows of metadata files, one after another.

    Args:
        root: path of the folder.
        paths: of the files in it, all of one kind and with the same columns.
        known: paths in the folder that may be opened.

    Returns:
        The table, its features, and the paths that it names.

    Raises:
        InputError: a file cannot be read, has no or two columns of a name, or names a file that is not there.
    """
    if len({posixpath.splitext(path)[1] for path in paths}) > 1:
        raise InputError(f"{root} has metadata files of several kinds: {', '.join(paths)}; keep those of one")
    parts, named = [], set[str]()
    for path in paths:
        table = _read(root, path)
        columns = [name for name in table.column_names if name == FILE_NAME or name.endswith(f"_{FILE_NAME}")]
        if FILE_NAME not in columns:
            raise InputError(f"{path} in {root} has no column {FILE_NAME}; it has {', '.join(table.column_names)}")
        features = Features.from_arrow_schema(table.schema)
        cells = {name: _found(table[name].to_pylist(), name, path, root, known) for name in columns}
        named |= {cell for found in cells.values() for cell in found if cell is not None}
        names = [_picture_column(name) if name in cells else name for name in table.column_names]
        refuse_twice(names, f"{path} in {root}")
        kinds = [ImageFeature() if name in cells else kind for name, kind in features.items()]
        arrays = [as_cells(root, cells[name]) if name in cells else table[name] for name in table.column_names]
        parts.append((pa.table(arrays, names), Features(zip(names, kinds, strict=True))))
    if len({str(features) for _, features in parts}) > 1:
        raise InputError(f"the metadata files {', '.join(paths)} in {root} have different columns")
    return pa.concat_tables([table for table, _ in parts]), parts[0][1], named


def _found(values: list, column: str, metadata: str, root: str, known: Set[str]) -> list[str | None]:
    """The paths in the folder that the cells of a column mean."""
    folder = posixpath.dirname(metadata)
    found = []
    first = 2 if metadata.endswith(".csv") else 1  # row 1 of a spreadsheet is the header
    for row, value in enumerate(values, first):
        path = posixpath.normpath(posixpath.join(folder, str(value).replace("\\", "/"))) if value is not None else None
        if path not in known and (path is not None or column == FILE_NAME):
            raise InputError(
                f"row {row} of {metadata} in {root} names {value!r}, which is no regular file in the folder"
            )
        found.append(path)
    return found


def _read(root: str, name: str) -> pa.Table:
    file = Path(root, name)
    readers: dict[str, Callable[[Path], pa.Table]] = {".csv": _read_csv, ".jsonl": _read_json}
    try:
        table = readers.get(file.suffix, pq.read_table)(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"cannot read {name} in {root}: {' '.join(str(error).split())}") from error
    refuse_twice(table.column_names, f"{name} in {root}")
    return table


def _picture_column(name: str) -> str:
    return name.removesuffix(FILE_NAME).removesuffix("_") or IMAGE_COLUMN


def _read_csv(file: Path) -> pa.Table:
    with open(file, encoding="utf-8-sig", newline="") as opened:
        line = opened.readline()
    headers = [next(csv.reader([line], delimiter=mark), []) for mark in DELIMITERS]
    place = next((place for place, header in enumerate(headers) if FILE_NAME in header), 0)
    header, texts = headers[place], {i: str for i, name in enumerate(headers[place]) if name.endswith(FILE_NAME)}
    # Without the header, because pandas would rename a column that is there twice
    frame = pd.read_csv(file, sep=DELIMITERS[place], header=None, skiprows=1, dtype=texts, low_memory=False)
    return pa.Table.from_pandas(frame, preserve_index=False).rename_columns(header).replace_schema_metadata(None)


def _read_json(file: Path) -> pa.Table:
    blocks = arrow_json.ReadOptions(block_size=max(1 << 20, file.stat().st_size))  # a row may be long
    return arrow_json.read_json(file, blocks)
