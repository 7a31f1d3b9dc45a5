"""Where a run may write, and where it goes on from."""

import os
from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint

from hf_alignet.errors import InputError

LAST = ("last", "true", "True")


def find_checkpoint(output_dir: str, resume_from_checkpoint: str | None) -> str | None:
    """The checkpoint to resume from, or None for a new run in a directory that is free for it.

    Args:
        output_dir: of the run.
        resume_from_checkpoint: a checkpoint directory, or `last` for the newest in `output_dir`.

    Raises:
        InputError: there is no such checkpoint, or the directory holds another run and nothing is to be resumed.
    """
    if resume_from_checkpoint is None:
        if Path(output_dir).exists() and os.listdir(output_dir):
            raise InputError(
                f"{output_dir} is not empty: it may hold another run; give another --output_dir, delete it, or go on "
                "with it by --resume_from_checkpoint last"
            )
        return None
    checkpoint = resume_from_checkpoint
    if checkpoint in LAST:
        last = get_last_checkpoint(output_dir) if Path(output_dir).is_dir() else None
        if last is None:
            raise InputError(f"{output_dir} holds no checkpoint to resume from")
        checkpoint = last
    if not (Path(checkpoint) / "trainer_state.json").is_file():
        raise InputError(f"{checkpoint} is not a checkpoint: it has no trainer_state.json")
    output = Path(output_dir).resolve()
    if output.exists() and os.listdir(output) and output != Path(checkpoint).resolve().parent:
        raise InputError(f"{output_dir} is not empty, and {checkpoint} is not its own; give another --output_dir")
    return checkpoint
