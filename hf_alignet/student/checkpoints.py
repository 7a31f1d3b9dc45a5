"""Checkpoints of a run: which of them stay, and which one a run continues from."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_alignet.errors import InputError
from hf_alignet.hub.connection import HUB_ERRORS, reason
from hf_alignet.processes import this_process
from hf_alignet.sources import hub_id, split_revision
from hf_alignet.storage import OURS, UNFINISHED, output_folder, publish, unfinished
from hf_alignet.student.checkpoint_sharing import BEST, LAST_CHECKPOINT, SHARED, STATE

CHECKPOINT = re.compile(f"{PREFIX_CHECKPOINT_DIR}-([0-9]+)")  # a user may call other folders checkpoint-best
LAST = ("last", "true", "True")
MAKER = "align"  # of output folders
LEFT_BY_A_CRASH = {UNFINISHED, SHARED, "runs"}  # besides checkpoints


def last_checkpoint(output_dir: str | Path) -> str | None:
    """The newest checkpoint; None without any, or without the directory."""
    found = _steps(Path(output_dir))
    return str(found[-1]) if found else None


def _steps(output_dir: Path) -> list[Path]:
    """The checkpoints, the newest last. Folders of other names are the user's."""
    matches = [(CHECKPOINT.fullmatch(path.name), path) for path in output_dir.glob("*") if path.is_dir()]
    return [path for _, path in sorted((int(match[1]), path) for match, path in matches if match)]


def rotate(output_dir: Path, limit: int | None, best: str | None) -> None:
    """Deletes the oldest checkpoints beyond `limit`, but never the newest or the best, nor folders of other names."""
    *others, newest = _steps(output_dir)
    others = [path for path in others if best is None or path.name != Path(best).name]
    num_kept = limit - (1 if best is None or newest.name == Path(best).name else 2) if limit else len(others)
    for path in others[: len(others) - max(0, num_kept)]:
        doomed = output_dir / UNFINISHED / path.name
        os.replace(path, doomed)  # first, because half a checkpoint must not have the name of one
        shutil.rmtree(doomed)


class ResumeCallback(TrainerCallback):
    """Restores what Trainer loses when it resumes: the best checkpoint of a run whose directory has moved, and, with
    several processes, the epoch of the sampler, which lies deeper than Trainer looks.
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
        output_dir: directory of the run.
        resume_from_checkpoint: a checkpoint directory; `last` for the newest one in `output_dir`, or for the beginning
            of a run that was interrupted before its first one; or a model on the Hub (user/name, optionally @revision)
            that was shared with its checkpoint, which is downloaded into `output_dir`.

    Raises:
        InputError: no such checkpoint exists, or the directory is not empty and holds something else.
    """
    found = set(os.listdir(output_dir)) - OURS if Path(output_dir).is_dir() else set()
    processes = this_process()
    processes.wait_for_everyone()  # all must look before one writes into it
    taken = f"{output_dir} is not empty: go on with it by `resume_from_checkpoint=last`, or give another `output_dir`"
    if resume_from_checkpoint is None:
        if found:
            raise InputError(taken)
        return None
    checkpoint = os.path.expanduser(resume_from_checkpoint)
    if checkpoint in LAST:
        last = last_checkpoint(output_dir)
        if last is None:
            if not _own(found) <= LEFT_BY_A_CRASH:
                raise InputError(f"{output_dir} is not empty, but holds no checkpoint to resume from")
            return None
        checkpoint = last
    elif not Path(checkpoint).exists() and hub_id(checkpoint) is not None:
        if not found <= LEFT_BY_A_CRASH:
            raise InputError(taken)
        if processes.is_main_process:
            _download(checkpoint, Path(output_dir))
        processes.wait_for_everyone()
        return last_checkpoint(output_dir)
    if not (Path(checkpoint) / TRAINER_STATE_NAME).is_file():
        raise InputError(f"{checkpoint} is not a checkpoint: it has no {TRAINER_STATE_NAME}")
    if found and Path(output_dir).resolve() != Path(checkpoint).resolve().parent:
        raise InputError(f"{output_dir} is not empty, and {checkpoint} is not its own: give another `output_dir`")
    return checkpoint


def _own(names: set[str]) -> set[str]:
    """Without folders of the user such as checkpoint-best."""
    return {name for name in names if not name.startswith(f"{PREFIX_CHECKPOINT_DIR}-")}


def _download(repository: str, output_dir: Path) -> None:
    name, revision = split_revision(repository)
    # Into a folder of its own: where there are files, snapshot_download is content with them if the Hub fails
    with output_folder(output_dir, MAKER), unfinished(output_dir) as inside:
        downloaded = inside / "downloaded"
        made = downloaded / LAST_CHECKPOINT
        patterns = [f"{LAST_CHECKPOINT}/{pattern}" for pattern in STATE]
        try:
            snapshot_download(name, revision=revision, allow_patterns=patterns, local_dir=downloaded)
        except HUB_ERRORS as error:
            missing = f"cannot get a checkpoint from {repository!r} on the Hub, and there is no such directory here"
            raise InputError(f"{missing}: {reason(error)}") from error
        if not (made / TRAINER_STATE_NAME).is_file():
            raise InputError(
                f"{repository!r} has no {LAST_CHECKPOINT}: a run shares one with `push_to_hub=True` and "
                "`hub_strategy=checkpoint`"
            )
        state = TrainerState.load_from_json(str(made / TRAINER_STATE_NAME))
        if (made / BEST).is_dir():
            publish(made / BEST, output_dir / f"{PREFIX_CHECKPOINT_DIR}-{int(state.best_global_step or 0)}")
        publish(made, output_dir / f"{PREFIX_CHECKPOINT_DIR}-{int(state.global_step)}")
