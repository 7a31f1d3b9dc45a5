"""The copy of what is published, in a folder of its own: whole, or not there."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hf_alignet.errors import InputError, RunError

LARGE = 1_000_000  # bytes; such files are not copied where a second name for them will do


@contextlib.contextmanager
def staged(directory: Path, sources: Sequence[str] = ()) -> Iterator[Path]:
    """A fresh folder to write in, which in the end takes the place of `directory`; an error deletes it.

    Args:
        directory: is replaced.
        sources: that it is made from.

    Raises:
        InputError: a source lies in `directory`.
        RunError: it cannot be written.
    """
    for source in sources:
        if Path(source).expanduser().resolve().is_relative_to(directory.resolve()):
            raise InputError(
                f"{source} is where the copy for the Hub is made, and would be lost: publish from what it was made "
                "from, or name another --output_dir"
            )
    unfinished = directory.with_name(f"{directory.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        if directory.exists():
            shutil.rmtree(directory)
        os.replace(unfinished, directory)
    except OSError as error:
        raise RunError(f"cannot make {directory}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def take_files(source: Path, names: Iterable[str], target: Path) -> None:
    """Files of one folder into another, by the same names; those that are written anew there must be small."""
    for name in names:
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if (source / name).stat().st_size > LARGE:
            with contextlib.suppress(OSError):  # another disk, or one that knows no second names
                os.link((source / name).resolve(), file)
                continue
        shutil.copyfile(source / name, file)
