"""Folders: each complete or absent. They are made in a hidden working folder, and get their name at the end."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from hf_alignet.storage.output_folders import OURS, check_folder, empty, mark, output_folder
from hf_alignet.storage.whole_files import UNFINISHED, sync, write_text, writing

CHECKSUMS = "SHA256SUMS"
LARGE = 1_000_000  # bytes; a larger file gets a second name instead of a copy
WORK = "unfinished work"  # what made a working folder


@contextlib.contextmanager
def unfinished(directory: Path, name: str = UNFINISHED) -> Iterator[Path]:
    """Yields a new, empty folder inside `directory` to write in, and deletes it at the end. `publish` keeps a part.

    Raises an InputError if there is such a folder that is not ours, or another run is using it.
    """
    inside = directory / name
    with writing(directory), output_folder(inside, WORK, None):
        empty(inside)
        try:
            yield inside
        finally:
            with contextlib.suppress(OSError):  # the error that ends the work is the one to tell
                empty(inside)


@contextlib.contextmanager
def new_files(directory: Path) -> Iterator[Path]:
    """Yields a new, empty folder to write in. At the end its files move to `directory`, whose other files stay."""
    with unfinished(directory) as inside:
        made = inside / "made"
        made.mkdir()
        yield made
        for file in sorted(made.iterdir()):
            publish(file, directory / file.name)


def publish(made: Path, final: Path) -> None:
    """Gives a complete file or folder in `unfinished` its final name. It replaces what has that name."""
    mode = made.parent.stat().st_mode & 0o066
    for path in [made, *made.rglob("*")]:
        if path.is_file() and path.stat().st_nlink == 1:  # other names may be files of the user
            path.chmod(path.stat().st_mode | mode)  # the umask, which safetensors does not follow
        sync(path)
    if final.is_dir():
        os.replace(final, made.parent / "old")  # a directory can only replace an empty one
    os.replace(made, final)
    sync(final.parent)


def holding(directory: Path) -> contextlib.AbstractContextManager[Path]:
    """Keeps other runs from replacing a folder by `whole_directory` meanwhile."""
    return output_folder(_working_folder(directory), WORK)


def _working_folder(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}{UNFINISHED}")


@contextlib.contextmanager
def whole_directory(directory: str | Path, maker: str) -> Iterator[Path]:
    """Yields a new, empty folder to write in. At the end it replaces `directory`; after an error the old one stays.

    Raises an InputError if the old one was not made by `maker`, see `output_folder`.
    """
    directory = Path(directory).expanduser()
    check_folder(directory, maker)
    with unfinished(directory.parent, _working_folder(directory).name) as inside:
        made = inside / "made"
        made.mkdir()
        yield made
        check_folder(directory, maker)
        mark(made, maker)
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
    for file in sorted(path for path in directory.rglob("*") if path.is_file() and path.name not in OURS):
        with open(file, "rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        lines.append(f"{digest}  {file.relative_to(directory).as_posix()}\n")
    write_text(directory / CHECKSUMS, "".join(lines))
