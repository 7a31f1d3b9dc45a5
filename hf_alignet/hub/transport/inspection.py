"""Inspects files before an upload: no pickles, which could run any program, no local paths, and no access tokens."""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from huggingface_hub import get_token

from hf_alignet.errors import InputError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
PICKLE_PROTOCOLS = range(2, 6)  # earlier protocols have no marker
CHUNK = 4_194_304
NPY_MAGIC, NPY_HEADER = b"\x93NUMPY", 128
TOKEN, TOKEN_LENGTH = re.compile(rb"hf_[A-Za-z0-9]{34}"), 37
# An absolute path of any machine. A first folder of one letter is part of an identifier, such as /m/01yrx
ABSOLUTE = r"^(/[^/]{2,}/|[A-Za-z]:\\|~/|file://)"


def check_shareable(directory: Path, sources: Sequence[str] = ()) -> None:
    """Refuses, by an InputError that names it, a file that must not be uploaded.

    It is a pickle, or holds the home directory, the folder of a source, an absolute path as a value of a table, or an
    access token.

    Args:
        directory: with all files of the upload, and no others.
        sources: local paths that the directory was made from. No file may name their folders.
    """
    folders = [Path.cwd(), directory, *(Path(source).expanduser().parent for source in sources)]
    # A folder at the top, such as /data, may be part of an address
    places = [place for folder in folders if len((place := folder.resolve()).parts) > 2]
    if len(Path.home().parts) > 1:  # in containers the home directory may be /
        places.append(Path.home())
    secrets = {f"{place}/".encode(): f"the local path {place}" for place in places}
    if token := get_token():
        secrets[token.encode()] = "your access token"
    for file in sorted(file for file in directory.rglob("*") if file.is_file()):
        name = file.relative_to(directory).as_posix()
        with open(file, "rb") as opened:
            if file.name.lower().endswith(PICKLE_SUFFIXES) or _is_pickle(opened):
                raise InputError(
                    f"{name} is a pickle, which could run any program when somebody opens it, and is not uploaded: "
                    "save its content as safetensors, parquet or JSON"
                )
        for texts in _columns(file):
            paths = texts.filter(pc.match_substring_regex(texts, ABSOLUTE))
            if len(paths):
                raise InputError(
                    f"{name} holds the path {str(paths[0])!r} and is not uploaded: call pictures and other files by "
                    "their names alone, or by paths inside a folder"
                )
        for text in _texts(file, max([TOKEN_LENGTH, *map(len, secrets)])):
            for secret, what in secrets.items():
                if secret in text:
                    raise InputError(f"{name} holds {what} and is not uploaded: delete that from it")
            if TOKEN.search(text):
                raise InputError(f"{name} holds an access token of the Hub and is not uploaded: delete that from it")


def _is_pickle(file: IO[bytes]) -> bool:
    """Whether it is a pickle, an array of objects, or an archive with such a file, as torch and NumPy write."""
    head = file.read(NPY_HEADER)
    if head[:1] == b"\x80" and len(head) > 1 and head[1] in PICKLE_PROTOCOLS:
        file.seek(0)
        return not _is_safetensors(file)
    if head.startswith(NPY_MAGIC):
        return b"|O" in head
    file.seek(0)
    if head[:2] != b"PK" or not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(_is_pickle(io.BytesIO(archive.open(name).read(NPY_HEADER))) for name in archive.namelist())


def _is_safetensors(file: IO[bytes]) -> bool:
    """Whether it is a safetensors file: it begins with the length of its header, which can look like a pickle."""
    length = int.from_bytes(file.read(8), "little")
    try:
        return isinstance(json.loads(file.read(min(length, 100_000_000))), dict)
    except ValueError:
        return False


def _texts(file: Path, overlap: int) -> Iterator[bytes]:
    """The bytes of a file in chunks that overlap; of a parquet file, which is compressed, also the texts."""
    with open(file, "rb") as opened:
        last = b""
        while chunk := opened.read(CHUNK):
            yield last + chunk
            last = chunk[-overlap:]
    for texts in _columns(file):
        yield "\n".join(texts.to_pylist()).encode()


def _columns(file: Path) -> Iterator[Any]:
    """The distinct texts of each column of a parquet file, in parts; of other files nothing."""
    if file.suffix != ".parquet":
        return
    with pq.ParquetFile(file) as parquet:
        leaves = [parquet.schema.column(i) for i in range(len(parquet.schema))]
        paths = [leaf.path for leaf in leaves if leaf.logical_type.type == "STRING"]
        if paths:
            for batch in parquet.iter_batches(columns=paths):
                for column in batch.columns:
                    yield from _leaves(column)


def _leaves(array: Any) -> Iterator[Any]:
    """The texts of a column."""
    if pa.types.is_struct(array.type):
        for part in array.flatten():
            yield from _leaves(part)
    elif pa.types.is_dictionary(array.type):
        yield from _leaves(array.dictionary)
    elif pa.types.is_nested(array.type):
        yield from _leaves(array.flatten())
    elif len(array):
        yield pc.drop_null(pc.unique(array))
