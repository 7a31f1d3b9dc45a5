"""Errors that the command line prints as one line: every message says what is wrong, which value, and what to do.

A message names a parameter in backquotes, `anchor_weight`, or with the value to give it, `merge_lora=True`. The
command line shows it as the flag that sets the parameter.
"""

import contextlib
import errno
from collections.abc import Iterator

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class InputError(ValueError):
    """Something that the user gave cannot be used as it is. Commands exit with status 2."""


@contextlib.contextmanager
def naming(parameter: str) -> Iterator[None]:
    """Puts the parameter in front of the message of an InputError about its value, unless one is named already."""
    try:
        yield
    except InputError as error:
        if "`" in str(error):
            raise
        raise InputError(f"`{parameter}`: {error}") from error


class RunError(RuntimeError):
    """A run cannot go on: the disk is full, or the loss is not finite. Commands exit with status 1."""
