"""The trainer's side of the Hub: its newest checkpoint while training goes on, the model when it is over.

What is imported inside functions is `hf_alignet.hub`, which lies above.
"""

import json
import logging
import os
import shlex
import shutil
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import PartialState
from huggingface_hub import HfApi, snapshot_download
from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from hf_alignet.errors import InputError, RunError
from hf_alignet.files import write_json
from hf_alignet.sources import hub_id, public_name, split_revision
from hf_alignet.student.arguments import AlignTrainingArguments
from hf_alignet.student.checkpoints import LAST, LEFT_BY_A_CRASH, SHARED, publish, unfinished
from hf_alignet.student.model import check_sharing

LAST_CHECKPOINT = "last-checkpoint"  # Trainer's name for it
BEST = "best"  # inside, where it is an earlier one
# What resuming reads: not the pickled arguments, nor PEFT's README with the path of the base model
STATE = ["*.json", "*.safetensors", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth"]
WEIGHTS = ["config.json", "*.safetensors", "*.safetensors.index.json"]

logger = logging.getLogger(__name__)


class SharingTrainer(Trainer):
    """Trainer that shares neither pickles nor paths, and whose training no trouble of the Hub can end."""

    args: AlignTrainingArguments
    hub_model_id: Any
    _upload: "Future[None] | None" = None

    @property
    def output_dir(self) -> Path:
        return Path(str(self.args.output_dir))

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As Trainer's.

        Raises:
            InputError: the repository cannot be made.
        """
        if self.is_world_process_zero():
            self.hub_model_id = make_model_repository(self.args, token, private)

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
        from hf_alignet.hub.sharing import MODEL_FILES, WEIGHT_FILES, share_folder

        revision = revision or self.args.hub_revision
        name = self.hub_model_id or self.args.hub_model_id or self.output_dir.resolve().name
        command = ["python", "recipes/publish.py", "model", str(self.output_dir), name]
        again = shlex.join([*command, *(["--revision", revision] if revision else [])])
        try:
            self.save_model(_internal_call=True)  # first: what fails later finds the model on the disk
            check_sharing(self.model)  # type: ignore[arg-type]
            if self.hub_model_id is None:
                self.init_hf_repo(token=token, private=private)
            self.create_model_card(**card_options)
        except (RunError, OSError) as error:
            raise RunError(
                f"cannot write what is to be shared: {error}. Make room, and share it by `{again}`"
            ) from error
        if not self.is_world_process_zero():
            return None
        self.wait_for_checkpoint()
        share = partial(
            share_folder,
            self.output_dir,
            self.hub_model_id,
            MODEL_FILES,
            revision=revision,
            replaced=WEIGHT_FILES,
            again=again,
            message=commit_message,
            token=token or self.args.hub_token,
        )
        return share() if blocking else HfApi().run_as_future(share)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        pass  # Trainer would push what is not whole yet, with pickles; share_checkpoint does when it is

    def share_checkpoint(self, checkpoint: Path) -> None:
        """Sends a whole checkpoint on its way to the Hub, if checkpoints are to be shared, and does not wait for it.

        If the one before is still on its way, this one is left out, or waits with `hub_always_push`.
        """
        args = self.args
        is_wanted = args.push_to_hub and args.hub_strategy == "checkpoint" and self.is_world_process_zero()
        is_busy = self._upload is not None and not self._upload.done()
        if not is_wanted or (is_busy and not args.hub_always_push):
            return
        self.wait_for_checkpoint()
        best = Path(self.state.best_model_checkpoint or checkpoint) if args.load_best_model_at_end else checkpoint
        try:
            copy = _copy_to_share(checkpoint, best)
        except OSError as error:
            logger.warning("%s is not shared, training goes on: %s", checkpoint, error)
            return
        self._upload = HfApi().run_as_future(self._send, copy, checkpoint.name)

    def wait_for_checkpoint(self) -> None:
        """Returns when no checkpoint is on its way to the Hub."""
        if self._upload is not None:
            self._upload.result()

    def _send(self, copy: Path, name: str) -> None:
        from hf_alignet.hub.sharing import reason, replace_folder

        args = self.args
        try:
            replace_folder(copy, self.hub_model_id, LAST_CHECKPOINT, args.hub_revision, name, args.hub_token)
        except Exception as error:  # whatever it was, training goes on
            logger.warning("%s is on the disk, but not shared, training goes on: %s", name, reason(error))
        finally:
            shutil.rmtree(copy, ignore_errors=True)


def make_model_repository(args: AlignTrainingArguments, token: str | None = None, private: bool | None = None) -> str:
    """Makes the repository that a run will share its model in, if it is not there, and returns its name.

    Args:
        args: of the run.
        token: instead of that in `args`.
        private: instead of what `args` say.

    Raises:
        InputError: the Hub does not allow it, or is not to be reached.
    """
    from hf_alignet.hub.sharing import make_repository

    return make_repository(
        args.hub_model_id or Path(str(args.output_dir)).resolve().name,
        args.hub_private_repo if private is None else private,
        revision=args.hub_revision,
        token=token or args.hub_token,
    )


def _copy_to_share(checkpoint: Path, best: Path) -> Path:
    """A directory with what resuming needs of a checkpoint, without the paths of this machine.

    It takes no room: its files are links. They outlive the checkpoint, which may be deleted before they are sent.
    """
    copy = checkpoint.parent / SHARED
    shutil.rmtree(copy, ignore_errors=True)
    _link(checkpoint, copy, STATE)
    if best != checkpoint:
        _link(best, copy / BEST, WEIGHTS)
    adapter = copy / "adapter_config.json"
    if adapter.exists():
        settings = json.loads(adapter.read_text())
        write_json(adapter, settings | {"base_model_name_or_path": public_name(settings["base_model_name_or_path"])})
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    state.best_model_checkpoint = state.trial_name = state.trial_params = None
    (copy / TRAINER_STATE_NAME).unlink()  # or the link's other end would be written to
    state.save_to_json(str(copy / TRAINER_STATE_NAME))
    return copy


def _link(source: Path, target: Path, patterns: Sequence[str]) -> None:
    target.mkdir()
    for file in (file for pattern in patterns for file in source.glob(pattern)):
        try:
            os.link(file, target / file.name)
        except OSError:  # not every file system has links
            shutil.copyfile(file, target / file.name)


def fetch_checkpoint(output_dir: str, resume_from_checkpoint: str | None) -> str | None:
    """The checkpoint to resume from; one on the Hub (user/name, optionally @revision) is downloaded first.

    Args:
        output_dir: of the run, where a downloaded one becomes the only checkpoint.
        resume_from_checkpoint: comes back as it is, if it is not on the Hub.

    Raises:
        InputError: there is no checkpoint in that repository, or the directory is not free for it.
    """
    name = resume_from_checkpoint
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
    from hf_alignet.hub.sharing import HUB_ERRORS, reason

    name, revision = split_revision(repository)
    with unfinished(output_dir) as inside:
        made = inside / LAST_CHECKPOINT
        patterns = [f"{LAST_CHECKPOINT}/{pattern}" for pattern in STATE]
        try:
            snapshot_download(name, revision=revision, allow_patterns=patterns, local_dir=inside)
        except HUB_ERRORS as error:
            raise InputError(f"cannot get a checkpoint from {repository!r}: {reason(error)}") from error
        if not (made / TRAINER_STATE_NAME).is_file():
            raise InputError(
                f"{repository!r} has no {LAST_CHECKPOINT}: a run shares one with --push_to_hub --hub_strategy "
                "checkpoint"
            )
        state = TrainerState.load_from_json(str(made / TRAINER_STATE_NAME))
        if (made / BEST).is_dir():
            publish(made / BEST, output_dir / f"{PREFIX_CHECKPOINT_DIR}-{int(state.best_global_step or 0)}")
        publish(made, output_dir / f"{PREFIX_CHECKPOINT_DIR}-{int(state.global_step)}")
