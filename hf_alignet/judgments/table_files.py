"""Reads a table of choices from a file: CSV, TSV, text, a workbook, JSON, JSON lines. Its columns come out as text.

The header is the first of the first rows that has the columns of choices; rows of titles before it, the line `sep=;`
of Excel, and the rows that Qualtrics puts below it are left out. Row numbers are those that a spreadsheet shows.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from pyarrow import csv as arrow_csv

from hf_alignet.errors import InputError
from hf_alignet.judgments.column_names import NAMES, Columns, find_columns, plain
from hf_alignet.judgments.file_reading import read_text
from hf_alignet.judgments.judgment_dataset import PARTICIPANT
from hf_alignet.judgments.rows import named_table
from hf_alignet.text_files import parse_json

SAMPLE = 1_000_000  # bytes in which the header is looked for; Qualtrics repeats long questions in it
TITLES = 20  # rows that may be above the header
MOST_BELOW = 2  # rows of Qualtrics below the header
LISTS = ("trials", "data", "results", "records")  # what a list of trials is called in JSON
LARGEST_CELL = 100_000_000
DELIMITERS = ",;\t| "
SEPARATOR = re.compile(r'^"?sep=(.)"?\s*$')
LOOPED = re.compile(r"^(\d+)_(.+)$")  # Qualtrics' loops: 1_image_1, 1_odd_one_out, 2_image_1 …
TEXT, WORKBOOK, RECORDS = (".csv", ".tsv", ".txt"), (".xlsx", ".xlsm"), (".json", ".jsonl", ".ndjson")
SUFFIXES = (*TEXT, *WORKBOOK, *RECORDS)


@dataclass(frozen=True)
class TableCells:
    """The columns of a table that say something of choices, as text.

    Attributes:
        source: name of the table, for messages.
        header: names of all columns.
        columns: which of them is what.
        cells: (n,) text by role; an empty cell is empty text.
        numbers: (n,) number of each row, as the user sees it.
        notes: what to tell the user about the file.
    """

    source: str
    header: Sequence[str]
    columns: Columns
    cells: dict[str, pa.ChunkedArray]
    numbers: np.ndarray
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)


def read_table_file(path: Path, given: Mapping[str, str]) -> TableCells:
    """The table in a file; `given` are the user's names of columns by role.

    Raises an InputError if the file cannot be read, or has no rows.
    """
    if path.suffix.lower() in WORKBOOK:
        table = _from_rows(_read_workbook(path, given), path.name, given)
    elif path.suffix.lower() in RECORDS:
        table = _from_records(_read_records(path), path.name, given)
    else:
        table = _from_text(path, given)
    if len(table) == 0:
        raise InputError(f"{path.name} has a header, but no rows")
    return table


def header_of(path: Path, given: Mapping[str, str]) -> list[str]:
    """Names of the columns of a table file. Raises an InputError if it cannot be read."""
    if path.suffix.lower() in TEXT:
        return _Layout.of(read_text(path, SAMPLE)[0], path, given).header
    return list(read_table_file(path, given).header)


def cells_of(dataset: Dataset, source: str, given: Mapping[str, str]) -> TableCells:
    """The table in a dataset, whose rows count from 0. Classes become their names."""
    table = named_table(dataset)
    columns = find_columns(table.column_names, given, source)
    cells = {role: _as_text(table.column(place), source) for role, place in columns.places.items()}
    return TableCells(source, table.column_names, columns, cells, np.arange(len(table)))


def _as_text(values: pa.ChunkedArray, source: str) -> pa.ChunkedArray:
    if pa.types.is_struct(values.type) and values.type.get_field_index("path") >= 0:
        values = pc.struct_field(values, "path")  # of pictures, {bytes, path}
    try:
        if pa.types.is_nested(values.type):
            return pa.chunked_array([pa.array([_cell(value) for value in values.to_pylist()], pa.string())])
        return values.cast(pa.string()).fill_null("")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
        raise InputError(f"a column of {source} is no text, but {values.type}") from error


# ---- text


@dataclass(frozen=True)
class _Layout:
    """How a text table is built."""

    delimiter: str
    header: list[str]
    start: int  # byte where the rows begin
    first_row: int  # number of the first of them in a spreadsheet

    @classmethod
    def of(cls, content: bytes, path: Path, given: Mapping[str, str]) -> "_Layout":
        """The delimiter with which a header with the columns of choices is found, or else the one that splits most."""
        sample = content[:SAMPLE].decode("utf-8", errors="ignore")
        lines = list(io.StringIO(sample, newline=""))
        if not sample.strip():
            raise InputError(f"{path} is empty")
        stated = SEPARATOR.match(lines[0])
        skipped = len(lines[0].encode()) if stated else 0
        layouts = []
        for delimiter in stated[1] if stated else DELIMITERS:
            records, ends = _records(lines[1 if stated else 0 :], delimiter)
            header, below, is_found = find_header(records, given)
            start = skipped + (ends[below - 1] if below else 0)
            score = is_found, delimiter != " " or _has_numbers(given), len(header)
            layouts.append((score, cls(delimiter, header, start, below + 1)))
        return max(layouts, key=lambda scored: scored[0])[1]


def _records(lines: Sequence[str], delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The first records of a text table, and the bytes from its start to the end of each."""
    reader = _reader(lines, delimiter)
    sizes = np.concatenate([[0], np.cumsum([len(line.encode()) for line in lines])])
    records, ends = [], []
    for record in islice(reader, TITLES + MOST_BELOW):
        records.append([cell.strip() for cell in record])
        ends.append(int(sizes[reader.line_num]))
    return records, ends


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    csv.field_size_limit(LARGEST_CELL)  # of software that keeps whole pages in a cell
    return csv.reader(lines, delimiter=delimiter)


def find_header(records: Sequence[list[str]], given: Mapping[str, str]) -> tuple[list[str], int, bool]:
    """The header among the first records, how many records end before the rows, and whether it is complete.

    Without one, it is the first of those with most cells. If the user numbers the columns, there is none.
    """
    if _has_numbers(given):
        return [str(place) for place in range(1, max(map(len, records)) + 1)], 0, True
    found = [_is_header(record, given) for record in records[:TITLES]]
    sizes = [sum(map(bool, record)) for record in records[:TITLES]]
    row = found.index(True) if True in found else sizes.index(max(sizes))
    below = records[row + 1 : row + 1 + MOST_BELOW]
    return records[row], row + 1 + _rows_below(below), True in found


def _is_header(record: Sequence[str], given: Mapping[str, str]) -> bool:
    try:
        return find_columns(record, given).is_complete or bool(_loops(record, given))
    except InputError:  # a given column is not among them
        return False


def _has_numbers(given: Mapping[str, str]) -> bool:
    """Whether the user numbers the columns, from 1, because the table has no header."""
    return bool(given) and all(name.isdecimal() for name in given.values() if name)


def _rows_below(records: Sequence[Sequence[str]]) -> int:
    """The number of Qualtrics' rows below the header: the question, and its `ImportId`."""
    return next((row + 1 for row, record in enumerate(records) if any('"ImportId"' in c for c in record)), 0)


def _from_text(path: Path, given: Mapping[str, str]) -> TableCells:
    content, note = read_text(path)
    layout = _Layout.of(content, path, given)
    body = content[layout.start :].rstrip(b"\r\n")
    _check_quotes(body, layout, path.name)
    notes = [note] if note is not None else []
    # Arrow would not count empty lines
    has_gaps = b"\n\n" in body or b"\n\r\n" in body or body.startswith((b"\n", b"\r\n"))
    if body and not has_gaps and not _loops(layout.header, given):
        columns = find_columns(layout.header, given, path.name)
        table = _read_with_arrow(body, layout, columns)
        if table is not None:
            cells = {role: table[str(place)] for role, place in columns.places.items()}
            numbers = np.arange(layout.first_row, layout.first_row + len(table))
            return TableCells(path.name, layout.header, columns, cells, numbers, notes)
    records = list(_reader(io.StringIO(body.decode("utf-8"), newline=""), layout.delimiter))
    return _from_header(layout.header, records, layout.first_row, path.name, given, notes)


def _check_quotes(body: bytes, layout: _Layout, source: str) -> None:
    """Raises an InputError if a quote is never closed: all rows below would be a part of its cell."""
    if body.count(b'"') % 2:
        records = _reader(io.StringIO(body.decode("utf-8") + "\nend", newline=""), layout.delimiter)
        *_, (row, last) = enumerate(records, layout.first_row)
        if last != ["end"]:
            raise InputError(f'row {row} of {source} opens a cell by a quote (") that is never closed: delete it')


def _read_with_arrow(body: bytes, layout: _Layout, columns: Columns) -> pa.Table | None:
    """The columns by their place, millions of rows in a second; None if rows differ in length."""
    used = {str(place): pa.string() for place in columns.places.values()}
    parse = arrow_csv.ParseOptions(delimiter=layout.delimiter, newlines_in_values=b'"' in body)
    convert = arrow_csv.ConvertOptions(column_types=used, include_columns=list(used))
    read = arrow_csv.ReadOptions(column_names=[str(place) for place in range(len(layout.header))])
    try:
        return arrow_csv.read_csv(io.BytesIO(body), read, parse, convert)
    except pa.ArrowInvalid:
        return None


# ---- rows of cells


def _from_rows(records: list[list[str]], source: str, given: Mapping[str, str]) -> TableCells:
    """The table in the rows of a sheet."""
    header, below, _ = find_header(records, given)
    return _from_header(header, records[below:], below + 1, source, given)


def _from_header(
    header: list[str],
    rows: list[list[str]],
    first_row: int,
    source: str,
    given: Mapping[str, str],
    notes: Sequence[str] = (),
) -> TableCells:
    """The table of a header and the rows below it; short rows end in empty cells."""
    long = next((i for i, row in enumerate(rows) if any(cell.strip() for cell in row[len(header) :])), None)
    if long is not None:
        raise InputError(
            f"row {first_row + long} of {source} has {len(rows[long])} cells, but the header has {len(header)} columns"
        )
    numbers = np.arange(first_row, first_row + len(rows))
    loops = _loops(header, given) or [(header, find_columns(header, given, source))]
    parts: dict[str, list[pa.Array]] = {}
    for _, columns in loops:
        for role, place in columns.places.items():
            values = [row[place] if place < len(row) else "" for row in rows]
            parts.setdefault(role, []).append(pa.array(values, pa.string()))
    cells = {role: pa.chunked_array(arrays, pa.string()) for role, arrays in parts.items()}
    return TableCells(source, *loops[0], cells, np.tile(numbers, len(loops)), list(notes))


def _loops(header: Sequence[str], given: Mapping[str, str]) -> list[tuple[list[str], Columns]]:
    """The header and columns of each pass of a loop, if a row holds several trials as Qualtrics writes them.

    A header has the names of one pass without its number; the columns of the other passes have no name in it.
    """
    passes = sorted({int(match[1]) for name in header if (match := LOOPED.match(name))})
    if not passes or find_columns(header, {}).is_complete:
        return []
    found = []
    for number in passes:
        matches = [LOOPED.match(name) for name in header]
        names = [
            name if match is None else match[2] if int(match[1]) == number else ""
            for name, match in zip(header, matches, strict=True)
        ]
        try:
            columns = find_columns(names, given)
        except InputError:  # a given column is not in this loop
            continue
        if columns.is_complete:
            found.append((names, columns))
    return found if len({tuple(columns.places) for _, columns in found}) == 1 else []


# ---- workbooks and JSON


def _read_workbook(path: Path, given: Mapping[str, str]) -> list[list[str]]:
    """The rows of the sheet that has the columns of choices, or else of the first sheet that is not empty."""
    try:
        sheets = pd.read_excel(path, sheet_name=None, header=None, dtype=str, na_filter=False)
    except ImportError as error:
        raise InputError(
            f"to read the workbook {path.name}, install openpyxl: pip install 'hf_alignet[tables]'; or save it as CSV"
        ) from error
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"cannot read the workbook {path.name}: {error}; save it again as .xlsx or .csv") from error
    filled = {
        str(name): [[cell.strip() for cell in row] for row in sheet.to_numpy().tolist()]
        for name, sheet in sheets.items()
        if len(sheet)
    }
    if not filled:
        raise InputError(f"the workbook {path.name} is empty")
    fitting = [name for name, rows in filled.items() if any(_is_header(row, given) for row in rows[:TITLES])]
    if len(fitting) > 1:
        raise InputError(
            f"the sheets {', '.join(fitting)} of the workbook {path.name} all have choices: save each as a file in "
            "one folder, to read them together, or keep one"
        )
    return filled[fitting[0]] if fitting else next(iter(filled.values()))


def _read_records(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON file: one list, a list in an object, or an object or a list a line."""
    content = read_text(path)[0].decode("utf-8").strip()
    if not content:
        raise InputError(f"{path} is empty")
    try:
        whole = [parse_json(content)]
    except ValueError as problem:
        try:
            whole = [parse_json(line) for line in content.splitlines() if line.strip()]
        except ValueError:
            raise InputError(f"cannot read {path.name} as JSON: {problem}") from problem
    records = list(_objects(whole))
    if not records:
        raise InputError(f"{path.name} must hold one object a trial")
    return records


def _objects(value: Any) -> Iterable[dict[str, Any]]:
    """The objects in lists of lists; an object that holds a list of trials gives them, with its participant."""
    if isinstance(value, list):
        for item in value:
            yield from _objects(item)
    elif isinstance(value, dict):
        trials = next((value[name] for name in LISTS if isinstance(value.get(name), list)), None)
        person = {name: value[name] for name in value if plain(name) in NAMES[PARTICIPANT]}
        yield from [value] if trials is None else (person | trial for trial in _objects(trials))


def _from_records(records: list[dict[str, Any]], source: str, given: Mapping[str, str]) -> TableCells:
    header = list(dict.fromkeys(str(name) for record in records for name in record))
    rows = [[_cell(record.get(name)) for name in header] for record in records]
    return _from_header(header, rows, 1, source, given)


def _cell(value: Any) -> str:
    """A value of JSON as the text of a cell."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
