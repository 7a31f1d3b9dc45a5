"""Which of three images was chosen: from its name, from the name of its column, or from a position."""

import logging
from collections.abc import Mapping, Sequence
from os.path import commonprefix
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hf_alignet.errors import InputError
from hf_alignet.judgments.column_names import CHOICE, IMAGES, KIND, TRIPLE, plain
from hf_alignet.judgments.rows import ODD
from hf_alignet.judgments.stimulus_names import find_rows
from hf_alignet.judgments.table_files import TableCells

logger = logging.getLogger(__name__)

MISSING = (
    *("", "na", "n/a", "nan", "null", "none", "undefined", "-", "--", "?", "missing", "timeout", "timed out"),
    *("time out", "no response", "noresponse", "no answer", "auto advance"),
)
MARKS = r"^[\s\['\"(]+|[\s\]'\")]+$"  # around the answer in a list of PsychoPy, ['image_2']
POSITION = r"^(?:num_)?([0-3])(?:\.0)?$"  # num_1 is a key of PsychoPy, 1.0 is a number beside missing ones
BUTTONS = "button-response"  # plugins of jsPsych, which count buttons from 0


class Answers(NamedTuple):
    """The answers of n trials."""

    odd: np.ndarray  # (n,) position 0-2; anything where there is no answer
    is_missing: np.ndarray  # (n,) bool
    is_asked: np.ndarray  # (n,) bool: False for screens of a trial that ask nothing, such as a fixation cross
    form: str  # what answers are, for people


def find_answers(
    table: TableCells, images: list[pa.ChunkedArray], rows: np.ndarray, to_row: Mapping[str, int]
) -> Answers:
    """The answers of a table of trials.

    Args:
        table: the cells.
        images: texts (n,) of the three images.
        rows: (n, 3) their rows.
        to_row: row of each text in `images`.

    Raises:
        InputError: an answer is none of its three images, or can be a name or a position.
    """
    role = ODD if ODD in table.columns.places else CHOICE
    choice = pc.utf8_trim_whitespace(table.cells[role])
    by_name = _by_name(choice, images, rows, to_row)
    if (by_name >= 0).all() and not {"0", "1", "2", "3"} & {Path(name).stem for name in to_row}:
        nobody = np.zeros(len(table), bool)
        return Answers(by_name, nobody, ~nobody, "names of images")
    is_empty = (by_name < 0) & is_one_of(choice, MISSING)  # an image may be called "NA"
    bare = pc.replace_substring_regex(choice, MARKS, "")
    is_position = pc.match_substring_regex(bare, POSITION)
    numbers = pc.if_else(is_position, pc.replace_substring_regex(bare, POSITION, r"\1"), "-1").cast(pa.int64())
    numbers = numbers.to_numpy()
    by_column = _by_column(bare, table)
    recognised = [by_name >= 0, numbers >= 0, by_column >= 0]
    is_asked = _are_asked(table, np.any(recognised, axis=0), is_empty)
    is_missing = is_empty & is_asked
    needed = is_asked & ~is_missing
    are_names, are_numbers, are_columns = ((found | ~needed).all() for found in recognised)
    if not needed.any():
        return Answers(by_name, is_missing, is_asked, "missing")
    if are_numbers and not are_columns:
        first = _first_position(numbers[needed], table, role, must_know=not are_names)
        by_position = numbers - first
        if are_names and (by_name != by_position)[needed].any():
            _refuse_both(table, choice, images, (by_name != by_position) & needed)
        if not are_names:
            return Answers(by_position, is_missing, is_asked, f"positions from {first}")
    if are_names:
        return Answers(by_name, is_missing, is_asked, "names of images")
    if are_columns:
        return Answers(by_column, is_missing, is_asked, "names of columns")
    is_bad = needed & (by_name < 0) & ~((numbers >= 0) & (numbers >= 0).any())
    row = int((is_bad if is_bad.any() else needed & (by_name < 0)).argmax())
    raise InputError(
        f"row {table.numbers[row]} of {table.source} chooses {choice[row].as_py()!r} of the images "
        f"{_row(images, row)}; {CHOICE} must name one of the three images in every row, or be the position 1, 2 or 3 "
        "(or 0, 1 or 2) in every row"
    )


def is_one_of(values: pa.ChunkedArray, known: Sequence[str]) -> np.ndarray:
    """(n,) bool: texts that are among the known ones, which are in small letters, whatever case they have."""
    lowered = pc.utf8_lower(pc.utf8_trim_whitespace(values))
    return pc.is_in(lowered, pa.array(known, pa.string())).to_numpy().astype(bool)


def _by_name(
    choice: pa.ChunkedArray, images: list[pa.ChunkedArray], rows: np.ndarray, to_row: Mapping[str, int]
) -> np.ndarray:
    """(n,) position of the image that the answer names, or -1."""
    is_chosen = np.stack([pc.equal(values, choice).to_numpy() for values in images], axis=1)
    found = np.where(is_chosen.any(1), is_chosen.argmax(1), -1)
    if (found >= 0).all():
        return found
    # Perhaps a path, another case, or a name without its suffix
    others = pc.unique(choice.filter(pa.array(found < 0)))
    texts = [text for text in others.to_pylist() if text.lower() not in MISSING]
    names = list(to_row)
    meant = {text: to_row[names[i]] for text, i in zip(texts, find_rows(texts, names), strict=True) if i >= 0}
    if meant:
        place = pc.index_in(choice, pa.array(list(meant), pa.string())).fill_null(-1).to_numpy()
        row_of_choice = np.where(place >= 0, np.array(list(meant.values()))[place], -1)
        is_meant = rows == row_of_choice[:, None]
        found = np.where((found < 0) & is_meant.any(1), is_meant.argmax(1), found)
    return found


def _by_column(bare: pa.ChunkedArray, table: TableCells) -> np.ndarray:
    """(n,) position of the image whose column the answer names, as a click in PsychoPy does, or -1."""
    if TRIPLE in table.columns.places:
        return np.full(len(table), -1)
    headers = [plain(table.header[table.columns.places[name]]) for name in IMAGES]
    places = {name: place for names in (headers, _parts_that_differ(headers)) for place, name in enumerate(names)}
    encoded = bare.combine_chunks().dictionary_encode()
    found = np.array([places.get(plain(text), -1) for text in encoded.dictionary.to_pylist()] or [-1])
    return found[encoded.indices.to_numpy()]


def _parts_that_differ(names: Sequence[str]) -> list[str]:
    """left, middle, right of imageleft, imagemiddle, imageright. Not numbers, which are positions."""
    start = len(commonprefix(names))
    end = len(commonprefix([name[start:][::-1] for name in names]))
    parts = [name[start : len(name) - end] for name in names]
    return parts if all(map(str.isalpha, parts)) else []


def _are_asked(table: TableCells, is_recognised: np.ndarray, is_empty: np.ndarray) -> np.ndarray:
    """(n,) bool: rows of kinds of screens that have an answer somewhere, if the table says of which kind a row is."""
    if KIND not in table.cells or not is_recognised.any():
        return np.ones(len(table), bool)
    kinds = table.cells[KIND].combine_chunks().dictionary_encode()
    kind = kinds.indices.to_numpy()
    is_asked = np.isin(kind, np.unique(kind[is_recognised]))
    others = kinds.dictionary.take(pa.array(np.unique(kind[~is_asked & ~is_empty]))).to_pylist()
    if others:
        logger.warning(
            "rows of %s with %s %s are left out: none of their answers is one of three images",
            *(table.source, table.header[table.columns.places[KIND]], ", ".join(map(repr, others))),
        )
    return is_asked


def _first_position(numbers: np.ndarray, table: TableCells, role: str, must_know: bool) -> int:
    """Whether positions count from 0 or 1.

    A 0 or a 3 tells it; buttons of jsPsych, and the column `odd`, count from 0, and `odd_one_out` from 1.
    """
    has_zero, has_three = (numbers == 0).any(), (numbers == 3).any()
    if has_zero and has_three:
        raise InputError(f"the answers of {table.source} are positions from 0 to 3, but a triplet has three images")
    if has_zero or has_three:
        return 0 if has_zero else 1
    header = table.header[table.columns.places[role]]
    if role == ODD:
        return 0
    kinds: Sequence[str] = pc.unique(table.cells[KIND]).to_pylist() if KIND in table.cells else []
    if TRIPLE in table.columns.places or any(BUTTONS in kind for kind in kinds):
        return 0
    names = [] if TRIPLE in table.columns.places else [table.header[table.columns.places[name]] for name in IMAGES]
    is_clear = plain(header) == plain(CHOICE) and not any("0" in name for name in names)
    if is_clear or role in table.columns.given or not must_know:
        return 1
    raise InputError(
        f"the answers in the column {header!r} of {table.source} are only 1 and 2, so that they can be positions "
        f"from 0 or from 1; say it by `columns={ODD}={header}` (from 0) or `columns={CHOICE}={header}` (from 1)"
    )


def _refuse_both(
    table: TableCells, choice: pa.ChunkedArray, images: list[pa.ChunkedArray], is_unclear: np.ndarray
) -> None:
    row = int(is_unclear.argmax())
    raise InputError(
        f"{CHOICE} of {table.source} can be the number of an image or a position: row {table.numbers[row]} has the "
        f"images {_row(images, row)} and the odd one out {choice[row]}; name the images by file name"
    )


def _row(images: list[pa.ChunkedArray], row: int) -> str:
    return ", ".join(repr(values[row].as_py()) for values in images)
