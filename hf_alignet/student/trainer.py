"""AlignTrainer: `transformers.Trainer` whose loss is a triplet loss and whose model stays near where it began.

Nothing trainable lives outside the model. The teacher is already in the data, as similarities; the loss and the
anchor are functions. Checkpoints hold what any checkpoint of Trainer holds, without pickles of our own.
"""

import contextlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import BaseImageProcessor, PreTrainedModel
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput, TrainOutput, get_last_checkpoint

from hf_alignet.encoder.export import check_export
from hf_alignet.encoder.model import VisionEncoder
from hf_alignet.encoder.pretrained import ALIGNMENT_FILE, read_alignment
from hf_alignet.errors import InputError, RunError
from hf_alignet.hub.transport.provenance import versions
from hf_alignet.images.reader import ImageReader
from hf_alignet.similarity import NO_CHOICE
from hf_alignet.sources import public_name
from hf_alignet.storage import UNFINISHED, publish, unfinished, write_json
from hf_alignet.student.anchoring import Anchor, DecoupledAnchorCallback
from hf_alignet.student.checkpoint_sharing import SharingTrainer
from hf_alignet.student.checkpoints import ResumeCallback, rotate
from hf_alignet.student.collator import InBatchCollator, TripletCollator
from hf_alignet.student.criterion import Criterion
from hf_alignet.student.logs import LogTemperature, LogWindow
from hf_alignet.student.preparation import as_encoder, check_trainable
from hf_alignet.student.training_arguments import AUTO, AlignTrainingArguments
from hf_alignet.triplets.batches import ClusterSampler, TeacherVectors, sample_in_batch
from hf_alignet.triplets.triplet_dataset import ODD, TRIPLET, check_triplets, column

CALIBRATION_TRIPLETS = 512
CALIBRATION_BATCHES = 8  # that they come from, if they are in-batch


class AlignTrainer(SharingTrainer):
    """Fine-tunes a vision encoder on labelled image triplets.

    Args:
        model: a path or Hub id, a vision `PreTrainedModel`, a `PeftModel`, or a `VisionEncoder`.
        args: settings.
        images: the image dataset that triplets point into, or a reader or `ImageCache` of it.
        train_dataset: triplets with `similarities` (or `odd`, for `loss_type="hard"`); or `TeacherVectors`, for
            in-batch triplets.
        eval_dataset: held-out triplets of the same images, or a dict of several.
        processing_class: the image processor; by default that of the model.
        **kwargs: as for `transformers.Trainer` (callbacks, optimizers, …).

    Raises:
        InputError: data or settings that cannot work; see the message.

    Example:
        >>> trainer = AlignTrainer("facebook/dinov2-small", args, images, triplets)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
    """

    # The loss is a mean over the batch, so Trainer has to divide it by the accumulation steps.
    loss_is_scaled_for_ga = False

    model: VisionEncoder

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel | VisionEncoder,
        args: AlignTrainingArguments,
        images: Dataset | ImageReader,
        train_dataset: Dataset | TeacherVectors | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: BaseImageProcessor | None = None,
        **kwargs: Any,
    ):
        encoder = as_encoder(model, processing_class)
        encoder.freeze_unused()
        if args.projection_dim is not None:
            encoder.add_projection(args.projection_dim)
        check_trainable(encoder, args)
        self.criterion = Criterion(args.loss_type, args.similarity, args.teacher_temperature)
        splits = eval_dataset if isinstance(eval_dataset, dict) else {"validation": eval_dataset}
        for split, dataset in {"train": train_dataset, **splits}.items():
            if isinstance(dataset, Dataset):
                check_triplets(dataset, len(images), self.criterion.target, split)
        self.images = images
        collator = (
            InBatchCollator(
                images, encoder.preprocessor, self.criterion.target, args.triplets_per_batch, args.seed, args.augment
            )
            if isinstance(train_dataset, TeacherVectors)
            else TripletCollator(images, encoder.preprocessor, self.criterion.target, args.augment, args.seed)
        )
        super().__init__(
            model=encoder,
            args=args,
            data_collator=collator,
            train_dataset=_with_columns(train_dataset, [TRIPLET, self.criterion.target]),
            eval_dataset=eval_dataset,
            processing_class=encoder.processor,
            **kwargs,
        )
        self.anchor = Anchor(encoder) if args.anchor_weight > 0 or args.interpolation < 1 else None
        if self.anchor is not None and args.anchor_type == "decoupled" and args.anchor_weight > 0:
            self.add_callback(DecoupledAnchorCallback(self.anchor, args.anchor_weight))
        self.add_callback(LogTemperature(self))
        self.add_callback(ResumeCallback())
        self.student_temperature = None if args.student_temperature == AUTO else float(args.student_temperature)
        self.exported_temperature = self.student_temperature
        self.provenance: dict[str, Any] = {}
        self._window = LogWindow()

    # ---- training

    def train(  # type: ignore[override]
        self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any
    ) -> TrainOutput:
        """As Trainer does; picks the student's temperature first, unless it comes with the checkpoint, and goes back a
        part of the way in the end.

        Checkpoints hold weights that training can go on from, before that last step.
        """
        if not resume_from_checkpoint:
            self.calibrate()
        self._window = LogWindow()
        try:
            output = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        finally:
            self.wait_for_checkpoint()  # also of a run that is interrupted: no upload outlives the program
        if self.anchor is not None:
            self.anchor.interpolate(self.args.interpolation)
        return output

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean triplet loss of a batch from `TripletCollator`, plus the anchor's penalty if there is one."""
        embeddings = model(  # (U, d)
            **inputs["images"],
            project=self.model.projection is not None,
            images_per_forward=self.args.images_per_forward,
        )
        similarities, target = self.criterion.similarities(embeddings, inputs["triplets"]), inputs["target"]
        loss_triplet = self.criterion.loss(similarities, target, self.student_temperature).mean()
        loss = loss_triplet
        if self.anchor is not None and self.args.anchor_type == "penalty":
            loss_anchor = self.args.anchor_weight * self.anchor.penalty()
            loss = loss + loss_anchor
            self._window.add("loss_anchor", loss_anchor)
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss is {loss.item()} at step {self.state.global_step}")
        self._window.add("loss_triplet", loss_triplet)
        described = self.criterion.describe(similarities.detach(), target, self.student_temperature)
        for name, value in described.items():
            self._window.add(name, value)
        self._window.count(images=len(embeddings), triplets=len(similarities))
        return (loss, {"similarities": similarities}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss, agreement, entropies and rates of the window since the last log of a loss."""
        if "loss" in logs:
            logs.update(self._window.means_and_rates(self.accelerator.reduce, self.args.device))
            self._window = LogWindow()
            if self.anchor is not None and self.args.anchor_type == "decoupled":
                # Not a part of the loss then, but what the penalty would be
                with torch.no_grad():
                    logs["loss_anchor"] = self.args.anchor_weight * self.anchor.penalty().item()
        super().log(logs, start_time)

    def calibrate(self) -> None:
        """Picks the temperatures that were left to `auto`, on a sample of the training triplets, with the model as it
        is.

        With a projection head there are two: for the head's output, which trains, and for the embedding, which is
        exported.
        """
        if self.student_temperature is not None:
            return
        rows, triplets, target = self._arrays(self._calibration_sample())
        embeddings = self._embed(rows)
        similarities = self.criterion.similarities(embeddings, triplets)
        self.exported_temperature = self.student_temperature = self.criterion.best_temperature(similarities, target)
        if self.model.projection is not None:
            with torch.no_grad():
                projected = self.model.projection(embeddings.to(self.model.device)).float().cpu()
            similarities = self.criterion.similarities(projected, triplets)
            self.student_temperature = self.criterion.best_temperature(similarities, target)

    def _calibration_sample(self) -> Dataset:
        dataset: Any = self.train_dataset
        if dataset is None:
            raise InputError(
                "student_temperature 'auto' is chosen on training triplets, and there are none; give a number"
            )
        rng = np.random.default_rng(self.args.seed)
        if not isinstance(dataset, TeacherVectors):
            return dataset.select(np.sort(rng.permutation(len(dataset))[:CALIBRATION_TRIPLETS]))
        size = self.args.train_batch_size
        first = list(itertools.islice(self._get_train_sampler(), CALIBRATION_BATCHES * size))
        batches = np.array(first).reshape(-1, size)
        sample = sample_in_batch(dataset, batches, CALIBRATION_TRIPLETS // CALIBRATION_BATCHES, rng)
        return (
            sample.select(np.flatnonzero(column(sample, ODD) != NO_CHOICE)) if self.criterion.target == ODD else sample
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if isinstance(dataset, TeacherVectors):
            args = self.args
            return ClusterSampler(dataset.clusters, args.train_batch_size, args.images_per_cluster, args.seed)
        return super()._get_train_sampler(train_dataset)

    # ---- evaluation

    def embed_options(self) -> dict[str, Any]:
        """How `VisionEncoder.embed` is called in evaluation."""
        return {
            "batch_size": self.args.per_device_eval_batch_size,
            "num_workers": self.args.dataloader_num_workers,
            "bf16": self.args.bf16,
            "progress": not self.args.disable_tqdm,
        }

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """As Trainer's; of several held-out sets also the mean agreement and loss, to choose the best model by."""
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        splits = self.eval_dataset if eval_dataset is None else eval_dataset
        means: dict[str, float] = {}
        if isinstance(splits, dict):
            for name in ("agreement", "loss"):
                values = [metrics[f"{metric_key_prefix}_{split}_{name}"] for split in splits]
                means[f"{metric_key_prefix}_{name}"] = sum(values) / len(values)
            self.log(means)
        return metrics | means

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        is_new_best = super()._determine_best_metric(metrics, trial)
        patience, state = self.args.early_stopping_patience, self.state
        if patience is not None:
            # Counted in the log, which a checkpoint has too
            evaluated = {entry["step"] for entry in state.log_history if any(k.startswith("eval_") for k in entry)}
            start = max(state.best_global_step or 0, self.args.get_warmup_steps(state.max_steps))
            if sum(step > start for step in evaluated) >= patience:
                self.control.should_training_stop = True
        return is_new_best

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Embeds each distinct image once and measures all triplets, exactly, whatever the number of processes.

        Measured is the embedding that is exported, never a projection head.
        """
        self.calibrate()
        rows, triplets, target = self._arrays(dataloader.dataset)
        similarities = self.criterion.similarities(self._embed(rows), triplets)
        metrics = self.criterion.describe(similarities, target, self.exported_temperature)
        metrics["loss"] = self.criterion.loss(similarities, target, self.exported_temperature).mean()
        return EvalLoopOutput(
            predictions=similarities.numpy(),
            label_ids=target.numpy(),
            metrics={f"{metric_key_prefix}_{name}": value.item() for name, value in metrics.items()},
            num_samples=len(triplets),
        )

    # ---- saving, loading, sharing

    def alignment(self) -> dict[str, Any]:
        """What `alignment.json` says: how this model was made, and how to use its embedding."""
        args = self.args
        is_in_batch = isinstance(self.train_dataset, TeacherVectors)
        return {
            "base_model": public_name(self.model.backbone.name_or_path or "") or None,
            "pooling": self.model.pooling,
            "num_prefix_tokens": self.model.num_prefix_tokens,
            "triplet_source": "batch" if is_in_batch else "separate",
            "images_per_cluster": args.images_per_cluster if is_in_batch else None,
            "loss_type": args.loss_type,
            "similarity": args.similarity,
            "student_temperature": self.student_temperature,
            "exported_temperature": self.exported_temperature,
            "teacher_temperature": args.teacher_temperature,
            "anchor_type": args.anchor_type,
            "anchor_weight": args.anchor_weight,
            "interpolation": args.interpolation,
            "projection_dim": args.projection_dim,
            "augment": args.augment,
            "learning_rate": args.learning_rate,
            "global_batch_size": self.get_total_train_batch_size(args),
            "steps": self.state.global_step,
            "precision": "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32",
            "seed": args.seed,
            "versions": versions(),
            **self.provenance,
        }

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        # Not Trainer's: it would save the weights under the wrapper's names, and pickle the arguments.
        if not self.args.should_save:
            return
        directory = Path(output_dir) if output_dir else self.output_dir
        with unfinished(directory) as inside:
            self.model.save_pretrained(inside)
            write_json(inside / ALIGNMENT_FILE, self.alignment())
            for file in sorted(inside.iterdir()):
                publish(file, directory / file.name)
        if not self.model.is_adapter:  # any more: AutoModel would put what was saved of it on the whole model
            for name in ("adapter_config.json", "adapter_model.safetensors"):
                (directory / name).unlink(missing_ok=True)

    def _get_output_dir(self, trial: Any) -> str:
        # Where Trainer writes checkpoints, and would delete old ones: both happen where nobody looks for a whole one.
        return str(Path(super()._get_output_dir(trial)) / UNFINISHED)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As Trainer's, but whatever bears the name of a checkpoint is a whole one, and its weights are finite.

        Raises:
            RunError: it cannot be written, or a weight is not finite; earlier checkpoints are as they were.
        """
        if not all(torch.isfinite(p).all() for p in self.model.parameters() if p.requires_grad):
            raise self._diverged(f"a weight is not finite after step {self.state.global_step}")
        run_dir = Path(self._get_output_dir(trial)).parent
        with unfinished(run_dir) if self.args.should_save else contextlib.nullcontext(run_dir / UNFINISHED) as inside:
            self.accelerator.wait_for_everyone()  # the directory is there
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()  # everyone has written
            made = inside / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            if self.state.best_global_step == self.state.global_step:
                self.state.best_model_checkpoint = str(run_dir / made.name)
            if self.args.should_save:
                self.state.save_to_json(str(made / TRAINER_STATE_NAME))
                publish(made, run_dir / made.name)
                rotate(run_dir, self.args.save_total_limit, self.state.best_model_checkpoint)
                self.share_checkpoint(run_dir / made.name)
            self.accelerator.wait_for_everyone()  # everyone finds it

    def save_results(self, base: dict[str, Any], aligned: dict[str, Any]) -> None:
        """Writes the model as it is now, and `results.json` with metrics from before and after training."""
        self.save_model(_internal_call=True)  # internal: do not push yet
        if self.args.should_save:
            results = {"base": base, "aligned": aligned, "settings": self.alignment()}
            write_json(self.output_dir / "results.json", results)

    def create_model_card(  # type: ignore[override]
        self, license: str | None = None, model_name: str | None = None, **unused: Any
    ) -> None:
        """Writes `README.md` (and `.eval_results`) from what `alignment.json` and `results.json` say.

        Args:
            license: of the aligned model, for the metadata.
            model_name: by default the Hub id, or the name of the output directory.
            **unused: other arguments of Trainer's method, whose answers we know better.

        Raises:
            InputError: the model is an adapter that AutoModel would not open as it is here, as the card would say.
        """
        from hf_alignet.hub.cards.model_card import write_model_card

        check_export(self.model)
        if self.is_world_process_zero():
            name = self.hub_model_id or self.args.hub_model_id or model_name or self.output_dir.resolve().name
            write_model_card(self.output_dir, name, license=license)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self.model.load_weights(resume_from_checkpoint)
        saved = read_alignment(resume_from_checkpoint)
        self.student_temperature = saved["student_temperature"]
        self.exported_temperature = saved["exported_temperature"]

    def _load_best_model(self) -> None:
        self.model.load_weights(str(self.state.best_model_checkpoint))

    def end(self) -> None:
        """As Trainer's, once at the end of a script, but frees the distributed wrapper first.

        If its gradient reducer is the last to hold the process group, the group is torn down while the interpreter
        lock is held, and waits forever for a thread of its own that needs the lock.
        """
        self.model_wrapped = self.model
        self.accelerator.free_memory()
        super().end()

    # ---- inside

    def _diverged(self, reason: str) -> RunError:
        last = get_last_checkpoint(self.output_dir) if self.output_dir.is_dir() else None
        return RunError(
            f"{reason}; try a lower learning rate" + (f", from the last good checkpoint, {last}" if last else "")
        )

    def _arrays(self, dataset: Dataset) -> tuple[np.ndarray, Tensor, Tensor]:
        """Distinct image rows (U,), triplets (n, 3) as positions among them, and targets."""
        rows, positions = np.unique(column(dataset, TRIPLET), return_inverse=True)
        target = torch.from_numpy(column(dataset, self.criterion.target))
        return rows, torch.from_numpy(positions.reshape(-1, 3)), target.float() if target.ndim == 2 else target.long()

    def _embed(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.model.embed(self.images, rows=rows, **self.embed_options()))


def _with_columns(dataset: Any, names: list[str]) -> Any:
    return dataset.select_columns(names) if isinstance(dataset, Dataset) else dataset
