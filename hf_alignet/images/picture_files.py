"""Files that cells of a dataset name instead of holding a picture: which may be opened, and whether they changed."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from hf_alignet.errors import InputError

IMAGE_COLUMN = "image"


def as_cells(root: str, paths: Sequence[str | None]) -> pa.Array:
    """Cells of a column of pictures for paths in a folder."""
    whole = pa.array([None if path is None else os.path.join(root, path) for path in paths], pa.string())
    return pa.StructArray.from_arrays(
        [pa.nulls(len(paths), pa.binary()), whole], ["bytes", "path"], mask=whole.is_null()
    )


def check_files(images: Dataset, folders: Sequence[Path], advice: str) -> None:
    """Raises an InputError if a cell of any column names a file that is no regular file in one of the folders.

    Somebody's dataset could name any file of this machine, or an address, and what it names would be shared.
    """
    roots = [folder.resolve() for folder in folders]
    for column, paths in _named_files(images):
        for path in pc.unique(paths).to_pylist():
            if not any(_is_regular_file_in(path, root) for root in roots):
                raise InputError(f"the column {column!r} names the file {path!r}: {advice}")


def refuse_files(images: Dataset, parameter: str) -> None:
    """Raises an InputError if a Dataset in memory, whoever made it, names files that `parameter` would share."""
    advice = f"`{parameter}` shares no file that a Dataset names; give `images` as the path of the folder of pictures"
    check_files(images, [], advice)


def content_fingerprint(images: Dataset) -> str:
    """The fingerprint of a dataset, which also changes if a file that it names gets another content.

    A file gets another content when its size or one of its times changes. Programs can set the time of the last
    change of a content, but not the time when they did so.
    """
    digest = hashlib.blake2b(images._fingerprint.encode(), digest_size=16)
    has_files = False
    for _, paths in _named_files(images):
        for path in paths.to_pylist():
            has_files = True
            digest.update(_state(path).encode())
    return digest.hexdigest() if has_files else images._fingerprint


def _is_regular_file_in(path: str, root: Path) -> bool:
    whole = os.path.realpath(path)
    return os.path.isabs(path) and Path(whole).is_relative_to(root) and os.path.isfile(whole)


def _state(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return "absent"
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _named_files(images: Dataset) -> Iterator[tuple[str, pa.Array | pa.ChunkedArray]]:
    """Paths of all cells without bytes, by column; also those in lists and structs, and of sounds and films."""
    for column in images.column_names:
        for chunk in images.data.column(column).chunks:
            for paths in _paths_in(chunk):
                if len(paths):
                    yield column, paths


def _paths_in(values: pa.Array) -> Iterator[pa.Array]:
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        yield from _paths_in(values.storage)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _paths_in(values.flatten())
    elif pa.types.is_struct(kind):
        names = {kind.field(i).name for i in range(kind.num_fields)}
        if {"bytes", "path"} <= names:
            yield pc.struct_field(values, "path").filter(pc.is_null(pc.struct_field(values, "bytes"))).drop_null()
        else:
            for name in sorted(names):
                yield from _paths_in(pc.struct_field(values, name))
