"""Unpacks a `.zip` of pictures into the cache of `datasets`. It is somebody's file: it may lie, or fill the disk."""

import hashlib
import shutil
import stat
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from datasets.config import HF_DATASETS_CACHE

from hf_alignet.errors import InputError
from hf_alignet.storage import new_files, output_folder

SECONDS = 3600.0  # that a process waits for another one that unpacks
MOST_FILES = 5_000_000
MOST_EXPANDED = 100  # times the size of the archive: pictures are compressed already
ALWAYS_ALLOWED = 1_000_000_000  # bytes that may come of an archive, however small it is


def unpacked(archive: Path) -> Path:
    """The folder of an archive's content, unpacked again if the archive has changed.

    Raises:
        InputError: it cannot be read, has entries that are no files of a folder, or is too large unpacked.
    """
    state = archive.stat()
    version = f"{archive.resolve()} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
    folder = Path(HF_DATASETS_CACHE) / "unpacked" / hashlib.blake2b(version.encode(), digest_size=16).hexdigest()
    folder /= archive.stem
    if not folder.exists():
        try:
            with ZipFile(archive) as content:
                entries = [entry for entry in content.infolist() if not entry.filename.startswith("__MACOSX/")]
                _check(entries, state.st_size)
                # Processes of a launch wait for the one that unpacks
                with output_folder(folder.parent, "unpacking", None, wait=SECONDS) as place:
                    if not folder.exists():
                        _check_space(entries, place)
                        with new_files(place) as made:
                            for entry in entries:
                                content.extract(entry, made / folder.name)  # not more bytes than the entry says
        except Exception as error:  # zipfile raises nearly anything on broken files
            raise InputError(f"cannot unpack the archive {archive}: {error}") from error
    return folder


def _check(entries: list[ZipInfo], size: int) -> None:
    """Raises a BadZipFile for what is no archive of a folder of pictures."""
    if len(entries) > MOST_FILES:
        raise BadZipFile(f"it has {len(entries)} entries, more than {MOST_FILES}")
    total = sum(entry.file_size for entry in entries)
    if total > max(ALWAYS_ALLOWED, MOST_EXPANDED * size):
        raise BadZipFile(
            f"its {size} bytes would become {total}; unpack it yourself if that is right, and give the folder"
        )
    names = set[PurePosixPath]()
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BadZipFile(f"{entry.filename!r} in it is a link or a device")
        if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
            raise BadZipFile(f"{entry.filename!r} in it leads out of the folder")
        if path in names:
            raise BadZipFile(f"{entry.filename!r} is twice in it")
        names.add(path)


def _check_space(entries: list[ZipInfo], folder: Path) -> None:
    total, free = sum(entry.file_size for entry in entries), shutil.disk_usage(folder).free
    if total > free:
        raise OSError(f"it needs {total / 1e9:.1f} GB, and the disk of {folder} has {free / 1e9:.1f} GB left")
