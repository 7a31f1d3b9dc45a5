"""A table of your own raters: `image_1, image_2, image_3, odd_one_out`, and where known who, how fast and which level.

A cell names an image by file name or concept, or by its row number from 0 if no number can be the name of an image.
`odd_one_out` is one of the three names in all rows, or the position 1, 2 or 3 in all rows. Optional columns are
`participant`, `rt` (seconds), `level` and `is_catch`.
"""

import logging
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset

from hf_alignet.errors import InputError
from hf_alignet.judgments.file_reading import check_filled, check_header
from hf_alignet.judgments.judgment_dataset import IS_CATCH, LEVEL, PARTICIPANT, RT, make_judgments
from hf_alignet.judgments.rows import arrow_column

logger = logging.getLogger(__name__)

IMAGES = ("image_1", "image_2", "image_3")
CHOICE = "odd_one_out"
REQUIRED = (*IMAGES, CHOICE)
OPTIONAL = (PARTICIPANT, RT, LEVEL, IS_CATCH)
NUMBER = r"^(0|[1-9]\d{0,17})$"  # fits into int64
SHOWN = 5  # unknown names in a message


def image_names(images: Dataset) -> list[str] | None:
    """The name of each image: its `filename`, or else its `concept`, or else the file name of the picture.

    A class becomes the name of the class, and a number becomes text. None if the images have no names. Raises an
    InputError if a cell of the column is empty, or cannot become text.
    """
    name = next((name for name in ("filename", "concept") if name in images.column_names), None)
    if name is None:
        cells = arrow_column(images, "image")
        paths = pc.struct_field(cells, "path").to_pylist() if pa.types.is_struct(cells.type) else []
        names = [Path(path).name for path in paths if path is not None]
        return names if len(names) == len(images) else None
    try:
        texts = named_table(images.select_columns(name))[name].cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"the column {name!r} of the images is no text, but {images.features[name]}") from error
    if None in texts:
        raise InputError(f"row {texts.index(None)} of the images has no {name}; name all images, or drop the column")
    return texts


def named_table(dataset: Dataset) -> pa.Table:
    """The table of a dataset, in which names of classes replace their numbers; no class becomes null."""
    table = dataset.with_format("arrow")[:]
    for i, name in enumerate(table.column_names):
        feature = dataset.features[name]
        if isinstance(feature, ClassLabel):
            numbers = pc.if_else(pc.less(table[name], 0), None, table[name])
            table = table.set_column(i, name, pc.take(pa.array(feature.names, pa.string()), numbers))
    return table


def is_own_table(header: Sequence[str]) -> bool:
    """Whether a table with these columns is meant to have this form."""
    return any(name in header for name in IMAGES)


def read_own_table(table: pa.Table, names: Sequence[str] | None, source: str) -> Dataset:
    """The judgments of such a table, which messages call `source`. Row numbers do not need `names` of the images.

    Raises an InputError if a column or a cell is missing; a name is unknown (the message lists similar names) or
    belongs to several images; a number can be a name or a row number; the choice is not an image of its triplet; or
    the choice can be a name or a position.
    """
    check_header(table.column_names, REQUIRED, source)
    cells = {name: table[name].cast(pa.string()) for name in REQUIRED}
    for name, values in cells.items():
        check_filled(values, name, source)
    images = [cells[name] for name in IMAGES]
    odd = _positions(images, cells[CHOICE], source)
    extra = {name: table[name] for name in OPTIONAL if name in table.column_names}
    return make_judgments(_row_numbers(images, names, source), odd, **extra)


def _positions(images: list[pa.ChunkedArray], choice: pa.ChunkedArray, source: str) -> np.ndarray:
    """(n,) position 0-2 of the odd one out, from its name or its position."""
    is_chosen = np.stack([pc.equal(values, choice).to_numpy() for values in images], axis=1)
    by_name = np.where(is_chosen.any(1), is_chosen.argmax(1), -1)
    by_position = _look_up(choice, ["1", "2", "3"])
    are_names, are_positions = (by_name >= 0).all(), (by_position >= 0).all()
    if are_names and are_positions and (by_name != by_position).any():
        row = int((by_name != by_position).argmax())
        raise InputError(
            f"{CHOICE} of {source} can be the number of an image or a position: row {row} has the images "
            f"{_row(images, row)} and the odd one out {choice[row]}; name the images by file name"
        )
    if are_names or are_positions:
        return by_name if are_names else by_position
    is_neither = (by_name < 0) & (by_position < 0) if (by_position >= 0).any() else by_name < 0
    row = int(is_neither.argmax())
    raise InputError(
        f"row {row} of {source} chooses {choice[row].as_py()!r} of the images {_row(images, row)}; {CHOICE} must name "
        "one of the three images in every row, or be the position 1, 2 or 3 in every row"
    )


def _look_up(values: pa.ChunkedArray, names: Sequence[str]) -> np.ndarray:
    """(n,) place of each value among the names, or -1."""
    return pc.index_in(values, pa.array(names, pa.string())).fill_null(-1).to_numpy()


def _row(images: list[pa.ChunkedArray], row: int) -> str:
    return ", ".join(repr(values[row].as_py()) for values in images)


def _row_numbers(images: list[pa.ChunkedArray], names: Sequence[str] | None, source: str) -> np.ndarray:
    """(n, 3) rows of the image dataset, from names, or from numbers that cannot be names."""
    are_numbers = all(pc.all(pc.match_substring_regex(values, NUMBER)).as_py() for values in images)
    numbers = np.stack([values.cast(pa.int64()).to_numpy() for values in images], axis=1) if are_numbers else None
    names = names or ()
    rows = np.stack([_look_up(values, names) for values in images], axis=1)
    if (rows < 0).any():
        if numbers is None:
            raise InputError(_unknown(images, rows, names, source))
        _check_no_names(images, names, source)
        logger.warning("the numbers in %s are read as row numbers of the images, from 0", source)
        return numbers
    if numbers is not None and (numbers < len(names)).all() and (numbers != rows).any():
        raise InputError(
            f"the numbers in {source} can be names of images or row numbers, because numbers name some images; name "
            "the images by file name"
        )
    used, counts = np.unique(np.asarray(names, dtype=str), return_counts=True)
    is_shared = np.isin(np.asarray(names, dtype=str), used[counts > 1])[rows]
    if is_shared.any():
        name = names[int(rows[is_shared][0])]
        raise InputError(f"{source} names {name!r}, but several images have this name; give each image its own name")
    return rows


def _check_no_names(images: list[pa.ChunkedArray], names: Sequence[str], source: str) -> None:
    """Raises an InputError if a number may be a name, such as 4 (or 004, read as a number) for `004.png`."""
    meant = {re.sub(r"^0+(?=\d)", "", Path(name).stem): name for name in reversed(names)}
    is_meant = np.stack([_look_up(values, list(meant)) >= 0 for values in images], axis=1)
    if is_meant.any():
        row, position = np.argwhere(is_meant)[0]
        number = images[position][row].as_py()
        raise InputError(
            f"row {row} of {source} has the image {number}, which can be the image {meant[number]!r} or the row "
            f"{number} from 0; write the full names of the images"
        )


def _unknown(images: list[pa.ChunkedArray], rows: np.ndarray, names: Sequence[str], source: str) -> str:
    """The message about cells that are not among `names`."""
    if not names:
        return (
            f"{source} names images, such as {images[0][0].as_py()!r}, but the images have no names: give "
            "`object_names`, or images with a column filename or concept"
        )
    cells = zip(images, rows.T, strict=True)
    unknown = list(dict.fromkeys(v for values, found in cells for v in values.filter(found < 0).unique().to_pylist()))
    listed = []
    for name in unknown[:SHOWN]:
        close = ", ".join(map(repr, get_close_matches(name, names, n=2)))
        listed.append(f"{name!r} (close: {close})" if close else repr(name))
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    return f"{source} names images that are not among the {len(names)}: {', '.join(listed)}{more}"
