"""AlignTrainer: `transformers.Trainer` with a triplet loss, for a model that stays near its initial weights."""

import contextlib
import logging
import math
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

from hf_alignet.hub.cards.model_card import share_undone
from hf_alignet.images.reader import Reader, as_reader
from hf_alignet.student.anchoring import Anchor, DecoupledAnchorCallback
from hf_alignet.student.collator import InBatchCollator, TripletCollator
from hf_alignet.student.criterion import Criterion
from hf_alignet.student.early_stopping import EarlyStopping
from hf_alignet.student.encoder_trainer import EncoderTrainer
from hf_alignet.student.interpolation import Knowledge, sample_rows
from hf_alignet.student.log_window import NEVER, LogTemperature, LogWindow
from hf_alignet.student.preparation import Model, Processor, prepare_student
from hf_alignet.student.preservation import Preservation
from hf_alignet.student.temperature import calibration_sample, calibration_size
from hf_alignet.student.training_arguments import AUTO, AlignTrainingArguments
from hf_alignet.student.training_data import training_rows
from hf_alignet.triplets.batches import TeacherVectors
from hf_alignet.triplets.triplet_dataset import TRIPLET, check_triplets

logger = logging.getLogger(__name__)


class AlignTrainer(EncoderTrainer):
    """Fine-tunes an encoder on labelled triplets of images, or of texts.

    Args:
        model: a path or Hub id, a vision or text `PreTrainedModel`, a `PeftModel`, or an encoder.
        args: settings; by default those of `AlignTrainingArguments()`.
        data_collator: by default `TripletCollator`, or `InBatchCollator` for `TeacherVectors`.
        train_dataset: triplets with `similarities` (or `odd`, for `loss_type="hard"`); or `TeacherVectors`, for
            in-batch triplets.
        eval_dataset: held-out triplets of the same images, or a dict of several.
        processing_class: the image processor or tokenizer of a bare model; by default its own.
        images: the image dataset that triplets point into, or a reader or `ImageCache` of it; for a text model, a
            dataset with a column `text`.
        callbacks: as for `transformers.Trainer`, like `optimizers`.

    Raises:
        InputError: data or settings that cannot work; see the message.

    Example:
        >>> args = AlignTrainingArguments("outputs/aligned", learning_rate=1e-5)  # doctest: +SKIP
        >>> trainer = AlignTrainer("user/model", args, train_dataset=triplets, images=images)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
    """

    # The loss is a mean over the batch, so Trainer has to divide it by the accumulation steps
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: Model,
        args: AlignTrainingArguments | None = None,
        data_collator: Any = None,
        train_dataset: Dataset | TeacherVectors | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: Processor | None = None,
        *,
        images: Dataset | Reader,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ):
        args = args or AlignTrainingArguments()
        encoder = prepare_student(model, processing_class, args)
        self.reader = as_reader(images, encoder.preprocessor)
        self.criterion = Criterion(args.loss_type, args.similarity, args.teacher_temperature)
        target = self.criterion.target
        splits = eval_dataset if isinstance(eval_dataset, dict) else {"validation": eval_dataset}
        for split, dataset in {"train": train_dataset, **splits}.items():
            if isinstance(dataset, Dataset):
                check_triplets(dataset, len(images), target, split)
        self.is_in_batch = isinstance(train_dataset, TeacherVectors)
        kind = partial(InBatchCollator, limit=args.triplets_per_batch) if self.is_in_batch else TripletCollator
        if isinstance(train_dataset, Dataset):
            train_dataset = train_dataset.select_columns([TRIPLET, target])
        super().__init__(
            model=encoder,
            args=args,
            data_collator=data_collator or kind(self.reader, encoder.preprocessor, target, args.augment, args.seed),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=encoder.processor,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        self.interpolation = None if args.interpolation == AUTO else float(args.interpolation)
        self.anchor = Anchor(encoder) if args.anchor_weight > 0 or self.interpolation != 1 else None
        if self.anchor is not None and args.anchor_type == "decoupled" and args.anchor_weight > 0:
            self.add_callback(DecoupledAnchorCallback(self.anchor, args.anchor_weight))
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStopping(args.early_stopping_patience))
        self.add_callback(LogTemperature(self))
        self.student_temperature = None if args.student_temperature == AUTO else float(args.student_temperature)
        self.exported_temperature = self.student_temperature
        self.preservation: Preservation | None = None  # made before the first training, like the anchor
        self._window = LogWindow(args.device)
        self._is_training = False

    # ---- training

    def train(  # type: ignore[override]
        self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any
    ) -> TrainOutput:
        """As Trainer's, between the choice of the student's temperature and the interpolation of the weights.

        A checkpoint brings its temperature. Checkpoints hold the weights before interpolation.
        """
        if not resume_from_checkpoint:
            self.calibrate()
        if self.args.preserve_weight > 0 and self.preservation is None:
            self.preservation = Preservation(rows := training_rows(self.train_dataset), self._embed(rows))
        known = sample_rows(*self.rows_by_use(), self.args.seed) if self.interpolation is None else None
        self._window, self._is_training = LogWindow(self.args.device), True
        try:
            output = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        finally:
            self._is_training = False
            self.sharing.finish(self.output_dir)  # after an interruption, too: no upload outlives the program
        if self.anchor is not None:
            if known is not None:
                self.interpolation = self._choose_interpolation(self.anchor, known)
            self.anchor.interpolate(self.interpolation or 1.0)
        if self.args.should_log and (undone := share_undone(self.interpolation)):
            logger.info("%s", undone)
        return output

    def _choose_interpolation(self, anchor: Anchor, rows: np.ndarray) -> float:
        def embed(share: float) -> Tensor:
            with anchor.interpolated(share):
                return self._embed(rows)

        return Knowledge(embed(0.0), self.args.seed).furthest(embed)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean triplet loss of a batch from the collator, plus what keeps neighbours, and the anchor's penalty."""
        options = {"project": self.model.projection is not None, "images_per_forward": self.args.images_per_forward}
        embeddings = model(**inputs["images"], **options)  # (U, d)
        if "similarities" in inputs:  # all triplets among the images
            measured = self.criterion.measure_batch(embeddings, inputs["similarities"], self.student_temperature)
            number = math.comb(len(embeddings), 3)
        else:
            similarities = self.criterion.similarities(embeddings, inputs["triplets"])
            measured = self.criterion.measure(similarities, inputs["target"], self.student_temperature)
            number = len(similarities)
        logs = {"loss_triplet": (loss := measured.pop("loss")), **measured}
        if self.preservation is not None:
            logs["loss_preserve"] = self.args.preserve_weight * self.preservation.loss(embeddings, inputs)
            loss = loss + logs["loss_preserve"]
        if self.anchor is not None and self.args.anchor_type == "penalty":
            logs["loss_anchor"] = self.args.anchor_weight * self.anchor.penalty()
            loss = loss + logs["loss_anchor"]
        self._window.add(loss, self.state.global_step + 1, logs, images=len(embeddings), triplets=number)
        return (loss, {"embeddings": embeddings}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss, agreement, entropies and rates of the window since the last log of a loss.

        Raises:
            RunError: a loss since then was not finite.
        """
        if "loss" in logs or "train_loss" in logs:
            self._check_losses()
        if "loss" in logs:
            logs.update(self._window.means_and_rates(self.accelerator.reduce))
            self._window = LogWindow(self.args.device)
            if self.anchor is not None and self.args.anchor_type == "decoupled":
                # No part of the loss: what the penalty would be
                with torch.no_grad():
                    logs["loss_anchor"] = self.args.anchor_weight * self.anchor.penalty().item()
        super().log(logs, start_time)

    def _check_losses(self) -> None:
        step = int(self.accelerator.gather(self._window.first_bad_step).min())
        if step != NEVER:
            raise self.diverged(f"the loss is not finite at step {step}")

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._check_losses()
        super()._save_checkpoint(model, trial)

    def calibrate(self) -> None:
        """Chooses the temperatures that were left to `auto`, on training triplets, with the model as it is.

        A projection head has its own: its output trains, and the embedding is exported.
        """
        if self.student_temperature is not None:
            return
        order, size = self._get_train_sampler() if self.is_in_batch else (), self.args.train_batch_size
        number = calibration_size(getattr(self.reader.preprocessor, "shrunk_edge", 0))  # texts have none
        sample = calibration_sample(self.train_dataset, self.criterion.target, order, size, self.args.seed, number)
        rows, triplets, target = self.criterion.arrays(sample)
        embeddings = self._embed(rows)
        self.exported_temperature = self.criterion.best_temperature(embeddings, triplets, target)
        if self.model.projection is not None:
            with torch.no_grad():
                embeddings = self.model.projection(embeddings.to(self.model.device)).float().cpu()
        self.student_temperature = self.criterion.best_temperature(embeddings, triplets, target)

    # ---- evaluation

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Embeds each distinct image once and measures all triplets, exactly, whatever the number of processes.

        It measures what is exported: the embedding, never a projection head, and also during training the interpolated
        weights.
        """
        self.calibrate()
        rows, triplets, target = self.criterion.arrays(dataloader.dataset)
        share = (self.interpolation or 1.0) if self._is_training else 1.0
        weights = self.anchor.interpolated(share) if self.anchor and share < 1 else contextlib.nullcontext()
        # Training goes on as if nothing had been measured; the data loader of an evaluation draws a random number
        with weights, torch.random.fork_rng(devices=[], enabled=self._is_training):
            similarities = self.criterion.similarities(self._embed(rows), triplets)
        metrics = self.criterion.measure(similarities, target, self.exported_temperature)
        return EvalLoopOutput(
            predictions=similarities.numpy(),
            label_ids=target.numpy(),
            metrics={f"{metric_key_prefix}_{name}": value.item() for name, value in metrics.items()},
            num_samples=len(triplets),
        )
