"""EncoderTrainer: how `transformers.Trainer` saves, loads and shares an `Encoder`.

It saves plain models of transformers or peft, without pickles. Whatever has the name of a checkpoint is a whole one.
"""

import contextlib
import inspect
import logging
import os
import shlex
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput

from hf_alignet.encoder.device_copies import DeviceCopies
from hf_alignet.encoder.export_checks import check_export, check_sharing
from hf_alignet.encoder.model import Encoder
from hf_alignet.encoder.pretrained import ALIGNMENT_FILE, read_alignment
from hf_alignet.errors import DISK_FULL, InputError, RunError
from hf_alignet.hub.cards.model_card import write_model_card
from hf_alignet.hub.transport.provenance import versions
from hf_alignet.hub.transport.repository import MODEL_FILES, WEIGHT_FILES, make_repository, share_folder
from hf_alignet.images.reader import Reader
from hf_alignet.sources import public_name
from hf_alignet.storage import UNFINISHED, make_folder, output_folder, publish, unfinished, write_json
from hf_alignet.student.checkpoint_sharing import CheckpointSharing
from hf_alignet.student.checkpoints import MAKER, ResumeCallback, last_checkpoint, rotate
from hf_alignet.student.preparation import trained_blocks
from hf_alignet.student.resumption import RUN_FILE, check_checkpoint, describe_run, reading
from hf_alignet.student.training_arguments import AUTO, AlignTrainingArguments
from hf_alignet.student.training_data import training_rows
from hf_alignet.triplets.batches import ClusterSampler, TeacherVectors, TripletRows, fewest_per_cluster

logger = logging.getLogger(__name__)

# Keywords of `Trainer.create_model_card`, and their names in the metadata of a card
CARD_METADATA = {name: name for name in ("language", "license", "tags", "model_name")}
CARD_METADATA |= {"finetuned_from": "base_model", "dataset_tags": "datasets"}
# Settings that `alignment.json` records under the same name
RECORDED = ("teacher_temperature", "anchor_type", "anchor_weight", "preserve_weight", "projection_dim", "augment")


class EncoderTrainer(Trainer):
    """Trainer whose model is an `Encoder`; the subclass defines the loss.

    Attributes:
        student_temperature: τ† of what trains, which may be a projection head; None until it is chosen.
        exported_temperature: τ† of the embedding.
        interpolation: share of the way to the trained weights; None until it is chosen.
        reader: of the images.
        is_in_batch: whether a batch is of images, with all triplets among them.
        held_out: triplets that name images to hold out beside those of `eval_dataset`, for `interpolation=auto`.
        provenance: more facts for `alignment.json` and the card, such as `triplets`.
    """

    model: Encoder
    args: AlignTrainingArguments
    hub_model_id: Any
    student_temperature: float | None
    exported_temperature: float | None
    interpolation: float | None
    is_in_batch: bool
    reader: Reader

    def __init__(self, **options: Any):
        if options["args"].should_save:
            make_folder(str(options["args"].output_dir))  # Trainer would, without a clear error
        try:
            super().__init__(**options)
        except (ValueError, ImportError, RuntimeError) as error:
            if isinstance(error, InputError | RunError):
                raise
            raise InputError(f"Trainer cannot work with these settings: {' '.join(str(error).split())}") from error
        self.provenance: dict[str, Any] = {}
        self.held_out: list[Dataset] = []
        self.sharing = CheckpointSharing(self.hub_model_id)
        self.add_callback(ResumeCallback())
        if self.args.push_to_hub and self.args.hub_strategy == "checkpoint":
            self.add_callback(self.sharing)

    @property
    def output_dir(self) -> Path:
        return Path(str(self.args.output_dir))

    def alignment(self) -> dict[str, Any]:
        """What `alignment.json` says: how this model was made, and how to use its embedding."""
        args, model = self.args, self.model
        return {
            "base_model": public_name(model.backbone.name_or_path or "") or None,
            **model.usage(),
            "triplet_source": "batch" if self.is_in_batch else "separate",
            "images_per_cluster": self.images_per_cluster if self.is_in_batch else None,
            "loss_type": args.loss_type,
            "similarity": args.similarity,
            "student_temperature": self.student_temperature,
            "exported_temperature": self.exported_temperature,
            "interpolation": self.interpolation,
            **{name: getattr(args, name) for name in RECORDED},
            "last_blocks": trained_blocks(model, args.last_blocks),
            "learning_rate": args.learning_rate,
            "global_batch_size": self.get_total_train_batch_size(args),
            "steps": self.state.global_step,
            "precision": "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32",
            "seed": args.seed,
            "versions": versions(),
            **self.provenance,
        }

    # ---- a run that goes on

    @cached_property
    def run(self) -> dict[str, Any]:
        """What the weights after training depend on. It is known before the first training, which changes them."""
        return describe_run(self.args, self.model, self.train_dataset, self.reader)

    def train(  # type: ignore[override]
        self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any
    ) -> TrainOutput:
        """As Trainer's, but goes on only from a whole checkpoint of the same run. Logs what may differ, and does."""
        checkpoint = last_checkpoint(self.output_dir) if resume_from_checkpoint is True else resume_from_checkpoint
        if resume_from_checkpoint is True and checkpoint is None:
            raise InputError(f"{self.output_dir} holds no checkpoint to go on from")
        train: Any = self.train_dataset
        if self.args.dataloader_drop_last and len(train) < self.get_total_train_batch_size(self.args):
            raise InputError(f"`dataloader_drop_last` leaves nothing to train on: {len(train)} rows are no whole step")
        run = self.run
        for difference in check_checkpoint(checkpoint, run) if checkpoint else ():
            logger.warning("going on with a difference: %s", difference)
        with output_folder(self.output_dir, MAKER, is_main=self.args.should_save):  # nobody else writes there
            return super().train(resume_from_checkpoint=checkpoint, **kwargs)

    # ---- batches

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if not isinstance(dataset, TeacherVectors):
            return super()._get_train_sampler(train_dataset)
        return ClusterSampler(dataset.clusters, self.args.train_batch_size, self.images_per_cluster, self.args.seed)

    @property
    def images_per_cluster(self) -> int:
        """Of a batch whose triplets are its own."""
        train: Any = self.train_dataset
        if (chosen := self.args.images_per_cluster) != AUTO:
            return int(chosen)
        return fewest_per_cluster(train.clusters, self.args.train_batch_size)

    def _embed(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.model.embed(self.reader, rows=rows, **self.args.embed_options()))

    @cached_property
    def _copies(self) -> DeviceCopies:
        return DeviceCopies(self.args.device)

    def get_train_dataloader(self) -> Any:
        """As Trainer's, but batches come to the device by `get_batch_samples`, while it still works on others."""
        loader: Any = super().get_train_dataloader()
        loader.device = None
        return loader

    def _get_dataloader(self, dataset: Any, *args: Any, **options: Any) -> Any:
        """As Trainer's, but triplets to train on come from memory, and the reader knows how many workers it needs."""
        is_of_triplets, given = options.get("is_training") and isinstance(dataset, Dataset), self.args
        workers = given.dataloader_num_workers
        given.dataloader_num_workers = self.reader.default_workers() if workers is None else workers
        try:
            return super()._get_dataloader(TripletRows(dataset) if is_of_triplets else dataset, *args, **options)
        finally:
            given.dataloader_num_workers = workers

    def get_batch_samples(self, *args: Any, **options: Any) -> Any:
        batches, number = super().get_batch_samples(*args, **options)
        return [self._copies(batch) for batch in batches], number

    def create_optimizer(self, *args: Any, **options: Any) -> Any:
        """As Trainer's; InputError if the settings make no optimizer."""
        try:
            return super().create_optimizer(*args, **options)
        except Exception as error:  # of any kind: each optimizer reads its settings in its own way
            name = getattr(self.args.optim, "value", self.args.optim)
            raise InputError(
                f"`optim={name}` cannot be made with the `optim_args` {self.args.optim_args!r}, which must be like "
                f"'name=1,other=2': {error}"
            ) from error

    def _run_epoch(self, **options: Any) -> None:  # type: ignore[override]
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(**options)
        else:  # Trainer would train one step more than a finished run has
            self.control.should_training_stop = True

    # ---- evaluation

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """As Trainer's; of several held-out sets also the mean agreement and loss, to choose the best model by."""
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        splits, prefix = self.eval_dataset if eval_dataset is None else eval_dataset, metric_key_prefix
        if not isinstance(splits, dict):
            return metrics
        means = {
            f"{prefix}_{name}": sum(metrics[f"{prefix}_{split}_{name}"] for split in splits) / len(splits)
            for name in ("agreement", "loss")
        }
        self.log(dict(means))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, dict(means))
        return metrics | means

    def rows_by_use(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted rows of the images to train on, and of those that are held out from training."""
        trained, given = training_rows(self.train_dataset), self.eval_dataset
        evaluated = given.values() if isinstance(given, dict) else [given] if given is not None else []
        named = [training_rows(split) for split in (*evaluated, *self.held_out)]
        return trained, np.setdiff1d(np.concatenate([trained[:0], *named]), trained)

    # ---- the disk

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As Trainer's, but a plain model, without pickled arguments; RunError if it cannot be written.

        InputError if `args.output_dir` holds something else. Another directory is the caller's choice.
        """
        if output_dir is None:
            with output_folder(self.output_dir, MAKER, is_main=self.args.should_save) as folder:
                return self.save_model(str(folder), _internal_call)
        directory = Path(output_dir)
        if self.args.should_save:
            self.model.save_pretrained(directory, self.args.similarity)
            write_json(directory / ALIGNMENT_FILE, self.alignment())
            if not self.model.is_adapter:  # AutoModel would put an adapter that was saved before on the whole model
                for name in ("adapter_config.json", "adapter_model.safetensors"):
                    (directory / name).unlink(missing_ok=True)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save")

    def least_bytes(self) -> int:
        """What the exported model takes on the disk, and one checkpoint if there will be any, with its optimizer."""
        trained = sum(p.numel() * 4 for p in self.model.parameters() if p.requires_grad)
        saved = trained if self.model.is_adapter else sum(p.numel() * 4 for p in self.model.parameters())
        return saved if self.args.save_strategy == "no" else 2 * saved + 2 * trained

    def save_results(self, base: dict[str, Any], aligned: dict[str, Any]) -> None:
        """Writes the model as it is now, and `results.json` with metrics from before and after training."""
        self.save_model(_internal_call=True)
        if self.args.should_save:
            results = {"base": base, "aligned": aligned, "settings": self.alignment()}
            write_json(self.output_dir / "results.json", results)

    def _get_output_dir(self, trial: Any) -> str:
        # Where Trainer writes checkpoints and deletes old ones: nobody takes its content for a whole checkpoint
        return str(Path(super()._get_output_dir(trial)) / UNFINISHED)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        if not all(torch.isfinite(p).all() for p in self.model.parameters() if p.requires_grad):
            raise self.diverged(f"a weight is not finite after step {self.state.global_step}")
        run_dir = Path(self._get_output_dir(trial)).parent
        with unfinished(run_dir) if self.args.should_save else contextlib.nullcontext(run_dir / UNFINISHED) as inside:
            self.accelerator.wait_for_everyone()  # the directory exists
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # all processes have written
            made = inside / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            if self.state.best_global_step == self.state.global_step:
                self.state.best_model_checkpoint = str(run_dir / made.name)
            if self.args.should_save:
                self.state.save_to_json(str(made / TRAINER_STATE_NAME))
                write_json(made / RUN_FILE, self.run)
                publish(made, run_dir / made.name)
                rotate(run_dir, self.args.save_total_limit, self.state.best_model_checkpoint)
            self.accelerator.wait_for_everyone()  # all processes find the checkpoint

    def diverged(self, problem: str) -> RunError:
        """The error that ends a run, with advice."""
        last = last_checkpoint(self.output_dir)
        good = f"; the last good checkpoint is {last}" if last else ""
        return RunError(f"{problem}: try a lower `learning_rate`{good}")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with reading(resume_from_checkpoint):
            self.model.load_weights(resume_from_checkpoint)
            saved = read_alignment(resume_from_checkpoint)
            self.student_temperature = saved["student_temperature"]
            self.exported_temperature = saved["exported_temperature"]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with reading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_scaler(self, checkpoint: str | None) -> None:
        with reading(checkpoint):
            super()._load_scaler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with reading(checkpoint):
            super()._load_rng_state(checkpoint)

    def _load_best_model(self) -> None:
        self.model.load_weights(str(self.state.best_model_checkpoint))

    # ---- the Hub

    def init_hf_repo(self, token: str | None = None, private: bool | None = None, revision: str | None = None) -> None:
        """As Trainer's, with a branch; InputError if it cannot be made, or should be private and is public."""
        args = self.args
        if self.is_world_process_zero():
            private = args.hub_private_repo if private is None else private
            token, revision = token or args.hub_token, revision or args.hub_revision
            self.hub_model_id = make_repository(args.hub_name, private, revision=revision, token=token)

    def create_model_card(self, **metadata: Any) -> None:  # type: ignore[override]
        """Writes `README.md` (and `.eval_results`) from `alignment.json` and `results.json`.

        Of the keywords of Trainer's method, the card can use those of `CARD_METADATA`; `tags` and `dataset_tags` are
        added to those of the card.

        Raises:
            InputError: the card cannot use a keyword, or AutoModel would open the model as another one.
        """
        given = _card_metadata(metadata)
        check_export(self.model)
        if self.is_world_process_zero():
            name = self.hub_model_id or self.args.hub_model_id or given.get("model_name") or self.args.hub_name
            write_model_card(self.output_dir, name, **given)

    def push_to_hub(
        self,
        commit_message: str | None = "Aligned with hf_alignet",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **metadata: Any,
    ) -> Any:
        """As Trainer's, but of the files only the model, its card (see `create_model_card`) and its results.

        Raises:
            InputError: nobody else could load the model, or the Hub or the card cannot use an argument.
            RunError: it failed. The model is on the disk, and the message says how to share it.
        """
        _card_metadata(metadata)  # before anything is written
        revision = revision or self.args.hub_revision
        try:
            self.save_model(_internal_call=True)  # first, so that it is on the disk after any error
            check_sharing(self.model)
            if self.hub_model_id is None or private or revision != self.args.hub_revision:
                self.init_hf_repo(token, private, revision)
            self.create_model_card(**metadata)
        except (RunError, OSError) as error:
            is_full = any(os.strerror(code) in str(error) for code in DISK_FULL)  # safetensors gives no code
            raise RunError(
                f"cannot write what is to be shared: {error}; {'make room, and ' if is_full else ''}share it by "
                f"`{self._command_to_share(revision)}`"
            ) from error
        if not self.is_world_process_zero():
            return None
        self.sharing.finish(self.output_dir)
        place: dict[str, Any] = {"revision": revision, "replaced": WEIGHT_FILES, "token": token or self.args.hub_token}
        place |= {"again": self._command_to_share(revision), "message": commit_message}
        share = partial(share_folder, self.output_dir, self.hub_model_id, MODEL_FILES, **place)
        return share() if blocking else self.sharing.sender.run_as_future(share)

    def _command_to_share(self, revision: str | None) -> str:
        command = ["hf-alignet", "publish", "model", str(self.output_dir), self.hub_model_id or self.args.hub_name]
        return shlex.join([*command, *(["--revision", revision] if revision else [])])

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        pass  # Trainer would push pickles, of a checkpoint that is not whole yet; CheckpointSharing does it later

    def end(self) -> None:
        """As Trainer's, once at the end of a script, but frees the distributed wrapper first.

        If its gradient reducer is the last to hold the process group, the group is destroyed while the interpreter
        lock is held, and waits forever for a thread of its own that needs the lock.
        """
        self.model_wrapped = self.model
        self.accelerator.free_memory()
        super().end()


def _card_metadata(given: dict[str, Any]) -> dict[str, Any]:
    """Metadata of a card, from keywords of `Trainer.create_model_card`."""
    inspect.signature(Trainer.create_model_card).bind(None, **given)  # TypeError for an unknown keyword
    given = {name: value for name, value in given.items() if value is not None}
    for name in given.keys() - CARD_METADATA.keys():
        raise InputError(f"leave out `{name}`: the card describes its results from results.json")
    return {CARD_METADATA[name]: value for name, value in given.items()}
