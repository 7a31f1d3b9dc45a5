"""What a command says when it fails: one line with the cause, and an exit status. Errors in our own code keep their
traceback."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from zipfile import BadZipFile

import pyarrow as pa
import torch
import yaml
from accelerate import PartialState
from datasets.exceptions import DatasetGenerationError
from huggingface_hub.errors import HTTPError
from safetensors import SafetensorError

from hf_alignet.errors import DISK_FULL, InputError, RunError

WRONG_INPUT, FAILED, INTERRUPTED = 2, 1, 130
# What libraries raise about a file or an answer that is broken, wherever they read it
UNREADABLE: tuple[type[Exception], ...] = (SafetensorError, pa.ArrowException, UnicodeError, BadZipFile, EOFError)
UNREADABLE += (DatasetGenerationError, HTTPError, yaml.YAMLError)
# In messages of torch, whose errors of this kind have no class of their own
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
LOST_WORKER = re.compile(r"DataLoader worker .*(is killed by signal|exited unexpectedly)")
OURS = re.compile(rf"{re.escape(InputError.__module__)}\.(?:InputError|RunError): ")
UNDER_ACCELERATE = "ACCELERATE_MIXED_PRECISION"  # set by `accelerate launch`
BY_COMMAND = "HF_ALIGNET_LAUNCHED"  # set by a command that starts itself again


@contextlib.contextmanager
def told_in_one_line(when_interrupted: str) -> Iterator[None]:
    """Ends the process after an error that a user can cause: one line on stderr, and an exit status.

    The status is 2 for input that cannot be used, 1 for a run that cannot go on, and 130 after Ctrl-C. Every process
    prints its own errors: maybe only one of them read a broken picture.

    Args:
        when_interrupted: what a user does to go on after Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        _end(f"interrupted: {when_interrupted}", INTERRUPTED)
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        _end(f"error{_process()}: {message}", WRONG_INPUT if isinstance(error, InputError) else FAILED)


def _end(line: str, status: int) -> None:
    print(f"\n{line}", file=sys.stderr)  # below a progress bar
    if UNDER_ACCELERATE in os.environ and BY_COMMAND not in os.environ:
        print("(what follows is the traceback of `accelerate launch` itself, which says no more)", file=sys.stderr)
    sys.exit(status)


def _process() -> str:
    state = PartialState()
    return f" (process {state.process_index})" if state.num_processes > 1 else ""


def _message(error: Exception) -> str | None:
    """The cause, in words; None for an error that no user can have caused."""
    if isinstance(error, DatasetGenerationError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # it says itself only that there was an error
    text = _last_line(error)
    if isinstance(error, InputError | RunError):
        # An error of a worker process comes with that process's traceback; the message is its last line
        return OURS.split(str(error).strip())[-1]
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"cannot write, because the disk (or your share of it) is full: {text}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in NO_MEMORY):
        return f"the memory is not enough: make the batch smaller, or use fewer workers ({text})"
    if LOST_WORKER.search(str(error)):
        return f"a process that reads pictures was ended, maybe for want of memory: use fewer workers ({text})"
    if isinstance(error, OSError):
        return text
    return f"something cannot be read: {text}" if isinstance(error, UNREADABLE) else None


def _last_line(error: Exception) -> str:
    """What an error says, in one line; of an error of a worker process the last line, after the traceback."""
    text = str(error).strip()
    if "Original Traceback" in text:
        text = text.splitlines()[-1]
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    return " ".join(text.split()) or type(error).__name__
