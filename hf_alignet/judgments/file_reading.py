"""Reads tables of text, and arrays that NumPy saved; an error says which file cannot be read, and why.

Arrow reads the tables: millions of rows in seconds.
"""

import codecs
from collections.abc import Iterable, Sequence
from csv import reader
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from hf_alignet.errors import InputError
from hf_alignet.text_files import refuse_twice

FIRST_LINE = 1_000_000  # bytes that a first line may have


def read_text(path: Path, size: int = -1) -> tuple[bytes, str | None]:
    """A text file, or its first `size` bytes, in UTF-8 without a byte order mark; and a note if that is a guess.

    UTF-16 is known by its mark. What is neither UTF-16 nor UTF-8 is read as the text of Windows in Western Europe.
    Raises an InputError if the file cannot be read, or is no text.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(size)
    except OSError as error:
        raise InputError(f"cannot read {path} as a table of text: {error}") from error
    note = None
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raw = raw.decode("utf-16", errors="replace").encode()
    if b"\0" in raw or raw.startswith(b"PK\x03\x04"):
        raise InputError(f"{path} is no text; give a workbook the suffix .xlsx, or save it as CSV in UTF-8")
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw, final=size < 0)  # else the end may cut a character
    except UnicodeDecodeError:
        note = f"{path.name} is not in UTF-8, and was read as Western European text (Windows-1252)"
        raw = raw.decode("cp1252", errors="replace").encode()
    return raw if b"\n" in raw else raw.replace(b"\r", b"\n"), note  # Excel on a Mac ends lines so


def read_first_line(path: Path) -> str:
    """The first line of a text file. Raises an InputError if it is empty or cannot be read."""
    text = read_text(path, FIRST_LINE)[0].decode("utf-8", errors="ignore")
    line = text.lstrip("\r\n").partition("\n")[0].strip("\r")
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
    if a column is there twice, a cell does not fit its type, a row has too few or too many cells, or there is no row.
    """
    refuse_twice([name for name in read_header(path)[0] if name in columns], path.name)
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
        return dict(content) if path.suffix.lower() == ".npz" else {"": content}
    except (OSError, EOFError, ValueError, BadZipFile) as error:
        raise InputError(f"cannot read the {what} {path}: {error}") from error
