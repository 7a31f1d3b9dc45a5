"""One file: complete or absent, with the permissions of the umask, and never written through a link."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError

from hf_alignet.errors import RunError

UNFINISHED = ".unfinished"
FAILED_WRITE = ("PytorchStreamWriter", "inline_container", "iostream")  # in torch's messages about a failed write
# What torch tells as "unexpected pos 174848 vs 174742"
CUT_OFF = "the disk took only a part of a file: it, or your share of it, is full"


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turns the errors of a failed write into RunError."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and not any(sign in str(error) for sign in FAILED_WRITE):
            raise
        why = CUT_OFF if "unexpected pos" in str(error) else error
        raise RunError(f"cannot write to {target}: {why}") from error


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
            temporary.unlink(missing_ok=True)  # it may be a link to a file elsewhere
            temporary.touch(exist_ok=False)
            mode = temporary.stat().st_mode  # by the umask, which safetensors does not follow
            yield temporary
            temporary.chmod(mode)
            sync(temporary)
            os.replace(temporary, file)
            sync(file.parent)
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


def write_array(file: str | Path, shape: tuple[int, ...], dtype: str, blocks: Iterable[np.ndarray]) -> None:
    """Writes a `.npy` file from blocks of its rows, for an array larger than the memory; see `whole_file`.

    It is not written through a memory map, where a full disk would kill the process without a message.
    """
    with whole_file(file) as temporary, open(temporary, "wb") as opened:
        write_header(opened, shape, np.dtype(dtype))
        for block in blocks:
            opened.write(np.ascontiguousarray(block, dtype).data)


def write_header(opened: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Writes what stands in a `.npy` file before the numbers."""
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(opened, {"descr": descr, "fortran_order": False, "shape": shape})


def sync(path: Path) -> None:
    """Returns when a file, or the names in a folder, have reached the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no directories
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
