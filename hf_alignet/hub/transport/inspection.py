"""Inspects files before an upload: each is what its name says, can run no program, and tells nothing private.

Every upload of the package goes through `check_shareable`, with exactly the files that are uploaded.
"""

import getpass
import io
import json
import logging
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow.compute as pc
from huggingface_hub import get_token
from huggingface_hub.utils import filter_repo_objects

from hf_alignet.errors import InputError
from hf_alignet.hub.transport.camera_data import count_camera_data
from hf_alignet.hub.transport.file_formats import CHUNK, texts_in
from hf_alignet.storage import OURS

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
PICKLE_PROTOCOLS = range(2, 6)  # earlier protocols have no marker
NPY_MAGIC, NPY_HEADER = b"\x93NUMPY", 128
# Of a user, and of an organisation; one pattern for both would be ten times slower
TOKENS = (re.compile(rb"hf_[A-Za-z0-9]{30}"), re.compile(rb"api_org_[A-Za-z0-9]{30}"))
TOKEN_LENGTH = 40
# An absolute path of any machine, in the syntax of RE2. A first folder of one letter is part of an identifier, such as
# /m/01yrx. In a table a text is a path as a whole; elsewhere it may stand in a sentence or a command
ROOT = r"(/[^/\s]{2,}/|[A-Za-z]:\\|\\\\\w|~/|file://)"
PATH, PATH_INSIDE = f"^{ROOT}", rf"(?:^|[\s\"'`=,;:|(\[{{]){ROOT}"

logger = logging.getLogger(__name__)


def regular_files(directory: Path, patterns: Iterable[str]) -> list[str]:
    """The paths, inside a folder, of its files that match patterns, without the marker of the folder.

    Raises:
        InputError: one of them is a link to what lies outside, a pipe or the like.
    """
    files = [path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()]
    every = sorted(path.relative_to(directory).as_posix() for path in files if path.name not in OURS)
    names = list(filter_repo_objects(every, allow_patterns=list(patterns)))
    for name in names:
        file = directory / name
        if not file.resolve().is_relative_to(directory.resolve()):
            raise InputError(f"{name} in {directory} is a link to {file.resolve()}: put the file itself there")
        if not (file.exists() and stat.S_ISREG(file.stat().st_mode)):
            raise InputError(f"{name} in {directory} is no regular file: delete it")
    return names


def check_shareable(
    directory: Path, sources: Sequence[str] = (), names: Iterable[str] | None = None, states: Sequence[str] = ()
) -> None:
    """Refuses, by an InputError that names it, a file that must not be uploaded.

    It is no regular file, or not what its name says; a pickle; or holds an access token, an absolute path, or the
    name of the user in a path. Pictures that tell where they were taken, or by whom, are counted in a warning.

    Args:
        directory: the folder.
        sources: local paths that the directory was made from. No file may name their folders.
        names: the paths in it of the files that are uploaded; by default all.
        states: patterns of the only pickles that are uploaded, the states of an optimizer and the like that a resumed
            training reads. They must open without running code.
    """
    names = regular_files(directory, ["*"] if names is None else names)
    allowed = set(filter_repo_objects(names, allow_patterns=list(states)))
    secrets, person = _secrets(directory, sources), _person()
    camera_data: Counter[str] = Counter()
    for name in names:
        file = directory / name
        with open(file, "rb") as opened:
            if name not in allowed and (name.lower().endswith(PICKLE_SUFFIXES) or _is_pickle(opened)):
                raise InputError(
                    f"{name} is a pickle, which could run any program when somebody opens it, and is not uploaded: "
                    "save its content as safetensors, parquet or JSON"
                )
        for text in _chunks(file, max([TOKEN_LENGTH, *map(len, secrets)])):
            _check_text(text, name, secrets)
        pattern = PATH if file.suffix == ".parquet" else PATH_INSIDE
        pattern = f"{pattern}|{person}" if person else pattern
        try:
            for texts in texts_in(file):
                _check_text("\n".join(texts.to_pylist()).encode(), name, secrets)
                paths = texts.filter(pc.match_substring_regex(texts, pattern))
                if len(paths):
                    raise InputError(
                        f"{name} holds the path {str(paths[0])[:200]!r} and is not uploaded: call pictures and other "
                        "files by their names alone, or by paths inside a folder"
                    )
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{name} is damaged and is not uploaded: {error}; delete it, or make it again") from error
        camera_data += count_camera_data(file)
    if camera_data:
        told = ", ".join(f"{number} tell {what}" for what, number in sorted(camera_data.items()))
        logger.warning(
            "of the pictures in %s, %s (EXIF, XMP), and everyone who downloads them can read that: remove it, for "
            "example by `exiftool -all=`, unless you want to share it",
            directory,
            told,
        )


def _secrets(directory: Path, sources: Sequence[str]) -> dict[bytes, str]:
    """What no file may hold, and what it is."""
    folders = [Path.cwd(), directory, *(Path(source).expanduser().parent for source in sources)]
    # A folder at the top, such as /data, may be part of an address
    places = [place for folder in folders if len((place := folder.resolve()).parts) > 2]
    if len(Path.home().parts) > 1:  # in containers the home directory may be /
        places.append(Path.home())
    secrets = {f"{place}/".encode(): f"the local path {place}" for place in places}
    if token := get_token():
        secrets[token.encode()] = "your access token"
    return secrets


def _person() -> str | None:
    """A pattern of the name of the user in a path, but not in a URL or a Hub id; None for the user of a container."""
    home = Path.home()
    return rf"^[^:]*[/\\]{re.escape(home.name)}[/\\]" if len(home.parts) > 2 and home.name == _login() else None


def _login() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in some containers
        return None


def _check_text(text: bytes, name: str, secrets: dict[bytes, str]) -> None:
    for secret, what in secrets.items():
        if secret in text:
            raise InputError(f"{name} holds {what} and is not uploaded: delete that from it")
    if any(token.search(text) for token in TOKENS):
        raise InputError(f"{name} holds an access token of the Hub and is not uploaded: delete that from it")


def _chunks(file: Path, overlap: int) -> Iterator[bytes]:
    with open(file, "rb") as opened:
        last = b""
        while chunk := opened.read(CHUNK):
            yield last + chunk
            last = chunk[-overlap:]


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
