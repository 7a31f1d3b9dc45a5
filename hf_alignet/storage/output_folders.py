"""Output folders: opened in one place, marked as ours, and used by one run at a time.

A folder that we make holds a marker, a small hidden file that says which command made it. A folder that is not empty,
and has no marker or that of another command, is not ours: nothing in it is overwritten or deleted. The lock beside the
marker dies with its process. Neither file is shared.
"""

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from hf_alignet.errors import InputError
from hf_alignet.storage.whole_files import UNFINISHED, write_json
from hf_alignet.text_files import load_json

MARKER, LOCK = ".hf_alignet", ".hf_alignet.lock"
OURS = {MARKER, LOCK, f".{MARKER}{UNFINISHED}"}


@contextlib.contextmanager
def output_folder(
    path: str | Path, maker: str, parameter: str | None = "output_dir", is_main: bool = True, wait: float = 0
) -> Iterator[Path]:
    """Opens a folder for the results of a command, before its work begins. No other run can open it meanwhile.

    The folder is made if it does not exist, and disappears again if nothing was written to it. The same process can
    open it again inside.

    Args:
        path: of the folder; a leading `~` is the home directory.
        maker: the command, such as `evaluate`.
        parameter: that names the folder, for messages; None for a folder that no parameter names.
        is_main: whether this is the main process of a launch. Others get only the path.
        wait: for how many seconds to wait for another run.

    Raises:
        InputError: there cannot be such a folder, or it cannot be written, or it is not ours, or is in use.
    """
    folder = as_folder(path, parameter)
    advice = f"; give another `{parameter}`" if parameter is not None else ""
    if not is_main:
        yield folder
        return
    with _refusing(path, advice):
        is_new = not folder.exists() or folder.name.endswith(UNFINISHED)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.resolve() / LOCK, is_singleton=True)
        is_inside = lock.is_locked  # this process has opened it, so it is ours
        if not is_inside:
            check_folder(folder, maker, parameter)
        try:
            lock.acquire(timeout=wait)
        except Timeout as error:
            raise InputError(f"{folder} is in use by {_owner(folder)}: wait for it{advice}") from error
    try:
        if not is_inside:
            check_folder(folder, maker, parameter)  # again: another run may have had it in between
            mark(folder, maker)
        yield folder
    finally:
        if not is_inside:
            _tidy(folder, is_new)
        lock.release()


def as_folder(path: str | Path, parameter: str | None = "output_dir") -> Path:
    """The path, with the home directory for a leading `~`. Raises an InputError if it is empty."""
    if not str(path).strip():
        raise InputError(f"`{parameter}` is empty: name a folder")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # a home directory of nobody
        raise InputError(f"cannot write to {path}: {error}") from error


def make_folder(path: str | Path) -> None:
    """Makes a folder for results if it does not exist. Raises an InputError if there cannot be such a folder."""
    with _refusing(path, "; give another `output_dir`"):
        as_folder(path).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _refusing(path: str | Path, advice: str) -> Iterator[None]:
    """Turns what goes wrong when a folder is opened into an InputError."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot write to {path}: {error}{advice}") from error


def check_folder(folder: Path, maker: str, parameter: str | None = "output_dir") -> None:
    """Raises an InputError if something is in the folder, and that command did not make it."""
    advice = f"move it away{f', or give another `{parameter}`' if parameter is not None else ''}"
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file, and not a folder: {advice}")
    others = sorted(path.name for path in folder.iterdir() if path.name not in OURS)
    found = _read(folder).get("made_by")
    if others and found is None:
        raise InputError(f"{folder} holds {others[0]!r}, and hf_alignet did not make this folder: {advice}")
    if others and found != maker:
        raise InputError(f"{folder} was made by another command, {found}, not by {maker}: {advice}")


def mark(folder: Path, maker: str) -> None:
    """Notes in the folder that it is ours, and who is at work there."""
    write_json(folder / MARKER, {"made_by": maker, "pid": os.getpid(), "host": socket.gethostname()})


def empty(folder: Path) -> None:
    """Deletes what an open output folder holds, but for marker and lock."""
    for path in [path for path in folder.iterdir() if path.name not in OURS]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def require_space(folder: Path, num_bytes: int, parameter: str = "output_dir") -> None:
    """Raises an InputError if the disk has no room for so many bytes in a folder; what it holds counts as room."""
    held = sum(getattr(file.stat(), "st_blocks", 0) * 512 for file in folder.rglob("*") if file.is_file())
    free = shutil.disk_usage(folder).free
    if num_bytes > free + held:
        raise InputError(
            f"{folder} needs {num_bytes / 1e9:.3g} GB, and its disk has {free / 1e9:.3g} GB left: make room, or give "
            f"another `{parameter}`"
        )


def _tidy(folder: Path, is_new: bool) -> None:
    """Removes the lock; and the marker if nothing was written, and then the folder if we made it."""
    with contextlib.suppress(OSError):  # somebody may have deleted the folder meanwhile
        (folder / LOCK).unlink(missing_ok=True)
        if {path.name for path in folder.iterdir()} <= OURS:
            (folder / MARKER).unlink(missing_ok=True)
            if is_new:
                folder.rmdir()


def _read(folder: Path) -> dict[str, object]:
    marker = folder / MARKER
    if marker.is_symlink() or not marker.is_file():
        return {}
    try:
        return load_json(marker, "the marker")
    except InputError:
        return {}


def _owner(folder: Path) -> str:
    found = _read(folder)
    return f"process {found['pid']} on {found['host']}" if {"pid", "host"} <= found.keys() else "another run"
