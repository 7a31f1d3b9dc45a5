"""Tables of text with a header, read by Arrow: millions of rows in seconds."""

from collections.abc import Sequence
from csv import reader
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from hf_alignet.errors import InputError


def read_header(path: Path) -> tuple[list[str], str]:
    """Column names of a text table, and what separates them: a tab if there is one, else a comma or semicolon.

    Raises:
        InputError: the file cannot be read as text, or is empty.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            line = file.readline().strip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no table in UTF-8 ({error}); save it as CSV in UTF-8") from error
    except OSError as error:
        raise InputError(f"cannot read {path} as a table of text: {error}") from error
    if not line.strip():
        raise InputError(f"{path} is empty")
    delimiter = next((mark for mark in "\t;" if mark in line), ",")
    return next(reader([line], delimiter=delimiter)), delimiter


def read_table(path: Path, delimiter: str, columns: Sequence[str], kinds: dict[str, pa.DataType]) -> pa.Table:
    """Some columns of a text table with a header, empty cells as null.

    Args:
        path: the file.
        delimiter: what separates the cells.
        columns: to read.
        kinds: Arrow types of columns; of those without, the content decides.

    Raises:
        InputError: a cell is not of its column's type, a row has too few or too many cells, or there are no rows.
    """
    convert = csv.ConvertOptions(column_types=kinds, include_columns=list(columns))
    try:
        table = csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter), convert_options=convert)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(f"cannot read {path.name}: {error}") from error
    if len(table) == 0:
        raise InputError(f"{path.name} has a header, but no rows")
    for i, name in enumerate(table.column_names):
        # Arrow could do this itself, but would take names such as "NA" and "null" for missing too
        if pa.types.is_string(table.schema.field(i).type):
            is_empty = pc.equal(table[name], "")
            table = table.set_column(i, name, pc.if_else(is_empty, None, table[name]))
    return table
