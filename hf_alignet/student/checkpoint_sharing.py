"""Uploads the newest checkpoint of a run to the Hub while training goes on."""

import logging
import shutil
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import reduce
from huggingface_hub import HfApi
from transformers import TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_alignet.hub.connection import reason
from hf_alignet.hub.transport.repository import replace_folder
from hf_alignet.sources import public_name
from hf_alignet.storage import take_files, write_json
from hf_alignet.text_files import load_json

SHARED = ".shared"  # folder of a run, with what is under way to the Hub
LAST_CHECKPOINT = "last-checkpoint"  # Trainer's name for it
BEST = "best"  # folder inside, for the best checkpoint if that is an earlier one
# What resuming reads: not the pickled arguments, nor PEFT's README with the path of the base model
PICKLED = ["optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state*.pth"]  # which open without running code
STATE = ["*.json", "*.safetensors", *PICKLED]
WEIGHTS = ["config.json", "*.safetensors", "*.safetensors.index.json"]

SECONDS = 1.0  # between the questions of processes that wait for the upload of another

logger = logging.getLogger(__name__)


class CheckpointSharing(TrainerCallback):
    """Shares each checkpoint when it is written. No error of the Hub ends training.

    While an upload is under way, newer checkpoints are left out, or wait for it with `hub_always_push`.
    """

    def __init__(self, repository: str | None):
        self.repository = repository  # None in processes other than the first
        self.uploads: list[Future[None]] = []
        self.sender = HfApi()  # its futures run one after another

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.uploads = [upload for upload in self.uploads if not upload.done()]
        if not state.is_world_process_zero or (self.uploads and not args.hub_always_push):
            return
        checkpoint = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        best = Path(state.best_model_checkpoint or checkpoint) if args.load_best_model_at_end else checkpoint
        copy = checkpoint.parent / SHARED / checkpoint.name
        try:
            if not self.uploads:
                shutil.rmtree(copy.parent, ignore_errors=True)  # a killed run may have left some
            _copy_to_share(checkpoint, best, copy)
            self.uploads.append(self.sender.run_as_future(self._send, copy, args.hub_revision, args.hub_token))
        except Exception as error:  # training goes on after any error
            logger.warning("%s is not shared, training goes on: %s", checkpoint, error)
            shutil.rmtree(copy, ignore_errors=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Processes without uploads keep asking: one that waits in a collective as long as an upload takes gives up
        is_busy = True
        while is_busy:
            busy = torch.tensor(len(wait(self.uploads, SECONDS).not_done), device=args.device)
            is_busy = bool(reduce(busy, "sum") > 0)
        self.finish(args.output_dir)

    def finish(self, output_dir: str | Path) -> None:
        """Returns when no checkpoint of this process is under way to the Hub."""
        if not all(upload.done() for upload in self.uploads):
            logger.info("waiting until the last checkpoint is shared")
        wait(self.uploads)
        if self.uploads:
            shutil.rmtree(Path(output_dir) / SHARED, ignore_errors=True)

    def _send(self, copy: Path, revision: str | None, token: str | None) -> None:
        try:
            replace_folder(copy, str(self.repository), LAST_CHECKPOINT, revision, copy.name, token, PICKLED)
        except Exception as error:  # training goes on after any error
            logger.warning("%s is on the disk, but not shared, training goes on: %s", copy.name, reason(error))
        finally:
            shutil.rmtree(copy, ignore_errors=True)


def _copy_to_share(checkpoint: Path, best: Path, copy: Path) -> None:
    """Makes a directory with what resuming needs of a checkpoint, without the paths of this machine.

    Its files stay if the checkpoint is deleted before they are sent.
    """
    take_files(checkpoint, _names(checkpoint, STATE), copy)
    if best != checkpoint:
        take_files(best, _names(best, WEIGHTS), copy / BEST)
    adapter = copy / "adapter_config.json"
    if adapter.exists():
        settings = load_json(adapter, "the configuration")
        write_json(adapter, settings | {"base_model_name_or_path": public_name(settings["base_model_name_or_path"])})
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    state.best_model_checkpoint = state.trial_name = state.trial_params = None
    (copy / TRAINER_STATE_NAME).unlink()  # if it is a link, writing to it would change the checkpoint
    state.save_to_json(str(copy / TRAINER_STATE_NAME))


def _names(directory: Path, patterns: list[str]) -> list[str]:
    return [file.name for pattern in patterns for file in directory.glob(pattern)]
