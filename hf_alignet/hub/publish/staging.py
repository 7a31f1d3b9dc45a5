"""The copy of what is published, in a folder of its own: whole, or not there."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from hf_alignet.errors import InputError
from hf_alignet.storage import whole_directory


@contextlib.contextmanager
def staged(directory: Path, sources: Sequence[str] = ()) -> Iterator[Path]:
    """Yields an empty folder to write in. At the end it replaces `directory`; an error deletes it.

    Args:
        directory: where the copy goes.
        sources: the paths that the copy is made from.

    Raises:
        InputError: a source lies in `directory`.
        RunError: the disk is full, or cannot be written for another reason.
    """
    for source in sources:
        if Path(source).expanduser().resolve().is_relative_to(directory.resolve()):
            raise InputError(
                f"{source} is where the copy for the Hub is made, and would be lost: publish from what it was made "
                "from, or name another --output_dir"
            )
    with whole_directory(directory) as unfinished:
        yield unfinished
