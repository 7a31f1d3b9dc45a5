"""AlignTrainer: `transformers.Trainer` whose loss is a triplet loss and whose model stays near where it began.

Nothing trainable lives outside the model. The teacher is already in the data, as similarities; the loss and the
anchor are functions. Checkpoints hold what any checkpoint of Trainer holds, without pickles of our own.
"""

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from huggingface_hub import HfApi
from peft import PeftModel
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import BaseImageProcessor, PreTrainedModel, Trainer, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

from hf_alignet import __version__
from hf_alignet.encoder import ALIGNMENT_FILE, PROJECTION_FILE, VisionEncoder, read_alignment
from hf_alignet.errors import InputError
from hf_alignet.images import load_processor
from hf_alignet.reader import ImageReader
from hf_alignet.similarity import (
    NO_CHOICE,
    choice_log_probabilities,
    entropy,
    is_correct,
    odd_one_out,
    triplet_similarities,
)
from hf_alignet.student.anchoring import Anchor, DecoupledAnchorCallback
from hf_alignet.student.arguments import AUTO, AlignTrainingArguments
from hf_alignet.student.collator import InBatchCollator, TripletCollator
from hf_alignet.student.logs import LogWindow
from hf_alignet.student.losses import triplet_hard, triplet_jsd, triplet_kl
from hf_alignet.student.temperature import match_entropy, maximize_likelihood
from hf_alignet.triplets.batches import ClusterSampler, TeacherVectors, sample_in_batch
from hf_alignet.triplets.dataset import ODD, SIMILARITIES, TRIPLET, check_triplets, column

CALIBRATION_TRIPLETS = 512
CALIBRATION_BATCHES = 8  # that they come from, if they are in-batch
# Event logs carry the name of the machine in theirs.
NOT_SHARED = ["checkpoint-*", "runs/*", "*.bin", "*.pt", "*.pth", "*.tmp", PROJECTION_FILE]


class AlignTrainer(Trainer):
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

    args: AlignTrainingArguments
    model: VisionEncoder
    hub_model_id: Any

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
        encoder = _as_encoder(model, processing_class)
        encoder.freeze_unused()
        if args.projection_dim is not None:
            encoder.add_projection(args.projection_dim)
        if not any(parameter.requires_grad for parameter in encoder.model.parameters()):
            raise InputError(
                "the model has no trainable parameter; an adapter has to be loaded with is_trainable=True"
            )
        if args.n_gpu > 1:
            raise InputError(
                f"one process would split its batches over {args.n_gpu} GPUs; use `accelerate launch --multi_gpu`"
            )
        if args.fsdp:
            raise InputError("--fsdp shards the weights that the anchor has to compare; use plain data parallelism")
        self.target = ODD if args.loss_type == "hard" else SIMILARITIES
        splits = eval_dataset if isinstance(eval_dataset, dict) else {"validation": eval_dataset}
        for split, dataset in {"train": train_dataset, **splits}.items():
            if isinstance(dataset, Dataset):
                check_triplets(dataset, len(images), self.target, split)
        self.images = images
        collator = (
            InBatchCollator(
                images, encoder.preprocessor, self.target, args.triplets_per_batch, args.seed, args.augment
            )
            if isinstance(train_dataset, TeacherVectors)
            else TripletCollator(images, encoder.preprocessor, self.target, args.augment, args.seed)
        )
        super().__init__(
            model=encoder,
            args=args,
            data_collator=collator,
            train_dataset=_with_columns(train_dataset, [TRIPLET, self.target]),
            eval_dataset=eval_dataset,
            processing_class=encoder.processor,
            **kwargs,
        )
        self.anchor = Anchor(encoder) if args.anchor_weight > 0 else None
        if self.anchor is not None and args.anchor_type == "decoupled":
            self.add_callback(DecoupledAnchorCallback(self.anchor, args.anchor_weight))
        self.add_callback(_LogTemperature(self))
        self.student_temperature = None if args.student_temperature == AUTO else float(args.student_temperature)
        self.exported_temperature = self.student_temperature
        self.provenance: dict[str, Any] = {}
        self._window = LogWindow()

    @property
    def output_dir(self) -> Path:
        return Path(str(self.args.output_dir))

    # ---- training

    def train(  # type: ignore[override]
        self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any
    ) -> TrainOutput:
        """As Trainer does; picks the student's temperature first, unless it comes with the checkpoint."""
        if not resume_from_checkpoint:
            self.calibrate()
        self._window = LogWindow()
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean triplet loss of a batch from `TripletCollator`, plus the anchor's penalty if there is one."""
        embeddings = model(**inputs["images"], project=self.model.projection is not None)  # (U, d)
        similarities = triplet_similarities(embeddings, inputs["triplets"], self.args.similarity)  # (B, 3)
        loss_triplet = self._triplet_loss(similarities, inputs["target"], self.student_temperature).mean()
        loss = loss_triplet
        if self.anchor is not None and self.args.anchor_type == "penalty":
            loss_anchor = self.args.anchor_weight * self.anchor.penalty()
            loss = loss + loss_anchor
            self._window.add("loss_anchor", loss_anchor)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.state.global_step}; try a lower learning rate"
            )
        self._window.add("loss_triplet", loss_triplet)
        for name, value in self._describe(similarities.detach(), inputs["target"], self.student_temperature).items():
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
        sample = self._calibration_sample()
        rows, triplets, target = self._arrays(sample)
        embeddings = self._embed(rows)
        self.exported_temperature = self._best_temperature(embeddings, triplets, target)
        self.student_temperature = self.exported_temperature
        if self.model.projection is not None:
            with torch.no_grad():
                projected = self.model.projection(embeddings.to(self.model.device)).float().cpu()
            self.student_temperature = self._best_temperature(projected, triplets, target)

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
        return sample.select(np.flatnonzero(column(sample, ODD) != NO_CHOICE)) if self.target == ODD else sample

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
        similarities = triplet_similarities(self._embed(rows), triplets, self.args.similarity)
        metrics = self._describe(similarities, target, self.exported_temperature)
        metrics["loss"] = self._triplet_loss(similarities, target, self.exported_temperature).mean()
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
            "hf_alignet_version": __version__,
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
            "projection_dim": args.projection_dim,
            "augment": args.augment,
            "learning_rate": args.learning_rate,
            "global_batch_size": self.get_total_train_batch_size(args),
            "steps": self.state.global_step,
            "precision": "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32",
            "seed": args.seed,
            **self.provenance,
        }

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        # Not Trainer's: it would save the weights under the wrapper's names, and pickle the arguments.
        if not self.args.should_save:
            return
        directory = Path(output_dir) if output_dir else self.output_dir
        directory.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(directory)
        write_json(directory / ALIGNMENT_FILE, self.alignment())

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
        """
        from hf_alignet.hub.card import write_model_card  # the only thing here that looks up to the rooms above

        if self.is_world_process_zero():
            name = self.hub_model_id or self.args.hub_model_id or model_name or self.output_dir.resolve().name
            write_model_card(self.output_dir, name, license=license)

    def push_to_hub(
        self,
        commit_message: str | None = "Aligned with hf_alignet",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **card_options: Any,
    ) -> Any:
        """As Trainer's, but without checkpoints, logs, pickles and the head: the model, its card and results alone."""
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**card_options)
        return HfApi().upload_folder(  # type: ignore[call-overload]
            repo_id=self.hub_model_id,
            folder_path=self.output_dir,
            commit_message=commit_message,
            token=token or self.args.hub_token,
            run_as_future=not blocking,
            revision=revision or self.args.hub_revision,
            ignore_patterns=NOT_SHARED,
        )

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

    def _triplet_loss(self, similarities: Tensor, target: Tensor, temperature: float | None) -> Tensor:
        if temperature is None:
            raise ValueError("the student's temperature is not chosen yet; call calibrate() or train()")
        if self.args.loss_type == "hard":
            return triplet_hard(similarities, target, temperature)
        loss: Callable[..., Tensor] = triplet_kl if self.args.loss_type == "kl" else triplet_jsd
        return loss(similarities, target, temperature, self.args.teacher_temperature)

    def _best_temperature(self, embeddings: Tensor, triplets: Tensor, target: Tensor) -> float:
        similarities = triplet_similarities(embeddings, triplets, self.args.similarity)
        if self.args.loss_type == "hard":
            return maximize_likelihood(similarities, target)
        return match_entropy(similarities, target, self.args.teacher_temperature)

    def _describe(self, similarities: Tensor, target: Tensor, temperature: float | None) -> dict[str, Tensor]:
        """Agreement with the teacher, and mean entropies (nats)."""
        odd = target if self.args.loss_type == "hard" else odd_one_out(target)
        described = {"agreement": is_correct(odd_one_out(similarities), odd).float().mean()}
        if temperature is not None:
            described["student_entropy"] = entropy(choice_log_probabilities(similarities, temperature)).mean()
        if self.args.loss_type != "hard":
            log_p = choice_log_probabilities(target, self.args.teacher_temperature)
            described["teacher_entropy"] = entropy(log_p).mean()
        return described

    def _arrays(self, dataset: Dataset) -> tuple[np.ndarray, Tensor, Tensor]:
        """Distinct image rows (U,), triplets (n, 3) as positions among them, and targets."""
        rows, positions = np.unique(column(dataset, TRIPLET), return_inverse=True)
        target = torch.from_numpy(column(dataset, self.target))
        return rows, torch.from_numpy(positions.reshape(-1, 3)), target.float() if target.ndim == 2 else target.long()

    def _embed(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.model.embed(self.images, rows=rows, **self.embed_options()))


class _LogTemperature(TrainerCallback):
    """Logs the temperature when training begins; before, there is no log that it would stay in."""

    def __init__(self, trainer: AlignTrainer):
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        temperature = self.trainer.student_temperature
        assert temperature is not None  # train() has chosen it
        self.trainer.log({"student_temperature": temperature})


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file so that readers see the old one or the whole new one."""
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, file)


def _as_encoder(
    model: str | PreTrainedModel | PeftModel | VisionEncoder, processor: BaseImageProcessor | None
) -> VisionEncoder:
    if processor is not None and not isinstance(model, PreTrainedModel | PeftModel):
        raise InputError("processing_class goes with a bare model; a name, path or VisionEncoder brings its own")
    if isinstance(model, VisionEncoder):
        return model
    if isinstance(model, str):
        return VisionEncoder.from_pretrained(model)
    return VisionEncoder(model, processor or load_processor(str(model.config.name_or_path)))


def _with_columns(dataset: Any, names: list[str]) -> Any:
    return dataset.select_columns(names) if isinstance(dataset, Dataset) else dataset
