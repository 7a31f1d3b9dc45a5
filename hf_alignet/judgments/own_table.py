"""A table of your own raters: `image_1, image_2, image_3, odd_one_out`, and where known who, how fast and which level.

Images are named by file name or concept, or by row number from 0 where no number can be meant as an image's name.
`odd_one_out` is one of the three names, or the position 1, 2 or 3; which of the two holds for the whole table.
Optional are `participant`, `rt` (seconds), `level` and `is_catch`.
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
from hf_alignet.judgments.judgment_dataset import IS_CATCH, LEVEL, PARTICIPANT, RT, make_judgments
from hf_alignet.judgments.rows import arrow_column

logger = logging.getLogger(__name__)

IMAGES = ("image_1", "image_2", "image_3")
CHOICE = "odd_one_out"
REQUIRED = (*IMAGES, CHOICE)
OPTIONAL = (PARTICIPANT, RT, LEVEL, IS_CATCH)
NUMBER = r"^(0|[1-9]\d{0,17})$"  # in int64
SHOWN = 5  # unknown names in a message


def image_names(images: Dataset) -> list[str] | None:
    """The name of every image: its `filename`, or its `concept`, or the name of the file that the picture came from.

    Classes are called by their names, and values that are no text, such as numbers, as they are printed.

    Returns:
        One name a row, None where there are none.

    Raises:
        InputError: the column holds what cannot be a name, or lacks one (names the row).
    """
    for name in ("filename", "concept"):
        if name in images.column_names:
            return _texts(images, name)
    cells = arrow_column(images, "image")
    paths = pc.struct_field(cells, "path").to_pylist() if pa.types.is_struct(cells.type) else []
    names = [Path(path).name for path in paths if path is not None]
    return names if len(names) == len(images) else None


def _texts(images: Dataset, name: str) -> list[str]:
    try:
        texts = named_table(images.select_columns(name))[name].cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"the column {name!r} of the images is no text, but {images.features[name]}") from error
    if None in texts:
        raise InputError(f"row {texts.index(None)} of the images has no {name}; name all images, or drop the column")
    return texts


def named_table(dataset: Dataset) -> pa.Table:
    """The table of a dataset, with the names of classes in place of their numbers; null where there is no class."""
    table = dataset.with_format("arrow")[:]
    for i, name in enumerate(table.column_names):
        feature = dataset.features[name]
        if isinstance(feature, ClassLabel):
            numbers = pc.if_else(pc.less(table[name], 0), None, table[name])
            table = table.set_column(i, name, pc.take(pa.array(feature.names, pa.string()), numbers))
    return table


def is_own_table(header: Sequence[str]) -> bool:
    """Whether a table with these columns is meant as one of this form."""
    return any(name in header for name in IMAGES)


def read_own_table(table: pa.Table, names: Sequence[str] | None, source: str) -> Dataset:
    """The judgments of such a table.

    Args:
        table: with the columns above.
        names: of the images, in the order of their rows (see `image_names`); not needed for row numbers.
        source: for the messages.

    Raises:
        InputError: a column or a cell is missing, a name is unknown (lists the first, with those that are close) or
            belongs to several images, a number could be read as a name and as a row, the choice is not one of the
            triplet, or it could be read as a name and as a position.
    """
    missing = [name for name in REQUIRED if name not in table.column_names]
    if missing:
        raise InputError(
            f"{source} lacks the column {' and '.join(missing)}; it has {', '.join(table.column_names)}, and needs "
            f"{', '.join(REQUIRED)} (optional: {', '.join(OPTIONAL)})"
        )
    cells = {name: table[name].cast(pa.string()) for name in REQUIRED}
    for name, values in cells.items():
        if values.null_count:
            raise InputError(f"row {pc.index(pc.is_null(values), True).as_py()} of {source} has no {name}")
    images = [cells[name] for name in IMAGES]
    odd = _positions(images, cells[CHOICE], source)
    extra = {name: table[name] for name in OPTIONAL if name in table.column_names}
    return make_judgments(_row_numbers(images, names, source), odd, **extra)


def _positions(images: list[pa.ChunkedArray], choice: pa.ChunkedArray, source: str) -> np.ndarray:
    """(n,) position 0-2 of the odd one out, from its name or its position."""
    is_chosen = np.stack([pc.equal(values, choice).to_numpy() for values in images], axis=1)
    by_name = np.where(is_chosen.any(1), is_chosen.argmax(1), -1)
    by_position = _look_up(choice, ["1", "2", "3"])
    if (by_name >= 0).all():
        if (by_position >= 0).all() and (by_name != by_position).any():
            row = int((by_name != by_position).argmax())
            raise InputError(
                f"{CHOICE} of {source} can be read as the number of an image and as a position: row {row} has the "
                f"images {_row(images, row)} and the odd one out {choice[row]}; name the images by file name"
            )
        return by_name
    if (by_position >= 0).all():
        return by_position
    row = int(np.where((by_position >= 0).any(), (by_name < 0) & (by_position < 0), by_name < 0).argmax())
    raise InputError(
        f"row {row} of {source} chooses {choice[row].as_py()!r} of the images {_row(images, row)}; {CHOICE} must name "
        "one of the three in every row, or be the position 1, 2 or 3 in every row"
    )


def _look_up(values: pa.ChunkedArray, names: Sequence[str]) -> np.ndarray:
    """(n,) place of each value among the names, or -1."""
    return pc.index_in(values, pa.array(names, pa.string())).fill_null(-1).to_numpy()


def _row(images: list[pa.ChunkedArray], row: int) -> str:
    return ", ".join(repr(values[row].as_py()) for values in images)


def _row_numbers(images: list[pa.ChunkedArray], names: Sequence[str] | None, source: str) -> np.ndarray:
    """(n, 3) rows of the image dataset, from names, or from numbers that cannot be meant as names."""
    are_numbers = all(pc.all(pc.match_substring_regex(values, NUMBER)).as_py() for values in images)
    numbers = np.stack([values.cast(pa.int64()).to_numpy() for values in images], axis=1) if are_numbers else None
    names = names or ()
    rows = np.stack([_look_up(values, names) for values in images], axis=1)
    if (rows < 0).any():
        if numbers is None:
            raise InputError(_unknown(images, rows, names, source))
        _check_meant_as_rows(images, names, source)
        logger.warning("the images of %s are read as row numbers from 0", source)
        return numbers
    if numbers is not None and (numbers < len(names)).all() and (numbers != rows).any():
        raise InputError(
            f"the images of {source} can be read as names and as row numbers, since some images are named by numbers; "
            "name them by file name"
        )
    used, counts = np.unique(np.asarray(names, dtype=str), return_counts=True)
    is_shared = np.isin(np.asarray(names, dtype=str), used[counts > 1])[rows]
    if is_shared.any():
        name = names[int(rows[is_shared][0])]
        raise InputError(f"{source} names {name!r}, which is the name of several images; use names that differ")
    return rows


def _check_meant_as_rows(images: list[pa.ChunkedArray], names: Sequence[str], source: str) -> None:
    """Refuses numbers of which one may be meant as a name, such as 4 (or 004 that became a number) for `004.png`."""
    meant = {re.sub(r"^0+(?=\d)", "", Path(name).stem): name for name in reversed(names)}
    is_meant = np.stack([_look_up(values, list(meant)) >= 0 for values in images], axis=1)
    if is_meant.any():
        row, position = np.argwhere(is_meant)[0]
        number = images[position][row].as_py()
        raise InputError(
            f"row {row} of {source} has the image {number}, which may mean the image {meant[number]!r} or the row "
            f"{number}, from 0; write names in full, as the images have them"
        )


def _unknown(images: list[pa.ChunkedArray], rows: np.ndarray, names: Sequence[str], source: str) -> str:
    """The message about the names that are not among `names`."""
    if not names:
        return (
            f"{source} names images, such as {images[0][0].as_py()!r}, but the images have no names: give "
            "`object_names`, or images with a column filename or concept"
        )
    cells = zip(images, rows.T, strict=True)
    unknown = list(dict.fromkeys(v for values, found in cells for v in values.filter(found < 0).unique().to_pylist()))
    first = []
    for name in unknown[:SHOWN]:
        close = get_close_matches(name, names, n=2)
        first.append(repr(name) + (f" (close: {', '.join(map(repr, close))})" if close else ""))
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    return f"{source} names images that are not among the {len(names)}: {', '.join(first)}{more}"
