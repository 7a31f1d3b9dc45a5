"""Reads tables of text, and arrays that NumPy saved; an error says which file cannot be read, and why.

Arrow reads the tables: millions of rows in seconds.
"""

from collections.abc import Iterable, Sequence
from csv import reader
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from hf_alignet.errors import InputError


def read_first_line(path: Path) -> str:
    """The first line of a text file in UTF-8. Raises an InputError if it is empty or cannot be read."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            line = file.readline().strip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file in UTF-8 ({error}); save it as CSV in UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot read {path} as a table of text: {error}") from error
    if not line.strip():
        raise InputError(f"{path} is empty")
    return line


def read_header(path: Path) -> tuple[list[str], str]:
    """Column names of a text table, and the delimiter: a tab if the line has one, else a semicolon or a comma."""
    line = read_first_line(path)
    delimiter = next((mark for mark in "\t;" if mark in line), ",")
    return next(reader([line], delimiter=delimiter)), delimiter


def check_header(columns: Iterable[str], required: Sequence[str], source: str) -> None:
    """Raises an InputError if the table `source` lacks a required column."""
    missing = [name for name in required if name not in columns]
    if missing:
        raise InputError(
            f"{source} lacks the column {' and '.join(missing)}; it has {', '.join(columns)}, and needs "
            f"{', '.join(required)}"
        )


def check_filled(values: pa.ChunkedArray, name: str, source: str) -> None:
    """Raises an InputError that names the first row of `source` where the column `name` is empty."""
    if values.null_count:
        raise InputError(f"row {pc.index(pc.is_null(values), True).as_py()} of {source} has no {name}")


def read_table(path: Path, delimiter: str, columns: Sequence[str], kinds: dict[str, pa.DataType]) -> pa.Table:
    """Some columns of a text table with a header; empty cells become null.

    `kinds` holds Arrow types by column name; the content decides the type of the other columns. Raises an InputError
    if a cell does not fit its type, a row has too few or too many cells, or there is no row.
    """
    convert = csv.ConvertOptions(column_types=kinds, include_columns=list(columns))
    try:
        table = csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter), convert_options=convert)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(f"cannot read {path.name}: {error}") from error
    if len(table) == 0:
        raise InputError(f"{path.name} has a header, but no rows")
    for i, field in enumerate(table.schema):
        # Arrow could do this itself, but it would also read names such as "NA" and "null" as missing
        if pa.types.is_string(field.type):
            filled = pc.if_else(pc.equal(table[i], ""), None, table[i])
            table = table.set_column(i, field.name, filled)
    return table


def read_arrays(path: Path, what: str) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name, or the array of a `.npy` file under the empty name.

    Raises an InputError if they cannot be read; its message names the content, `what`.
    """
    try:
        content = np.load(path, allow_pickle=False)
        return dict(content) if path.suffix == ".npz" else {"": content}
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise InputError(f"cannot read the {what} {path}: {error}") from error
