"""A table of your own raters, as they wrote it or as software exported it: three images, and which one is odd.

The columns are found by their names (see `column_names`). A cell names an image by file name, path, address or
concept (see `stimulus_names`), or by its row number from 0 if no number can be the name of an image. The answer is in
all rows one of the three names, or the name of a column of images, or a position: 1, 2 or 3, or 0, 1 or 2. Optional
columns are the participant, the response time (in seconds or milliseconds), `level` and `is_catch`.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.judgments.answers import MARKS, MISSING, Answers, find_answers, is_one_of
from hf_alignet.judgments.column_names import CHOICE, IMAGES, KIND, ROLES, STATUS, TRIPLE, parse_mapping
from hf_alignet.judgments.judgment_dataset import IS_CATCH, LEVEL, LEVELS, PARTICIPANT, RT, make_judgments
from hf_alignet.judgments.stimulus_names import AMBIGUOUS, UNKNOWN, describe, find_rows
from hf_alignet.judgments.table_files import TableCells
from hf_alignet.text_files import parse_json

logger = logging.getLogger(__name__)

TimeUnit = Literal["s", "ms"]
NUMBER = r"^(0|[1-9]\d{0,17})$"  # fits into int64
TESTS = ("survey preview", "survey test", "spam")  # what Qualtrics calls answers of nobody
SLOWEST_SECONDS = 50.0  # median; people take a few seconds, and never as few milliseconds
FASTEST_SECONDS = 0.05
SOURCE = re.compile(r"""src\s*=\s*["']([^"']+)["']""", re.IGNORECASE)
YES, NO = ("true", "1", "1.0", "yes", "y", "t"), ("false", "0", "0.0", "no", "n", "f", "")
SHOWN = 5  # unknown names in a message


@dataclass(frozen=True)
class TableForm:
    """What a user says about tables of choices. Raises an InputError if a value is not possible.

    Attributes:
        columns: names of columns by role (see `column_names`); an empty name leaves the column out.
        rt_unit: unit of response times, `s` or `ms`. By default the name of the column tells it, or their median.
        max_missing: largest share of trials that may have no answer. They are skipped.
    """

    columns: Mapping[str, str] | str | None = None
    rt_unit: TimeUnit | None = None
    max_missing: float = 0.5
    given: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        if self.rt_unit not in (None, *get_args(TimeUnit)):
            raise InputError(f"`rt_unit` must be s or ms, got {self.rt_unit!r}")
        if not 0 <= self.max_missing <= 1:
            raise InputError(f"`max_missing` must be a share from 0 to 1, got {self.max_missing}")
        object.__setattr__(self, "given", parse_mapping(self.columns))


def read_own_table(table: TableCells, names: Sequence[str] | None, form: TableForm | None = None) -> Dataset:
    """The judgments of a table. Row numbers do not need `names` of the images. The log says what was read.

    Raises an InputError if a column or a cell is missing; a name is unknown (the message lists similar names) or
    means several images; a number can be a name or a row number; the answer is not an image of its triplet, or can be
    a name or a position; or too many trials have no answer.
    """
    form = form or TableForm()
    _check_columns(table)
    images = _images(table)
    is_trial = _are_trials(table, images)
    if not is_trial.any():
        raise InputError(f"no row of {table.source} names three images")
    table, images = _select(table, is_trial), [values.filter(pa.array(is_trial)) for values in images]
    rows, to_row = _rows_of_images(images, names, table)
    _refuse_twice(rows, images, table)
    answers = find_answers(table, images, rows, to_row)
    table, kept = _answered(table, answers, form)
    extra, notes = _optional_columns(table, form)
    skipped = len(is_trial) - int(is_trial.sum()), len(answers.odd) - len(table)
    for note in table.notes:
        logger.warning("%s", note)
    _log_summary(table, answers, extra, notes, *skipped)
    return make_judgments(rows[kept], answers.odd[kept], **extra)


def _check_columns(table: TableCells) -> None:
    missing = table.columns.missing()
    if missing:
        unclear = table.columns.unclear.get(CHOICE)
        raise InputError(
            f"{table.source} lacks the column {' and '.join(missing)}; it has {', '.join(table.header)}"
            + (f". Either of {' and '.join(unclear)} could be the answer" if unclear else "")
            + "; name the columns in `columns`, such as image_1=Left,image_2=Middle,image_3=Right,odd_one_out=Answer"
        )


def _images(table: TableCells) -> list[pa.ChunkedArray]:
    """The names of the three images of each row, from three columns or from one; empty where there are not three."""
    if TRIPLE not in table.columns.places:
        return [pc.utf8_trim_whitespace(table.cells[name]) for name in IMAGES]
    cells = table.cells[TRIPLE].to_pylist()
    found = [_three(cell) for cell in cells]
    return [pa.chunked_array([pa.array([three[k] for three in found], pa.string())]) for k in range(3)]


def _three(cell: str) -> tuple[str, ...]:
    """The three images in a cell: a list in JSON, whose items may be HTML, or HTML with three pictures."""
    try:
        items = parse_json(cell) if cell.startswith("[") else SOURCE.findall(cell)
    except ValueError:
        items = []
    if len(items) != 3:
        return ("", "", "")
    return tuple(found[1] if (found := SOURCE.search(str(item))) else str(item).strip() for item in items)


def _are_trials(table: TableCells, images: list[pa.ChunkedArray]) -> np.ndarray:
    """(n,) bool: rows that name an image, and are not tests of the survey. Raises an InputError if one is missing."""
    is_filled = np.stack([pc.not_equal(values, "").to_numpy() for values in images], axis=1)
    is_trial = np.asarray(is_filled.any(1))
    if STATUS in table.cells:
        is_trial &= ~is_one_of(table.cells[STATUS], TESTS)
    is_partial = is_trial & ~is_filled.all(1)
    if is_partial.any():
        row = int(is_partial.argmax())
        raise InputError(
            f"row {table.numbers[row]} of {table.source} has no {IMAGES[is_filled[row].argmin()]}: fill it in, or "
            "delete the row"
        )
    return is_trial


def _select(table: TableCells, kept: np.ndarray) -> TableCells:
    if kept.all():
        return table
    mask = pa.array(kept)
    cells = {role: values.filter(mask) for role, values in table.cells.items()}
    return TableCells(table.source, table.header, table.columns, cells, table.numbers[kept], table.notes)


def _answered(table: TableCells, answers: Answers, form: TableForm) -> tuple[TableCells, np.ndarray]:
    """The rows with an answer, and which they are (n,); InputError if too few of the trials have one."""
    number, total = int(answers.is_missing.sum()), int(answers.is_asked.sum())
    if number > form.max_missing * total or number == total:
        examples = ", ".join(str(row) for row in table.numbers[answers.is_missing][:SHOWN])
        raise InputError(
            f"{number} of {total} trials of {table.source} have no answer (rows {examples}{' …' * (number > SHOWN)}), "
            f"more than the share `max_missing={form.max_missing:g}`; "
            + ("is it the right column? Name it in `columns`" if number == total else "raise it to skip them")
        )
    kept = answers.is_asked & ~answers.is_missing
    return _select(table, kept), kept


# ---- images


def _rows_of_images(
    images: list[pa.ChunkedArray], names: Sequence[str] | None, table: TableCells
) -> tuple[np.ndarray, Mapping[str, int]]:
    """(n, 3) rows of the image dataset, and the row of each text that names an image."""
    encoded = pa.chunked_array([c for values in images for c in values.chunks], pa.string()).dictionary_encode()
    encoded = encoded.unify_dictionaries()
    cells = encoded.chunk(0).dictionary.to_pylist()
    which = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks]).reshape(3, -1).T
    are_numbers = all(re.match(NUMBER, cell) for cell in cells)
    known = names or ()
    if are_numbers:
        row_of = {name: row for row, name in enumerate(known)}
        found = np.array([row_of.get(cell, UNKNOWN) for cell in cells])
        if len(row_of) < len(known):
            found[[known.count(cell) > 1 for cell in cells]] = AMBIGUOUS
    else:
        found = find_rows(cells, known)
    if are_numbers and (found == UNKNOWN).any():
        _check_no_names(cells, which, known, table)
        logger.warning("the numbers in %s are read as row numbers of the images, from 0", table.source)
        found = np.array(cells, np.int64)
    elif are_numbers and (numbers := np.array(cells, np.int64)).max() < len(known) and (numbers != found).any():
        raise InputError(
            f"the numbers in {table.source} can be names of images or row numbers, because numbers name some images; "
            "name the images by file name"
        )
    if (found < 0).any():
        raise InputError(_unknown(cells, found, known, table.source))
    return found[which], dict(zip(cells, found.tolist(), strict=True))


def _refuse_twice(rows: np.ndarray, images: list[pa.ChunkedArray], table: TableCells) -> None:
    is_twice = (rows == np.roll(rows, 1, axis=1)).any(1)
    if is_twice.any():
        row = int(is_twice.argmax())
        names = ", ".join(repr(values[row].as_py()) for values in images)
        raise InputError(f"row {table.numbers[row]} of {table.source} names an image twice: {names}")


def _check_no_names(cells: list[str], which: np.ndarray, names: Sequence[str], table: TableCells) -> None:
    """Raises an InputError if a number may be a name, such as 4 (or 004, read as a number) for `004.png`."""
    meant = {re.sub(r"^0+(?=\d)", "", Path(name).stem): name for name in reversed(names)}
    is_meant = np.array([cell in meant for cell in cells])[which]
    if is_meant.any():
        row, position = np.argwhere(is_meant)[0]
        number = cells[which[row, position]]
        raise InputError(
            f"row {table.numbers[row]} of {table.source} has the image {number}, which can be the image "
            f"{meant[number]!r} or the row {number} from 0; write the full names of the images"
        )


def _unknown(cells: list[str], rows: np.ndarray, names: Sequence[str], source: str) -> str:
    """The message about cells that name none or several of the images."""
    if not names:
        return (
            f"{source} names images, such as {cells[0]!r}, but the images have no names: give `object_names`, or "
            "images with a column filename or concept"
        )
    unclear = [cell for cell, row in zip(cells, rows, strict=True) if row == AMBIGUOUS]
    if unclear:
        described = ", ".join(describe(name, names) for name in unclear[:SHOWN])
        return (
            f"{source} names {described}, but several images have this name; write names with their folders, and give "
            "each image its own name"
        )
    unknown = [cell for cell, row in zip(cells, rows, strict=True) if row == UNKNOWN]
    listed = []
    for name in unknown[:SHOWN]:
        close = ", ".join(map(repr, get_close_matches(name, names, n=2)))
        listed.append(f"{name!r} (close: {close})" if close else repr(name))
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    return f"{source} names images that are not among the {len(names)}: {', '.join(listed)}{more}"


# ---- what else is known of a trial


def _optional_columns(table: TableCells, form: TableForm) -> tuple[dict[str, pa.ChunkedArray | np.ndarray], list[str]]:
    """Participants, times, levels and checks of attention, and notes about them."""
    found: dict[str, pa.ChunkedArray | np.ndarray] = {}
    notes = []
    if PARTICIPANT in table.cells:
        # Software writes whole numbers as 7.0 where other cells are empty
        people = pc.replace_substring_regex(pc.utf8_trim_whitespace(table.cells[PARTICIPANT]), r"^(\d+)\.0$", r"\1")
        found[PARTICIPANT] = pc.if_else(pc.equal(people, ""), None, people)
    if RT in table.cells:
        found[RT], note = _seconds(table, form)
        notes.append(note)
    if LEVEL in table.cells:
        levels = pc.utf8_lower(pc.utf8_trim_whitespace(table.cells[LEVEL]))
        is_missing = is_one_of(levels, MISSING)
        _refuse(~is_missing & ~is_one_of(levels, LEVELS), LEVEL, table, f"one of {', '.join(LEVELS)}")
        found[LEVEL] = pc.if_else(pa.array(is_missing), None, levels)
    if IS_CATCH in table.cells:
        checks = table.cells[IS_CATCH]
        found[IS_CATCH] = is_one_of(checks, YES)
        _refuse(~found[IS_CATCH] & ~is_one_of(checks, (*NO, *MISSING)), IS_CATCH, table, "true or false")
    return found, notes


def _seconds(table: TableCells, form: TableForm) -> tuple[np.ndarray, str]:
    """(n,) response times in seconds, NaN where they are not known; and what is said of their unit."""
    texts = table.cells[RT]
    is_missing = is_one_of(texts, MISSING)
    times = _numbers(pc.if_else(pa.array(is_missing), None, texts))
    _refuse(np.isnan(times) & ~is_missing, RT, table, "a number")
    _refuse((times <= 0) | np.isinf(times), RT, table, "a number above 0")
    median = np.nan if np.isnan(times).all() else float(np.nanmedian(times))
    stated = form.rt_unit or table.columns.time_unit
    unit = stated or ("ms" if median > SLOWEST_SECONDS else "s")
    times, median = (times / 1000, median / 1000) if unit == "ms" else (times, median)
    if form.rt_unit is None and median < FASTEST_SECONDS:
        raise InputError(
            f"the median response time of {table.source} is {median:g} s, if the unit is {unit}: nobody is so fast. "
            "Give the unit as `rt_unit`"
        )
    why = "as given" if form.rt_unit else "by the name of the column" if stated else "by their median"
    return times, f"response times in {unit} ({why}; median {median:.3g} s)"


def _numbers(texts: pa.ChunkedArray) -> np.ndarray:
    """(n,) float64, NaN for null and for what is no number; commas may be decimal, and brackets around a number."""
    try:
        return texts.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        bare = pc.replace_substring_regex(texts, MARKS, "")
    has_point = pc.match_substring(bare, ".")
    bare = pc.if_else(has_point, bare, pc.replace_substring(bare, ",", "."))
    is_number = pc.match_substring_regex(bare, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
    return pc.if_else(is_number, bare, None).cast(pa.float64()).to_numpy()


def _refuse(is_bad: np.ndarray, role: str, table: TableCells, expected: str) -> None:
    if is_bad.any():
        row = int(is_bad.argmax())
        raise InputError(
            f"row {table.numbers[row]} of {table.source} has {table.cells[role][row].as_py()!r} in the column "
            f"{table.header[table.columns.places[role]]!r}, which must be {expected} ({role}); give another column in "
            f"`columns`, or `columns={role}=` to leave it out"
        )


def _log_summary(
    table: TableCells,
    answers: Answers,
    extra: Mapping[str, pa.ChunkedArray | np.ndarray],
    notes: Sequence[str],
    num_others: int,
    num_skipped: int,
) -> None:
    """One paragraph: what was read, what it was taken for, and what was not used."""
    num_missing = int(answers.is_missing.sum())
    facts = [f"{len(table):,} choices"]
    if PARTICIPANT in extra:
        facts.append(f"{pc.count_distinct(extra[PARTICIPANT]).as_py():,} participants")
        unnamed = pc.sum(pc.is_null(extra[PARTICIPANT])).as_py()
        facts += [f"{unnamed:,} choices without a participant"] if unnamed else []
    if IS_CATCH in extra:
        facts.append(f"{int(np.sum(extra[IS_CATCH])):,} of them checks of attention")
    others = num_others + num_skipped - num_missing
    facts += [f"skipped trials without an answer: {num_missing:,}"] if num_missing else []
    facts += [f"skipped rows that are no trials: {others:,}"] if others else []
    places = table.columns.places
    named = {role: table.header[place] for role, place in places.items() if role in ROLES}
    used = ", ".join(role if role == name else f"{role}={name}" for role, name in named.items())
    unclear = [f"{role} is {' or '.join(names)}: not used" for role, names in table.columns.unclear.items()]
    told = {*places.values()} - {places.get(KIND), places.get(STATUS)}
    ignored = [name for place, name in enumerate(table.header) if place not in told and name]
    facts += [f"answers are {answers.form}", *notes, *unclear, f"columns {used}"]
    facts += [f"ignored {', '.join(ignored)}"] if ignored else []
    logger.info("%s: %s", table.source, "; ".join(facts))
