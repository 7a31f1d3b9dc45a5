"""Reads and writes arrays of three columns in `.npz` files in blocks, because file names can need gigabytes.

It reads files of `numpy.savez` and `numpy.savez_compressed`, without pickles, and writes files for `numpy.load`.
"""

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.storage import whole_file

BLOCK = 2**19  # rows: a hundred megabytes of file names
READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass
class StoredArray:
    """An array in an open archive. Only its header has been read."""

    archive: zipfile.ZipFile
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool

    @property
    def checksum(self) -> int:
        return self.archive.getinfo(f"{self.name}.npy").CRC

    def blocks(self) -> Iterator[np.ndarray]:
        """The array in read-only blocks (b, 3) of rows. Raises an InputError for too few or too many bytes."""
        with self.archive.open(f"{self.name}.npy") as stream:
            if self.is_fortran:  # it stores columns, not rows
                yield np.lib.format.read_array(stream, allow_pickle=False)
                return
            _read_header(stream)
            for start in range(0, self.shape[0], BLOCK):
                size = min(BLOCK, self.shape[0] - start) * 3 * self.dtype.itemsize
                data = stream.read(size)
                if len(data) < size:
                    raise InputError(f"the array {self.name!r} of {self.archive.filename} is cut off: get it again")
                yield np.frombuffer(data, self.dtype).reshape(-1, 3)
            if stream.read(1):
                raise InputError(f"the array {self.name!r} of {self.archive.filename} has data after its last row")


@contextmanager
def open_npz(path: Path) -> Iterator[dict[str, StoredArray]]:
    """The arrays of a file by name.

    Raises an InputError if the file is broken or no `.npz` (also while it is read), or it has Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            yield {name: _stored(archive, name) for name in names}
    except InputError:
        raise
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"cannot read {path}; it must be an .npz file of arrays: {error}") from error


def write_npz(path: str | Path, num_rows: int, arrays: Mapping[str, tuple[np.dtype, Iterable[np.ndarray]]]) -> None:
    """Writes arrays (num_rows, 3) by name, given as a type and blocks of rows; see `whole_file`."""
    # Three of four bytes of a file name are zero. A higher level of compression is slow and gains little
    with (
        whole_file(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for name, (dtype, blocks) in arrays.items():
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (num_rows, 3)}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array_header_1_0(stream, header)
                for block in blocks:
                    stream.write(block.astype(dtype, copy=False).tobytes())


def _stored(archive: zipfile.ZipFile, name: str) -> StoredArray:
    with archive.open(f"{name}.npy") as stream:
        shape, is_fortran, dtype = _read_header(stream)
    if dtype.hasobject:
        what = f"the array {name!r} of {archive.filename}"
        raise InputError(f"{what} has Python objects, which could run any code: save it as numbers or strings")
    return StoredArray(archive, name, shape, dtype, is_fortran)


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version not in READ_HEADER:
        raise ValueError(f"version {version} of NumPy's format is not supported")
    return READ_HEADER[version](stream)
