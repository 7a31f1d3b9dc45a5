"""Opens files as what their names say, and gives the texts in them: values, keys, and metadata that nobody sees."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from PIL import Image
from safetensors import SafetensorError, safe_open

CHUNK = 4_194_304
MOST_ROWS = 65_536
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF"}
METADATA = re.compile(r"---\s*\n(.*?\n)---\s*(?:\n|$)", re.S)
OURS = "hf_alignet"  # named in every card that the package writes
# What the parser of a damaged file raises
DAMAGE = (
    *(OSError, ValueError, SyntaxError, RecursionError, EOFError, RuntimeError, KeyError, TypeError),
    *(yaml.YAMLError, SafetensorError, UnpicklingError, pa.ArrowException, Image.DecompressionBombError),
)


def texts_in(file: Path) -> Iterator[pa.Array]:
    """The texts in a file, in parts: values, keys and metadata, or the lines of a text.

    Of files with other endings than those of `READERS` nothing. A text in a card that the package did not write is
    left out, because it may show paths as examples.

    Raises:
        ValueError: the file is not what its name says.
    """
    read = READERS.get(file.suffix.lower())
    if read is None:
        return
    try:
        for texts in read(file):
            yield texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    except DAMAGE as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"no {file.suffix[1:]} file can be read from it ({said})") from error


def parquet_values(file: Path, only_bytes: bool = False) -> Iterator[pa.Array]:
    """The values of all columns of a parquet file, or only of those that hold bytes, such as pictures, in parts."""
    with pq.ParquetFile(file) as parquet:
        leaves = [parquet.schema.column(i) for i in range(len(parquet.schema))]
        kept = [leaf for leaf in leaves if leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type == "NONE"]
        groups = [parquet.metadata.row_group(i) for i in range(parquet.metadata.num_row_groups)]
        row_bytes = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0) + 1
        columns = [leaf.path for leaf in kept] if only_bytes else None
        for batch in parquet.iter_batches(max(1, min(MOST_ROWS, CHUNK // row_bytes)), columns=columns):
            for column in batch.columns:
                yield from _leaves(column)


def _leaves(array: Any) -> Iterator[pa.Array]:
    if pa.types.is_struct(array.type):
        for part in array.flatten():
            yield from _leaves(part)
    elif pa.types.is_dictionary(array.type):
        yield from _leaves(array.dictionary)
    elif pa.types.is_nested(array.type):
        yield from _leaves(array.flatten())
    else:
        yield array


def _lines(file: Path) -> Iterator[list[str]]:
    with open(file, encoding="utf-8") as opened:
        while lines := opened.readlines(CHUNK):
            if any("\0" in line for line in lines):
                raise ValueError("it holds bytes that are no text")
            yield lines


def _card(file: Path) -> Iterator[Sequence[str]]:
    text = "".join(line for lines in _lines(file) for line in lines)
    metadata = METADATA.match(text)
    if metadata is not None:
        yaml.safe_load(metadata[1])
        yield metadata[1].splitlines()
    if OURS in text:
        yield text.splitlines()


def _json(file: Path) -> Iterator[Sequence[str]]:
    yield list(_strings(json.loads(file.read_text(encoding="utf-8"))))


def _strings_of(text: str) -> Iterator[str]:
    """The texts in a text that may be JSON."""
    try:
        yield from _strings(json.loads(text))
    except (ValueError, RecursionError):
        yield text


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _yaml(file: Path) -> Iterator[Sequence[str]]:
    yaml.safe_load(file.read_text(encoding="utf-8"))
    yield from _lines(file)  # not its values: an alias can repeat them without end


def _svg(file: Path) -> Iterator[Sequence[str]]:
    _, root = next(ElementTree.iterparse(file, ["start"]))
    if not root.tag.endswith("svg"):
        raise ValueError(f"it begins with <{root.tag}>")
    yield from _lines(file)


def _picture(file: Path) -> Iterator[Sequence[str]]:
    with Image.open(file, formats=[PICTURES[file.suffix.lower()]]) as picture:
        picture.load()
        for name, value in picture.info.items():
            if isinstance(value, str | bytes) and name != "icc_profile":
                yield [str(name), value.decode("latin-1") if isinstance(value, bytes) else value]


def _safetensors(file: Path) -> Iterator[Sequence[str]]:
    with safe_open(file, framework="np") as opened:
        yield [*opened.keys(), *(text for item in (opened.metadata() or {}).items() for text in item)]


def _parquet(file: Path) -> Iterator[Any]:
    for key, value in (pq.read_metadata(file).metadata or {}).items():
        if key != b"ARROW:schema":  # says in base64 what the other keys and the names of the columns say
            yield [key.decode("utf-8", "replace"), *_strings_of(value.decode("utf-8", "replace"))]
    for values in parquet_values(file):  # reading all of them shows whether any page is damaged
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            yield values.drop_null().unique()


def _npy(file: Path) -> Iterator[Sequence[str]]:
    yield [str(np.load(file, mmap_mode="r", allow_pickle=False).dtype)]


def _torch(file: Path) -> Iterator[Sequence[str]]:
    from transformers.trainer_pt_utils import safe_globals

    with safe_globals():  # as Trainer loads it
        torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    yield []


READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    ".json": _json,
    **dict.fromkeys((".yaml", ".yml"), _yaml),
    ".md": _card,
    **dict.fromkeys((".csv", ".tsv"), _lines),
    ".svg": _svg,
    **dict.fromkeys(PICTURES, _picture),
    ".safetensors": _safetensors,
    ".parquet": _parquet,
    ".npy": _npy,
    **dict.fromkeys((".pt", ".pth"), _torch),
}
