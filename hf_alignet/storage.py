"""Writes files: each is complete or absent, and long work continues where it stopped.

A file or folder is written under a hidden name. It gets its own name when it is complete and on the disk. So neither a
reader nor a run after a crash finds half a file. A hidden name begins with a dot and ends with `.unfinished`.
Everything that writes here raises RunError if the disk is full, or cannot be written for another reason.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Image
from datasets.table import embed_table_storage
from safetensors import SafetensorError
from tqdm.auto import tqdm

from hf_alignet.errors import InputError, RunError

UNFINISHED = ".unfinished"
FAILED_WRITE = ("PytorchStreamWriter", "inline_container", "iostream")  # in torch's messages about a failed write
SHARD_BYTES = 500_000_000
GROUP_BYTES, GROUP_ROWS = 50_000_000, 100_000  # of a row group, which a reader loads into memory
GROUP_IMAGES = 100
CHECKSUMS = "SHA256SUMS"
LARGE = 1_000_000  # bytes; a larger file gets a second name instead of a copy


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turns the errors of a failed write into RunError."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in FAILED_WRITE):
            raise
        raise RunError(f"cannot write to {target}: {error}") from error


def output_folder(path: str | Path) -> Path:
    """The folder `path`, which is made if it does not exist; a leading `~` is the home directory.

    Raises:
        InputError: there cannot be such a folder.
    """
    folder = Path(path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error}; give another `output_dir`") from error
    return folder


# ---- one file


@contextlib.contextmanager
def whole_file(file: str | Path) -> Iterator[Path]:
    """Yields a hidden path to write to. At the end, it replaces `file`; after an error the old file stays.

    A leading `~` of `file` is the home directory. The folder is made if it does not exist.

    Example:
        >>> with whole_file("embeddings.npy") as path, open(path, "wb") as opened:  # doctest: +SKIP
        ...     np.save(opened, embeddings)
    """
    file = Path(file).expanduser()
    temporary = file.with_name(f".{file.name}{UNFINISHED}")
    with writing(file):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary.touch()
            mode = temporary.stat().st_mode  # by the umask, which safetensors does not follow
            yield temporary
            temporary.chmod(mode)
            _sync(temporary)
            os.replace(temporary, file)
            _sync(file.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(file: str | Path, text: str) -> None:
    """Writes a text file in UTF-8; see `whole_file`."""
    with whole_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(file: str | Path, content: dict[str, Any]) -> None:
    """Writes a JSON file; see `whole_file`."""
    write_text(file, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_table(table: pa.Table, file: str | Path, **options: Any) -> None:
    """Writes a parquet file; see `whole_file`. The options are those of `pyarrow.parquet.write_table`."""
    with whole_file(file) as temporary:
        pq.write_table(table, temporary, **options)


@contextlib.contextmanager
def whole_array(file: str | Path, shape: tuple[int, ...], dtype: str) -> Iterator[np.memmap]:
    """Yields a memory map of a `.npy` file to fill, for an array larger than the memory; see `whole_file`."""
    with whole_file(file) as temporary:
        array = np.lib.format.open_memmap(temporary, "w+", np.dtype(dtype), shape)
        if hasattr(os, "posix_fallocate"):  # a full disk would kill the process that writes to the map
            with open(temporary, "r+b") as opened:
                os.posix_fallocate(opened.fileno(), 0, temporary.stat().st_size)
        yield array
        array.flush()


# ---- folders


@contextlib.contextmanager
def unfinished(directory: Path, name: str = UNFINISHED) -> Iterator[Path]:
    """Yields a new, empty folder inside `directory` to write in, and deletes it at the end. `publish` keeps a part."""
    inside = directory / name
    with writing(directory):
        try:
            shutil.rmtree(inside, ignore_errors=True)
            inside.mkdir(parents=True)
            yield inside
        finally:
            shutil.rmtree(inside, ignore_errors=True)


def publish(made: Path, final: Path) -> None:
    """Gives a complete file or folder in `unfinished` its final name. It replaces what has that name."""
    mode = made.parent.stat().st_mode & 0o066
    for path in [made, *made.rglob("*")]:
        if path.is_file() and path.stat().st_nlink == 1:  # other names may be files of the user
            path.chmod(path.stat().st_mode | mode)  # the umask, which safetensors does not follow
        _sync(path)
    if final.is_dir():
        os.replace(final, made.parent / "old")  # a directory can only replace an empty one
    os.replace(made, final)
    _sync(final.parent)


@contextlib.contextmanager
def whole_directory(directory: str | Path) -> Iterator[Path]:
    """Yields a new, empty folder to write in. At the end it replaces `directory`; after an error the old one stays."""
    directory = Path(directory).expanduser()
    with unfinished(directory.parent, f".{directory.name}{UNFINISHED}") as inside:
        made = inside / "made"
        made.mkdir()
        yield made
        publish(made, directory)


def take_files(source: Path, names: Iterable[str], target: Path) -> None:
    """Copies files from one folder to another, under the same names.

    A large file gets a second name instead, which takes no time and no space: do not write to it.
    """
    for name in names:
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).stat().st_size > LARGE:
            with contextlib.suppress(OSError):  # another disk, or a file system without second names
                os.link((source / name).resolve(), file)
                continue
        shutil.copyfile(source / name, file)


def write_checksums(directory: Path) -> None:
    """Writes `SHA256SUMS`, the checksums of all files in the folder; `sha256sum --check` reads it."""
    lines = []
    for file in sorted(path for path in directory.rglob("*") if path.is_file()):
        with open(file, "rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        lines.append(f"{digest}  {file.relative_to(directory).as_posix()}\n")
    write_text(directory / CHECKSUMS, "".join(lines))


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no directories
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- datasets


def write_dataset(
    dataset: Dataset, folder: Path, split: str, progress: bool = True, shard_bytes: int = SHARD_BYTES
) -> None:
    """Writes a split as parquet files `{split}-00000-of-00002.parquet` and so on, the same bytes each time.

    Pictures that lie in files of their own are put into the parquet files. Each keeps its file name, without folders.

    A file is closed before it holds more than `shard_bytes`, counted before compression. InputError without rows.
    """
    if len(dataset) == 0:
        raise InputError(f"the split {split!r} of {folder.name} has no rows")
    columns = [name for name, feature in dataset.features.items() if isinstance(feature, Image)]
    for name in columns:
        dataset = dataset.cast_column(name, Image())
    row_bytes = dataset.data.nbytes // max(1, len(dataset.data)) + 1
    step = GROUP_IMAGES if columns else max(1, min(GROUP_ROWS, GROUP_BYTES // row_bytes))
    schema, arrow = dataset.features.arrow_schema, dataset.with_format("arrow")
    size, number = 0, 0
    with unfinished(folder, f".{split}{UNFINISHED}") as inside:
        with contextlib.ExitStack() as opened:
            for start in tqdm(range(0, len(dataset), step), f"{folder.name}, {split}", disable=not progress):
                table = embed_table_storage(arrow[start : start + step].cast(schema))
                if number == 0 or size + table.nbytes > shard_bytes:
                    opened.close()  # the file before
                    file = pq.ParquetWriter(inside / f"{number:05d}", schema, compression="zstd")
                    writer = opened.enter_context(file)
                    size, number = 0, number + 1
                writer.write_table(table)
                size += table.nbytes
        for index in range(number):
            publish(inside / f"{index:05d}", folder / f"{split}-{index:05d}-of-{number:05d}.parquet")


# ---- arrays that are filled step by step


class ResumableArray:
    """An array (n, …) on disk that is filled step by step. A run that was stopped continues where it was.

    The folder holds the array; `done.npy`, one byte for each chunk of rows, 1 after these rows have reached the disk;
    and a description, a JSON file that says what the array is made from. Rows that nobody has written take no space
    on the disk. Several processes may write different rows. An instance can be pickled; the arrays stay on the disk.

    Args:
        directory: a leading `~` is the home directory.
        array: name of the file of the array, such as `pixels.npy`.
        description: name of the JSON file.
        chunk: number of rows that are finished together.
    """

    def __init__(self, directory: str | Path, array: str, description: str, chunk: int = 1):
        self.directory = Path(directory).expanduser()
        self.array, self.description, self.chunk = array, description, chunk

    def create(self, description: dict[str, Any], dtype: type[np.generic]) -> None:
        """Makes the files, or checks the description of those that exist; one process calls it.

        The description holds the `shape` of the array, and what else its content depends on, as JSON can hold it.

        Raises:
            InputError: the folder has an array with another description or a damaged one, or cannot be written.
        """
        file, what = self.directory / self.description, Path(self.array).stem
        is_new = not self.directory.exists()  # first: another run makes it with all files in it
        if file.exists():
            found = self.check()
            different = [key for key in description if found.get(key) != description[key]]
            if different:
                raise InputError(
                    f"{self.directory} holds {what} of something else ({', '.join(different)} differ); "
                    "give another directory, or delete this one"
                )
            return
        try:
            self._create(self.directory.parent if is_new else self.directory, is_new, description, dtype)
        except (OSError, RunError) as error:
            if not file.exists():  # else another run was faster
                raise InputError(f"cannot make the directory {self.directory} for {what}: {error}") from error

    def check(self) -> dict[str, Any]:
        """The description of the array that the folder has; InputError if a file of it is damaged."""
        try:
            found = json.loads((self.directory / self.description).read_text(encoding="utf-8"))
            shape = tuple(found["shape"])
            is_whole = (self.values.shape, self.done.shape) == (shape, (-(-shape[0] // self.chunk),))
        except (OSError, ValueError, EOFError, KeyError, TypeError, IndexError):
            is_whole = False
        if not is_whole:
            raise InputError(
                f"{self.directory} holds damaged {Path(self.array).stem}: {self.array}, done.npy or "
                f"{self.description} is not complete; delete this directory, or give another one"
            )
        return found

    def _create(self, parent: Path, is_new: bool, description: dict[str, Any], dtype: type[np.generic]) -> None:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", suffix=UNFINISHED, dir=parent) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()  # with the permissions by the umask, unlike the one around it
            shape = tuple(description["shape"])
            np.lib.format.open_memmap(made / self.array, "w+", dtype, shape).flush()
            np.save(made / "done.npy", np.zeros(-(-shape[0] // self.chunk), np.uint8))
            write_json(made / self.description, description)
            if is_new:
                os.rename(made, self.directory)
            else:
                for name in (self.array, "done.npy", self.description):  # last what says that the others exist
                    os.replace(made / name, self.directory / name)

    @cached_property
    def values(self) -> np.memmap:
        """The array, a read-only memory map; it shows what is written later."""
        return np.load(self.directory / self.array, mmap_mode="r", allow_pickle=False)

    @cached_property
    def done(self) -> np.memmap:
        """(number of chunks,) uint8, a read-only memory map."""
        return np.load(self.directory / "done.npy", mmap_mode="r", allow_pickle=False)

    def write(self, start: int, rows: np.ndarray) -> None:
        """Writes rows (m, …) from row `start` on."""
        rows = np.ascontiguousarray(rows, self.values.dtype)
        offset = self.values.offset + start * self.values[:1].nbytes
        # Not through a memory map, where a full disk would kill the process without a message
        with writing(self.directory), open(self.directory / self.array, "r+b") as file:
            file.seek(offset)
            file.write(rows.data)

    def finish(self, chunks: list[int]) -> None:
        """Notes, when their rows have reached the disk, that chunks are complete."""
        with writing(self.directory):
            _sync(self.directory / self.array)
        done = np.load(self.directory / "done.npy", mmap_mode="r+", allow_pickle=False)
        done[chunks] = 1
        done.flush()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("values", "done")}
