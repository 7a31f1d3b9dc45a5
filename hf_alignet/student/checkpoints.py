"""Where a run may write, and the checkpoint that it continues from."""

import os
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from hf_alignet.errors import InputError
from hf_alignet.storage import UNFINISHED

LAST = ("last", "true", "True")
SHARED = ".shared"  # on its way to the Hub
LEFT_BY_A_CRASH = {UNFINISHED, SHARED, "runs"}  # besides checkpoints


def rotate(output_dir: Path, limit: int | None, best: str | None) -> None:
    """Deletes the oldest checkpoints beyond `limit`; never the newest or the best."""
    steps = {int(p.name.split("-")[1]): p for p in output_dir.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if p.is_dir()}
    *others, newest = (steps[step] for step in sorted(steps))
    others = [path for path in others if best is None or path.name != Path(best).name]
    num_kept = limit - (1 if best is None or newest.name == Path(best).name else 2) if limit else len(others)
    for path in others[: len(others) - max(0, num_kept)]:
        doomed = output_dir / UNFINISHED / path.name
        os.replace(path, doomed)  # first: a checkpoint that is half deleted must not look like one
        shutil.rmtree(doomed)


class ResumeCallback(TrainerCallback):
    """Restores what Trainer forgets when it resumes: the epoch of a sampler of several processes, which lies deeper
    than Trainer looks, and the best checkpoint of a run whose directory has moved.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        best = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}"
        if state.best_global_step and best.is_dir():
            state.best_model_checkpoint = str(best)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        sampler: Any = kwargs["train_dataloader"].batch_sampler
        while hasattr(sampler, "batch_sampler"):
            sampler = sampler.batch_sampler
        sampler = getattr(sampler, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(int(state.epoch + 1e-6))


def find_checkpoint(output_dir: str, resume_from_checkpoint: str | None) -> str | None:
    """The checkpoint to resume from, or None for a new run in a directory that is free for it.

    Args:
        output_dir: of the run.
        resume_from_checkpoint: a checkpoint directory, or `last` for the newest in `output_dir`, or, where the run was
            interrupted before its first one, its beginning.

    Raises:
        InputError: there is no such checkpoint, or the directory holds another run and nothing is to be resumed.
    """
    there = set(os.listdir(output_dir)) if Path(output_dir).is_dir() else set()
    if resume_from_checkpoint is None:
        if there:
            raise InputError(
                f"{output_dir} is not empty: it may hold another run; give another --output_dir, delete it, or go on "
                "with it by --resume_from_checkpoint last"
            )
        return None
    checkpoint = resume_from_checkpoint
    if checkpoint in LAST:
        last = get_last_checkpoint(output_dir) if there else None
        if last is None:
            if there <= LEFT_BY_A_CRASH:
                return None
            raise InputError(f"{output_dir} is not empty, but holds no checkpoint to resume from")
        checkpoint = last
    if not (Path(checkpoint) / "trainer_state.json").is_file():
        raise InputError(f"{checkpoint} is not a checkpoint: it has no trainer_state.json")
    if there and Path(output_dir).resolve() != Path(checkpoint).resolve().parent:
        raise InputError(f"{output_dir} is not empty, and {checkpoint} is not its own; give another --output_dir")
    return checkpoint
