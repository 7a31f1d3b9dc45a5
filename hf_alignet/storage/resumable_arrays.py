"""Arrays on disk that are filled step by step, across interruptions."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.storage.whole_files import sync, whole_file, write_array, write_header, write_json, writing
from hf_alignet.text_files import load_json

DONE = "done.npy"


class ResumableArray:
    """An array (n, …) on disk that is filled step by step. A run that was stopped continues where it was.

    The folder holds the array; `done.npy`, one byte for each chunk of rows, 1 after these rows have reached the disk;
    and a description, a JSON file that says what the array is made from. Rows that nobody has written take no space
    on the disk. Several processes may write different rows. An instance can be pickled; the arrays stay on the disk.

    Args:
        directory: an output folder (see `output_folder`); a leading `~` is the home directory.
        array: name of the file of the array, such as `pixels.npy`.
        description: name of the JSON file.
        chunk: number of rows that are finished together.
    """

    def __init__(self, directory: str | Path, array: str, description: str, chunk: int = 1):
        self.directory = Path(directory).expanduser()
        self.array, self.description, self.chunk = array, description, chunk

    def create(self, description: dict[str, Any], dtype: type[np.generic]) -> None:
        """Makes the files, or checks the description of those that exist; one process calls it, in its open folder.

        The description holds the `shape` of the array, and what else its content depends on, as JSON can hold it.

        Raises:
            InputError: the folder has an array with another description, or one that is damaged.
            RunError: the folder cannot be written.
        """
        file, what = self.directory / self.description, Path(self.array).stem
        if file.exists():
            found = self.check()
            different = [key for key in description if found.get(key) != description[key]]
            if different:
                raise InputError(
                    f"{self.directory} holds {what} of something else ({', '.join(different)} differ); "
                    "give another directory, or delete this one"
                )
            return
        shape = tuple(description["shape"])
        with whole_file(self.directory / self.array) as temporary, open(temporary, "wb") as opened:
            write_header(opened, shape, np.dtype(dtype))
            opened.truncate(opened.tell() + math.prod(shape) * np.dtype(dtype).itemsize)
        done = np.zeros(-(-shape[0] // self.chunk), np.uint8)
        write_array(self.directory / DONE, done.shape, "uint8", [done])
        write_json(file, description)  # last: it says that the others exist

    def check(self) -> dict[str, Any]:
        """The description of the array that the folder has; InputError if a file of it is damaged."""
        try:
            found = load_json(self.directory / self.description, "the description")
            shape = tuple(found["shape"])
            is_whole = (self.values.shape, self.done.shape) == (shape, (-(-shape[0] // self.chunk),))
        except (OSError, ValueError, EOFError, KeyError, TypeError, IndexError):
            is_whole = False
        if not is_whole:
            raise InputError(
                f"{self.directory} holds damaged {Path(self.array).stem}: {self.array}, {DONE} or {self.description} "
                "is not complete; delete this directory, or give another one"
            )
        return found

    @cached_property
    def values(self) -> np.memmap:
        """The array, a read-only memory map; it shows what is written later."""
        return np.load(self.directory / self.array, mmap_mode="r", allow_pickle=False)

    @cached_property
    def done(self) -> np.memmap:
        """(number of chunks,) uint8, a read-only memory map."""
        return np.load(self.directory / DONE, mmap_mode="r", allow_pickle=False)

    def write(self, start: int, rows: np.ndarray) -> None:
        """Writes rows (m, …) from row `start` on."""
        rows = np.ascontiguousarray(rows, self.values.dtype)
        with self._changing(self.array) as file:
            file.seek(self.values.offset + start * self.values[:1].nbytes)
            file.write(rows.data)

    def finish(self, chunks: list[int]) -> None:
        """Notes, when their rows have reached the disk, that chunks are complete."""
        with writing(self.directory):
            sync(self.directory / self.array)
        with self._changing(DONE) as file:
            for chunk in chunks:
                file.seek(self.done.offset + chunk)
                file.write(b"\1")

    @contextmanager
    def _changing(self, name: str) -> Iterator[Any]:
        # Not through a memory map, where a full disk would kill the process without a message
        with writing(self.directory), open(self.directory / name, "r+b") as file:
            yield file

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("values", "done")}
