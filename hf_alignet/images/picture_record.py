"""Which pictures something was made of: what triplets and embeddings record, to find the same pictures again.

A picture is known by a hash of its encoded bytes (a text by that of its letters), wherever it lies and whatever row it
has. Names are for messages; they may be private, so they are in a file of their own, which is never shared.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from accelerate.utils import gather_object
from datasets import Dataset
from PIL import Image
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.images.formats import regular_file
from hf_alignet.images.opening import IMAGE_COLUMN, as_encoded_images, as_stimuli, holds_texts
from hf_alignet.images.picture_list import PictureList
from hf_alignet.images.texts import TEXT_COLUMN
from hf_alignet.processes import this_process
from hf_alignet.storage import write_table

RECORD_FILE, NAMES_FILE = "pictures.parquet", "picture_names.parquet"
CONTENT, NAME, FILENAME = "content", "name", "filename"
AT_ONCE = 64  # pictures whose bytes are in memory together
UNREADABLE = 0  # in place of the hash of a file that cannot be opened; whoever reads the picture says why
ABSENT = -1  # in place of a row


@dataclass(frozen=True)
class PictureRecord:
    """n pictures in the order of their rows.

    Attributes:
        contents: (n,) uint64, a hash of the encoded bytes of each picture.
        names: the file name of each, with the folders below the one that holds all; None if some have no name.
    """

    contents: np.ndarray
    names: Sequence[str] | None = None

    @classmethod
    def of(cls, images: Dataset | PictureList, progress: bool = True) -> Self:
        """Reads every picture once, without decoding it. The processes of a launch share the work."""
        state = this_process()
        is_text = isinstance(images, Dataset) and holds_texts(images)
        column = TEXT_COLUMN if is_text else IMAGE_COLUMN
        encoded = images if isinstance(images, PictureList) else as_stimuli(images).select_columns(column)
        bounds = np.linspace(0, len(images), state.num_processes + 1).astype(int).tolist()
        start, end = bounds[state.process_index : state.process_index + 2]
        contents = np.empty(end - start, np.uint64)
        is_hidden = not progress or not state.is_main_process
        # The bar stays away if the work takes no time
        with tqdm(total=len(contents), desc="comparing images", unit="image", disable=is_hidden, delay=3) as bar:
            for first in range(start, end, AT_ONCE):
                part = range(first, min(first + AT_ONCE, end))
                values = encoded.rows[part.start : part.stop] if isinstance(encoded, PictureList) else encoded[part]
                values = values if isinstance(values, list) else values[column]
                contents[first - start : part.stop - start] = [_hash(value) for value in values]
                bar.update(len(part))
        return cls(np.concatenate(gather_object([contents])), None if is_text else _names(images))

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """The record in a directory; None if there is none.

        Raises:
            InputError: a file of it cannot be read.
        """
        if not (directory / RECORD_FILE).is_file():
            return None
        try:
            contents = pq.read_table(directory / RECORD_FILE)[CONTENT].to_numpy()
            has_names = (directory / NAMES_FILE).is_file()
            names = pq.read_table(directory / NAMES_FILE)[NAME].to_pylist() if has_names else None
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise InputError(f"cannot read the record of the images in {directory}: {error}") from error
        return cls(contents, names)

    def save(self, directory: Path) -> None:
        """Writes `pictures.parquet`, and `picture_names.parquet` if the pictures have names."""
        write_table(pa.table({CONTENT: self.contents}), directory / RECORD_FILE)
        if self.names is not None:
            write_table(pa.table({NAME: pa.array(self.names, pa.string())}), directory / NAMES_FILE)

    def __len__(self) -> int:
        return len(self.contents)

    @property
    def fingerprint(self) -> str:
        """A hash of all contents in their order."""
        return hashlib.blake2b(self.contents.astype("<u8").tobytes(), digest_size=16).hexdigest()

    def rows_in(self, other: "PictureRecord") -> np.ndarray:
        """(n,) the row in `other` of each picture, or `ABSENT`. Of copies that of the same name, else in order."""
        rows = np.full(len(self), ABSENT)
        if self.names is not None and other.names is not None:
            named = other._index(np.array(other.names, object))
            if named.is_unique:
                rows = named.get_indexer(self._index(np.array(self.names, object)))
        left, free = np.flatnonzero(rows == ABSENT), np.setdiff1d(np.arange(len(other)), rows)
        mine, others = (record.select(part) for record, part in ((self, left), (other, free)))
        places = others._index(others._copies()).get_indexer(mine._index(mine._copies()))
        rows[left] = np.append(free, ABSENT)[places]  # a place is -1 where nothing is found
        return rows

    def _index(self, second: np.ndarray) -> pd.MultiIndex:
        return pd.MultiIndex.from_arrays([self.contents, second])

    def _copies(self) -> np.ndarray:
        """(n,) how often the same picture came before."""
        return pd.Series(self.contents).groupby(self.contents).cumcount().to_numpy()

    def lost(self, rows: np.ndarray, other: "PictureRecord") -> str:
        """What happened to the pictures of some rows, which `other` lacks."""
        name = self._call(rows[0])
        has_changed = self.names is not None and other.names is not None and self.names[rows[0]] in other.names
        more = f" ({len(rows) - 1} more)" if len(rows) > 1 else ""
        return f"{name} {'has changed' if has_changed else 'is not among them'}{more}"

    def added(self, rows: np.ndarray) -> str:
        """Which pictures are in none of the `rows` that others have here; empty if there are none."""
        new = np.setdiff1d(np.arange(len(self)), rows)
        more = f" ({len(new) - 1} more)" if len(new) > 1 else ""
        return f"{self._call(new[0])} is new{more}" if len(new) else ""

    def difference(self, other: "PictureRecord") -> str | None:
        """How `other` differs; None if it has the same pictures in the same rows."""
        if np.array_equal(self.contents, other.contents):
            return None
        rows = self.rows_in(other)
        lost = np.flatnonzero(rows == ABSENT)
        return self.lost(lost, other) if len(lost) else other.added(rows) or "they are in another order"

    def select(self, rows: np.ndarray) -> "PictureRecord":
        """Some of the pictures, in this order."""
        return PictureRecord(self.contents[rows], None if self.names is None else [self.names[row] for row in rows])

    def _call(self, row: int) -> str:
        """A picture as messages name it."""
        return f"image row {row}" + (f" ({self.names[row]})" if self.names is not None else "")


def _hash(value: dict[str, Any] | Image.Image | str) -> int:
    """64 bits: two of a million different pictures are the same by chance once in 30 million data sets."""
    digest = hashlib.blake2b(digest_size=8)
    if isinstance(value, str):
        digest.update(value.encode())
    elif isinstance(value, Image.Image):
        digest.update(f"{value.mode} {value.size}".encode() + value.tobytes())
    elif value["bytes"] is not None:
        digest.update(value["bytes"])
    else:
        try:
            with open(regular_file(value["path"]), "rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
        except OSError:
            return UNREADABLE
    return int.from_bytes(digest.digest(), "little")


def _names(images: Dataset | PictureList) -> list[str] | None:
    paths: list[Any]
    if isinstance(images, PictureList):
        paths = [value["path"] if isinstance(value, dict) else None for value in images.rows]
    elif FILENAME in images.column_names:
        paths = images[FILENAME][:]
    else:
        # In a flat table the paths are a separate column, so the pictures are not read
        path = f"{IMAGE_COLUMN}.path"
        flat = as_encoded_images(images).select_columns(IMAGE_COLUMN).flatten().select_columns(path)
        paths = flat.with_format("arrow")[:][path].to_pylist()
    paths = [path for path in paths if isinstance(path, str) and path]
    if not paths or len(paths) < len(images):
        return None
    folders = {os.path.dirname(path) for path in paths}
    common = os.path.commonpath(folders) if all(map(os.path.isabs, folders)) else ""
    return [Path(os.path.relpath(path, common) if common else path).as_posix() for path in paths]
