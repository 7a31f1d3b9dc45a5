"""The trainer's side of the Hub: its newest checkpoint while training goes on, the model when it is over.

What is imported inside functions is `hf_alignet.hub`, which lies above.
"""

import json
import logging
import os
import shlex
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from huggingface_hub import HfApi, snapshot_download
from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from hf_alignet.encoder.export import check_sharing
from hf_alignet.errors import DISK_FULL, InputError, RunError
from hf_alignet.sources import hub_id, public_name, split_revision
from hf_alignet.storage import publish, unfinished, write_json
from hf_alignet.student.checkpoints import LAST, LEFT_BY_A_CRASH, SHARED
from hf_alignet.student.training_arguments import AlignTrainingArguments

LAST_CHECKPOINT = "last-checkpoint"  # Trainer's name for it
BEST = "best"  # inside, where it is an earlier one
# What resuming reads: not the pickled arguments, nor PEFT's README with the path of the base model
STATE = ["*.json", "*.safetensors", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth"]
WEIGHTS = ["config.json", "*.safetensors", "*.safetensors.index.json"]

SECONDS = 1.0  # between the questions of processes that wait for another's upload

logger = logging.getLogger(__name__)


class SharingTrainer(Trainer):
    """Trainer that shares neither pickles nor paths, and whose training no trouble of the Hub can end."""

    args: AlignTrainingArguments
    hub_model_id: Any

    def __init__(self, *args: Any, **kwargs: Any):
        self._uploads: list[Future[None]] = []
        self._sender = HfApi()  # which does one thing after another
        super().__init__(*args, **kwargs)

    @property
    def output_dir(self) -> Path:
        return Path(str(self.args.output_dir))

    def init_hf_repo(self, token: str | None = None, private: bool | None = None, revision: str | None = None) -> None:
        """As Trainer's, with a branch.

        Raises:
            InputError: the repository cannot be made, or should be private and is public.
        """
        if self.is_world_process_zero():
            self.hub_model_id = make_model_repository(self.args, token, private, revision)

    def push_to_hub(
        self,
        commit_message: str | None = "Aligned with hf_alignet",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **card_options: Any,
    ) -> Any:
        """As Trainer's, but without checkpoints, logs, pickles and the head: the model, its card and results alone.

        Raises:
            InputError: nobody else could load the model, or the repository cannot be made.
            RunError: it failed. The model is on the disk; says how to share it.
        """
        from hf_alignet.hub.transport.repository import MODEL_FILES, WEIGHT_FILES, share_folder

        try:
            self.save_model(_internal_call=True)  # first: what fails later finds the model on the disk
            check_sharing(self.model)  # type: ignore[arg-type]
            if self.hub_model_id is None or private or revision not in (None, self.args.hub_revision):
                self.init_hf_repo(token, private, revision)
            self.create_model_card(**card_options)
        except (RunError, OSError) as error:
            advice = "make room, and share" if _is_disk_full(error) else "share"
            again = self._command_to_share(revision)
            raise RunError(f"cannot write what is to be shared: {error}; {advice} it by `{again}`") from error
        if not self.is_world_process_zero():
            return None
        self.wait_for_checkpoint()
        share = partial(
            share_folder,
            self.output_dir,
            self.hub_model_id,
            MODEL_FILES,
            revision=revision or self.args.hub_revision,
            replaced=WEIGHT_FILES,
            again=self._command_to_share(revision),
            message=commit_message,
            token=token or self.args.hub_token,
        )
        return share() if blocking else self._sender.run_as_future(share)

    def _command_to_share(self, revision: str | None) -> str:
        name = self.hub_model_id or self.args.hub_model_id or self.output_dir.resolve().name
        revision = revision or self.args.hub_revision
        command = ["python", "recipes/publish.py", "model", str(self.output_dir), name]
        return shlex.join([*command, *(["--revision", revision] if revision else [])])

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        pass  # Trainer would push what is not whole yet, with pickles; share_checkpoint does when it is

    def share_checkpoint(self, checkpoint: Path) -> None:
        """Sends a whole checkpoint on its way to the Hub, if checkpoints are to be shared, and does not wait for it.

        If the one before is still on its way, this one is left out, or goes after it with `hub_always_push`.
        """
        args = self.args
        if not (args.push_to_hub and args.hub_strategy == "checkpoint" and self.is_world_process_zero()):
            return
        self._uploads = [upload for upload in self._uploads if not upload.done()]
        if self._uploads and not args.hub_always_push:
            return
        best = Path(self.state.best_model_checkpoint or checkpoint) if args.load_best_model_at_end else checkpoint
        copy = checkpoint.parent / SHARED / checkpoint.name
        try:
            if not self._uploads:
                shutil.rmtree(copy.parent, ignore_errors=True)  # of a run that was killed
            _copy_to_share(checkpoint, best, copy)
            self._uploads.append(self._sender.run_as_future(self._send, copy))
        except Exception as error:  # whatever it was, training goes on
            logger.warning("%s is not shared, training goes on: %s", checkpoint, error)
            shutil.rmtree(copy, ignore_errors=True)

    def wait_for_checkpoint(self) -> None:
        """Returns when no checkpoint of this process is on its way to the Hub."""
        if not all(upload.done() for upload in self._uploads):
            logger.info("waiting until the last checkpoint is shared")
        wait(self._uploads)
        if self._uploads:
            shutil.rmtree(self.output_dir / SHARED, ignore_errors=True)

    def _finish_current_push(self) -> None:
        # At the end of training. Processes that have nothing to share keep asking, since one that is left to wait in a
        # collective for as long as an upload may take gives up.
        is_busy = True
        while is_busy:
            busy = torch.tensor(len(wait(self._uploads, SECONDS).not_done), device=self.args.device)
            is_busy = bool(self.accelerator.reduce(busy, "sum") > 0)
        self.wait_for_checkpoint()

    def _send(self, copy: Path) -> None:
        from hf_alignet.hub.transport.repository import reason, replace_folder

        args, name = self.args, copy.name
        try:
            replace_folder(copy, self.hub_model_id, LAST_CHECKPOINT, args.hub_revision, name, args.hub_token)
        except Exception as error:  # whatever it was, training goes on
            logger.warning("%s is on the disk, but not shared, training goes on: %s", name, reason(error))
        finally:
            shutil.rmtree(copy, ignore_errors=True)


def _is_disk_full(error: Exception) -> bool:
    return any(os.strerror(code) in str(error) for code in DISK_FULL)  # safetensors tells it in words alone


def make_model_repository(
    args: AlignTrainingArguments,
    token: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
) -> str:
    """Makes the repository that a run will share its model in, if it is not there, and returns its name.

    Args:
        args: of the run.
        token: instead of that in `args`.
        private: instead of what `args` say.
        revision: instead of that in `args`.

    Raises:
        InputError: the Hub does not allow it, or is not to be reached, or what should be private is public.
    """
    from hf_alignet.hub.transport.repository import make_repository

    return make_repository(
        args.hub_model_id or Path(str(args.output_dir)).resolve().name,
        args.hub_private_repo if private is None else private,
        revision=revision or args.hub_revision,
        token=token or args.hub_token,
    )


def _copy_to_share(checkpoint: Path, best: Path, copy: Path) -> None:
    """Makes a directory with what resuming needs of a checkpoint, without the paths of this machine.

    It takes no room: its files are links. They outlive the checkpoint, which may be deleted before they are sent.
    """
    _link(checkpoint, copy, STATE)
    if best != checkpoint:
        _link(best, copy / BEST, WEIGHTS)
    adapter = copy / "adapter_config.json"
    if adapter.exists():
        settings = json.loads(adapter.read_text(encoding="utf-8"))
        write_json(adapter, settings | {"base_model_name_or_path": public_name(settings["base_model_name_or_path"])})
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    state.best_model_checkpoint = state.trial_name = state.trial_params = None
    (copy / TRAINER_STATE_NAME).unlink()  # or the link's other end would be written to
    state.save_to_json(str(copy / TRAINER_STATE_NAME))


def _link(source: Path, target: Path, patterns: Sequence[str]) -> None:
    target.mkdir(parents=True)
    for file in (file for pattern in patterns for file in source.glob(pattern)):
        try:
            os.link(file, target / file.name)
        except OSError:  # not every file system has links
            shutil.copyfile(file, target / file.name)


def fetch_checkpoint(output_dir: str, resume_from_checkpoint: str | None) -> str | None:
    """The checkpoint to resume from; one on the Hub (user/name, optionally @revision) is downloaded first.

    Args:
        output_dir: of the run, where a downloaded one becomes the only checkpoint.
        resume_from_checkpoint: comes back, with the home directory for `~`, if it is not on the Hub.

    Raises:
        InputError: there is no checkpoint in that repository, or the directory is not free for it.
    """
    name = os.path.expanduser(resume_from_checkpoint) if resume_from_checkpoint is not None else None
    if name is None or name in LAST or Path(name).exists() or hub_id(name) is None:
        return name
    there = set(os.listdir(output_dir)) if Path(output_dir).is_dir() else set()
    if there - LEFT_BY_A_CRASH:
        raise InputError(
            f"{output_dir} is not empty: go on with what is there by --resume_from_checkpoint last, or give another "
            f"--output_dir for the checkpoint of {name!r}"
        )
    processes = PartialState()
    processes.wait_for_everyone()  # nobody writes there before all have looked
    if processes.is_main_process:
        _download(name, Path(output_dir))
    processes.wait_for_everyone()
    return get_last_checkpoint(output_dir)


def _download(repository: str, output_dir: Path) -> None:
    from hf_alignet.hub.transport.repository import HUB_ERRORS, reason

    name, revision = split_revision(repository)
    with unfinished(output_dir) as inside:
        made = inside / LAST_CHECKPOINT
        patterns = [f"{LAST_CHECKPOINT}/{pattern}" for pattern in STATE]
        try:
            snapshot_download(name, revision=revision, allow_patterns=patterns, local_dir=inside)
        except HUB_ERRORS as error:
            raise InputError(
                f"cannot get a checkpoint from {repository!r} on the Hub, and there is no such directory here: "
                f"{reason(error)}"
            ) from error
        if not (made / TRAINER_STATE_NAME).is_file():
            raise InputError(
                f"{repository!r} has no {LAST_CHECKPOINT}: a run shares one with --push_to_hub --hub_strategy "
                "checkpoint"
            )
        state = TrainerState.load_from_json(str(made / TRAINER_STATE_NAME))
        if (made / BEST).is_dir():
            publish(made / BEST, output_dir / f"{PREFIX_CHECKPOINT_DIR}-{int(state.best_global_step or 0)}")
        publish(made, output_dir / f"{PREFIX_CHECKPOINT_DIR}-{int(state.global_step)}")
