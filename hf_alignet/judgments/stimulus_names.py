"""Names of stimuli: those of pictures, those in tables, lists and matrices, and which of them mean the same picture.

Published judgments have a list of their stimuli (the configuration `stimulus_names`).
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict

from hf_alignet.errors import InputError
from hf_alignet.images.opening import holds_texts
from hf_alignet.images.texts import TEXT_COLUMN
from hf_alignet.judgments.rows import TRIPLET, arrow_column, check_rows, column, named_table, with_triplets
from hf_alignet.sources import has_config, load_splits

CONFIG, NAME = "stimulus_names", "name"
SHOWN = 5  # names in a message
UNKNOWN, AMBIGUOUS = -1, -2  # instead of a row number
URL = re.compile(r"^[a-z][a-z0-9+.-]*://[^/]*/?", re.IGNORECASE)
SUFFIX = re.compile(r"\.[A-Za-z0-9]{2,5}$")

Parts = tuple[str, ...]


# ---- names of pictures


def image_names(images: Dataset) -> list[str] | None:
    """The name of each image: its `filename`, or else its `concept`, or else the file name of the picture, or a text.

    If pictures in several folders have the same file name, all names are paths from their common folder. A class
    becomes the name of the class, and a number becomes text. None if the images have no names. Raises an InputError
    if a cell of the column is empty, or cannot become text.
    """
    named_by = ("filename", "concept", *([TEXT_COLUMN] if holds_texts(images) else []))
    name = next((name for name in named_by if name in images.column_names), None)
    if name is None:
        cells = arrow_column(images, "image")
        paths = pc.struct_field(cells, "path").to_pylist() if pa.types.is_struct(cells.type) else []
        return _file_names(paths) if len(paths) == len(images) and None not in paths else None
    try:
        texts = named_table(images.select_columns(name))[name].cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"the column {name!r} of the images is no text, but {images.features[name]}") from error
    if None in texts:
        raise InputError(f"row {texts.index(None)} of the images has no {name}; name all images, or drop the column")
    return texts


def _file_names(paths: Sequence[str]) -> list[str]:
    names = [Path(path).name for path in paths]
    if len(set(names)) == len(names):
        return names
    folders = {os.path.dirname(path) for path in paths}
    if len({os.path.isabs(folder) for folder in folders}) > 1:
        return names
    common = os.path.commonpath(folders)
    return [os.path.relpath(path, common or ".").replace(os.sep, "/") for path in paths]


# ---- which names mean the same


def rows_by_name(stimuli: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The row among `names` of each stimulus, where each is one of its own (see `find_rows`).

    Returns:
        (n,) int64, `UNKNOWN` if no name matches the stimulus, `AMBIGUOUS` if several names or stimuli match.
    """
    rows = find_rows(stimuli, names)
    of_row = defaultdict(list)
    for i in np.flatnonzero(rows >= 0).tolist():
        of_row[int(rows[i])].append(i)
    for row, same in of_row.items():
        if len(same) > 1:
            exact = [i for i in same if stimuli[i] == names[row]]
            rows[[i for i in same if len(exact) != 1 or i != exact[0]]] = AMBIGUOUS
    return rows


def find_rows(cells: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The row among `names` that each cell means: the name that is written so, or else the one most alike.

    Composed and decomposed letters, backslashes and the server of an address do not matter. Of the names that end in
    the same folders and file as the cell, those with most of them in common count, even if one has another suffix or
    none; if there are none, case does not matter either.

    Returns:
        (n,) int64, `UNKNOWN` if no name matches the cell, `AMBIGUOUS` if several do, or if cells with different
        folders match the same name only by their last parts.
    """
    exact: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        exact[name].append(row)
    found = [exact.get(cell) for cell in cells]
    if None in found:
        index = _Index(names)
        found = [index.find(cell) if rows is None else rows for cell, rows in zip(cells, found, strict=True)]
    rows = np.array([r[0] if r and len(r) == 1 else AMBIGUOUS if r else UNKNOWN for r in found], np.int64)
    _refuse_different_folders(cells, names, rows)
    return rows


class _Index:
    """Rows of names by the ends of their paths."""

    def __init__(self, names: Sequence[str]):
        self.rows: dict[tuple[bool, bool, Parts], set[int]] = defaultdict(set)
        for row, name in enumerate(names):
            for key in self._keys(_parts(name)):
                self.rows[key].add(row)

    @staticmethod
    def _keys(parts: Parts) -> list[tuple[bool, bool, Parts]]:
        """From the most exact: with case before without, longer before shorter, with the suffix before without."""
        keys = []
        for is_folded in (False, True):
            spelled = tuple(part.casefold() for part in parts) if is_folded else parts
            for start in range(len(spelled)):
                tail = spelled[start:]
                keys += [(is_folded, False, tail), (is_folded, True, (*tail[:-1], SUFFIX.sub("", tail[-1])))]
        return keys

    def find(self, cell: str) -> list[int]:
        return next((sorted(self.rows[key]) for key in self._keys(_parts(cell)) if key in self.rows), [])


def _parts(name: str) -> Parts:
    """The folders and the file of a path or an address, in composed letters."""
    path = unicodedata.normalize("NFC", name).replace("\\", "/")
    if URL.match(path):
        path = unquote(re.split(r"[?#]", URL.sub("", path), maxsplit=1)[0])
    return tuple(part for part in path.split("/") if part not in ("", ".")) or (path,)


def _refuse_different_folders(cells: Sequence[str], names: Sequence[str], rows: np.ndarray) -> None:
    """Marks cells as ambiguous that mean one row but lie in different folders: cat/1.png, dog/1.png for 1.png."""
    inexact = [i for i in np.flatnonzero(rows >= 0).tolist() if cells[i] != names[rows[i]]]
    longest: dict[int, Parts] = {}
    for i in inexact:
        folders = tuple(part.casefold() for part in _parts(cells[i])[:-1])
        seen = longest.setdefault(int(rows[i]), folders)
        short, long = sorted((seen, folders), key=len)
        if long[len(long) - len(short) :] != short:
            is_same = rows == rows[i]
            rows[[j for j in inexact if is_same[j]]] = AMBIGUOUS
        else:
            longest[int(rows[i])] = long


def check_matched(
    rows: np.ndarray, stimuli: Sequence[str], source: str, images: str, names: Sequence[str] = ()
) -> None:
    """Raises an InputError that names stimuli of `source` whose row is `UNKNOWN` or `AMBIGUOUS` among the images.

    With the `names` of the images, it lists those that an ambiguous stimulus may be.
    """
    for kind, what in ((UNKNOWN, "are not among"), (AMBIGUOUS, "do not have one clear match among")):
        bad = np.flatnonzero(rows == kind)
        if len(bad):
            listed = ", ".join(describe(stimuli[row], names) for row in bad[:SHOWN])
            raise InputError(f"{len(bad)} stimuli of {source} {what} the {images}: {listed}")


def describe(stimulus: str, names: Sequence[str]) -> str:
    """A name with the names of all pictures that it may mean, if there are several."""
    rows = [row for row, name in enumerate(names) if name == stimulus] or _Index(names).find(stimulus)
    may_be = list(dict.fromkeys(names[row] for row in rows))[:SHOWN]
    return f"{stimulus!r} (may be {' or '.join(map(repr, may_be))})" if len(may_be) > 1 else repr(stimulus)


# ---- lists of stimuli in published judgments


def renumber(splits: DatasetDict, path_or_id: str, names: Sequence[str]) -> DatasetDict:
    """Judgments that point to the rows of `names`, whatever the order of the stimuli in their dataset `path_or_id`.

    Folders and suffixes do not matter if the names differ without them. Without a list of stimuli in the dataset, the
    judgments stay as they are. Raises an InputError if judged stimuli match none or several of the names.
    """
    if not has_config(path_or_id, CONFIG):
        return splits
    stimuli = load_splits(path_or_id, CONFIG)["train"][NAME][:]
    rows = np.arange(len(stimuli)) if stimuli == list(names) else rows_by_name(stimuli, names)
    renumbered = {}
    for split, judgments in splits.items():
        triplets = column(judgments, TRIPLET)
        check_rows(triplets, len(stimuli), f"{split!r} judgments")
        is_judged = np.isin(np.arange(len(stimuli)), triplets)
        check_matched(np.where(is_judged, rows, 0), stimuli, path_or_id, f"{len(names)} images", names)
        renumbered[split] = with_triplets(judgments, rows[triplets])
    return DatasetDict(renumbered)
