"""Settings of an alignment run: those of `transformers.Trainer`, and our own few."""

from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from transformers import TrainingArguments
from transformers.optimization import get_scheduler

from hf_alignet.errors import InputError
from hf_alignet.images.workers import default_workers
from hf_alignet.ranges import Count, NotNegative, Positive, Range, Seed, Whole, check, check_fields
from hf_alignet.similarity import SimilarityKind
from hf_alignet.student.losses import LossType

AUTO, ALL = "auto", "all"
OF_TEXT, OF_EVALUATION = "it is for models of text", "AlignTrainer measures held-out triplets in its own way"
OF_SCRIPTS = "only some scripts of transformers look at it"
# Settings of Trainer that change nothing here, and why. `local_rank` does not either, but old launchers give it.
WITHOUT_EFFECT = {
    **dict.fromkeys(("use_cache", "neftune_noise_alpha", "use_liger_kernel", "liger_kernel_config"), OF_TEXT),
    **dict.fromkeys(("include_num_input_tokens_seen", "average_tokens_across_devices", "length_column_name"), OF_TEXT),
    **dict.fromkeys(("prediction_loss_only", "eval_accumulation_steps", "eval_do_concat_batches"), OF_EVALUATION),
    **dict.fromkeys(("eval_use_gather_object", "include_for_metrics", "batch_eval_metrics"), OF_EVALUATION),
    **dict.fromkeys(("do_train", "do_eval", "do_predict"), OF_SCRIPTS),
    "label_names": "the labels are those of the triplets",
}
MAPPINGS = ("lr_scheduler_kwargs", "activation_checkpointing_kwargs", "gradient_checkpointing_kwargs")
# Settings of Trainer with only one value that works here
FIXED = ("label_smoothing_factor", "remove_unused_columns", "bf16_full_eval", "fp16_full_eval", "fsdp", "fsdp_config")
# Ranges of settings of Trainer that are declared there
RANGES = {
    "torch_compile_mode": Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None,
    **dict.fromkeys(("weight_decay", "max_grad_norm", "eval_delay"), NotNegative),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), Annotated[float, Range(0, below=1)]),
    **dict.fromkeys(("adam_epsilon", "save_steps"), Positive),
    **dict.fromkeys(("gradient_accumulation_steps", "ddp_timeout"), Count),
    **dict.fromkeys(("save_total_limit", "torch_empty_cache_steps", "dataloader_prefetch_factor"), Count | None),
    "max_steps": Count | Literal[-1],
    "eval_steps": Positive | None,
    "seed": Seed,
    "data_seed": Seed | None,
}

# Settings that are a number in a range, or a word
OR_WORD: dict[str, tuple[type, Any]] = {
    "student_temperature": (float, Positive | Literal["auto"]),
    "interpolation": (float, Annotated[float, Range(above=0, most=1)] | Literal["auto"]),
    "last_blocks": (int, Count | Literal["auto", "all"]),
    "images_per_cluster": (int, Count | Literal["auto"]),
}


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass
class AlignTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the choices of AligNet (Muttenthaler et al. 2025), called "the paper" below.

    Raises:
        InputError: a value is out of its range (names the setting and the value), or settings exclude each other.
    """

    hidden: ClassVar[tuple[str, ...]] = (*WITHOUT_EFFECT, *FIXED, "local_rank")  # not worth a line of help

    loss_type: LossType = _setting(
        "kl",
        "kl: KL from the teacher's choice probabilities (the paper, eq. 5). jsd: Jensen-Shannon, as in the released "
        "configuration. hard: negative log-likelihood of the odd one out (eq. 1), for human choices.",
    )
    similarity: SimilarityKind = _setting("dot", "Similarity of two student embeddings; the paper takes dot products.")
    student_temperature: str = _setting(
        AUTO,
        "The student's similarities are divided by it before the softmax. auto: chosen once before training, so that "
        "the student is as undecided as the teacher (hard: by likelihood). The paper's 100 fits one model.",
    )
    teacher_temperature: Positive = _setting(1.0, "The same for the teacher's similarities (the paper: 1).")
    anchor_type: Literal["decoupled", "penalty"] = _setting(
        "decoupled",
        "How weights are held near those at the start. decoupled: pulled by lr * anchor_weight each step, as in the "
        "released configuration. penalty: anchor_weight * squared distance in the loss (eq. 6).",
    )
    anchor_weight: NotNegative = _setting(1.0, "Strength of the anchor, 0 for none (released configuration: 1).")
    preserve_weight: NotNegative = _setting(
        0.0,
        "Weight of a loss that keeps, for each image of a batch, which of the others are its neighbours: KL from the "
        "distribution of the model before training, over cosines, as in gLocal (Muttenthaler et al. 2023). All "
        "training images are embedded once before. 0 for none.",
    )
    interpolation: str = _setting(
        AUTO,
        "Where the exported weights lie between those at the start (0) and the trained ones (1), as in WiSE-FT "
        "(Wortsman et al. 2022). 1 aligns most; less keeps more of what the model knew. auto: as far as no loss "
        "shows in the 1-shot accuracy in clusters of up to 500 images, without labels: see recipes/frontier. "
        "Evaluations during training measure these weights, too, and with auto the trained ones.",
    )
    last_blocks: str = _setting(
        AUTO,
        "Train only so many of the last blocks of a transformer, and what comes after. auto: a third of them (4 of "
        "12), which at the same alignment keeps more of what the model knew, in less time: see recipes/frontier. all: "
        "everything, as auto does for adapters, texts, and models whose blocks are not one list.",
    )
    projection_dim: Count | None = _setting(
        None,
        "Train through a new linear head of this many dimensions (released configuration: 1024) instead of the "
        "embedding itself. The head is not exported, and evaluation never uses it.",
    )
    images_per_cluster: str = _setting(
        AUTO,
        "In-batch triplets: images of each cluster (or class) in a batch. It must divide the batch. auto: 1, or as "
        "few as there are clusters for: triplets of three clusters teach most, see recipes/frontier.",
    )
    triplets_per_batch: Count | None = _setting(
        None, "In-batch triplets: train on a random subset of so many of each batch (default: on all of them)."
    )
    images_per_forward: Count | None = _setting(
        None,
        "Embed a batch in slices of this many images, and embed each again in the backward pass: the same gradients "
        "in less memory, for one more forward pass.",
    )
    early_stopping_patience: Count | None = _setting(
        None,
        "Stop after this many evaluations in a row that are no better on the held-out triplets, not counting warm-up. "
        "Each new best is a checkpoint, and the best is exported. Needs eval_strategy; eval_steps is then 0.05 of the "
        "run by default.",
    )
    augment: bool = _setting(
        False,
        "Train on random crops (half the area or more) of the pictures, flipped at random. The paper does not. "
        "Evaluation never does.",
    )

    # Defaults of Trainer that would be wrong here, or that the paper sets otherwise
    output_dir: str | None = _setting(
        "outputs/aligned",
        "Directory for the aligned model, results.json and checkpoints. It must be new or empty, unless resumed.",
    )
    per_device_train_batch_size: Count = _setting(
        64,
        "Triplets per step and device; each distinct image of them is embedded once. With in-batch triplets: images "
        "per step and device.",
    )
    per_device_eval_batch_size: Count = _setting(64, "Images per forward pass and device in evaluation.")
    learning_rate: NotNegative = _setting(3e-5, "Peak learning rate (released configuration: 3e-5).")
    num_train_epochs: Positive = _setting(1.0, "Passes over the training triplets.")
    warmup_steps: NotNegative = _setting(
        0.05, "Steps, or share of all if below 1, of linear warm-up (5 %% as released)."
    )
    lr_scheduler_type: str = _setting("cosine", "Course of the learning rate after warm-up.")
    logging_steps: Positive = _setting(10, "Steps from one log to the next (a share of all steps if below 1).")
    dataloader_num_workers: Whole | None = _setting(  # type: ignore[assignment]
        None,
        "Processes that decode pictures; 0 decodes them in the main process (default: one for each other core if "
        "there is a GPU and the pictures are many, else 0).",
    )
    logging_nan_inf_filter: bool = _setting(False, "Look at every loss, and keep it out of the logs if not finite.")
    metric_for_best_model: str | None = _setting(None, "The metric of the best model (default: held-out agreement).")
    resume_from_checkpoint: str | None = _setting(
        None,
        "Go on from the last checkpoint in output_dir (last), from the directory of a checkpoint, or from a model on "
        "the Hub (user/name, optionally @revision) that was shared with hub_strategy checkpoint.",
    )
    hub_strategy: Literal["end", "checkpoint"] = _setting(
        "end",
        "With push_to_hub. end: the model is shared once, with its results. checkpoint: so is the newest checkpoint, "
        "as last-checkpoint, to resume from on any machine.",
    )
    remove_unused_columns: bool = _setting(False, "Must stay false: the collator needs columns that no model takes.")

    def __post_init__(self) -> None:
        check_fields(self, RANGES)
        for name, (number, kind) in OR_WORD.items():
            setattr(self, name, check(name, _number(getattr(self, name), number), kind))
        # Without an accelerator, Trainer allows bf16 only together with use_cpu
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if self.dataloader_num_workers is None and self.use_cpu:
            self.dataloader_num_workers = 0
        if self.early_stopping_patience is not None:
            if self.eval_strategy == "no":
                raise InputError(
                    f"`early_stopping_patience={self.early_stopping_patience}` needs evaluations: set "
                    "`eval_strategy` to steps or epoch, not no"
                )
            self.load_best_model_at_end, self.save_strategy = True, "best"
            self.save_total_limit = self.save_total_limit or 2
            if self.eval_steps is None:
                self.eval_steps = 0.05  # Trainer would evaluate at every log
        if (self.load_best_model_at_end or self.save_strategy == "best") and self.metric_for_best_model is None:
            self.metric_for_best_model = "agreement"
        if self.trackio_static_space_id is None:
            self.trackio_static_space_id = False  # or push_to_hub would make a public Space of the logs
        self._check()
        workers = self.dataloader_num_workers
        self.dataloader_num_workers = default_workers() if workers is None else workers  # Trainer compares it
        try:
            super().__post_init__()
        except (ValueError, TypeError, OSError, ImportError) as error:
            raise InputError(" ".join(str(error).split())) from error
        self.dataloader_num_workers = workers
        self._check_mappings()
        if self.ddp_find_unused_parameters is None:
            # AlignTrainer freezes unused parameters, and a search for them breaks activation checkpointing
            self.ddp_find_unused_parameters = False

    def _check_mappings(self) -> None:
        """Trainer reads them from JSON, and uses them late."""
        for name in MAPPINGS:
            value = getattr(self, name, None)  # not every version of transformers has all
            if not isinstance(value, dict | None):
                raise InputError(f"`{name}` must be a JSON object, such as {{}}, got {value!r}")
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
        options: Any = self.lr_scheduler_kwargs
        try:
            get_scheduler(self.lr_scheduler_type, optimizer, 0, 1, scheduler_specific_kwargs=dict(options or {}))
        except (TypeError, ValueError, AssertionError) as error:
            raise InputError(
                f"`lr_scheduler_kwargs={self.lr_scheduler_kwargs}` do not fit `lr_scheduler_type`: {error}"
            ) from error

    def _check(self) -> None:
        defaults = {setting.name: _default(setting) for setting in fields(self)}
        for name, reason in WITHOUT_EFFECT.items():
            value = getattr(self, name, None)  # not every version of transformers has all
            if name == "do_eval" and self.eval_strategy != "no":
                continue  # Trainer sets it itself
            if name in defaults and value != defaults[name] and (value, defaults[name]) != (False, "no"):
                raise InputError(f"`{name}` does nothing here, got {value!r}: {reason}; leave it out")
        rules = {
            "label_smoothing_factor": (not self.label_smoothing_factor, "0, as triplets have soft labels"),
            "eval_on_start": (not self.eval_on_start or self.eval_strategy != "no", "false without `eval_strategy`"),
            "dataloader_persistent_workers": (
                not self.dataloader_persistent_workers or bool(self.dataloader_num_workers),
                "false without `dataloader_num_workers`",
            ),
            "dataloader_prefetch_factor": (
                self.dataloader_prefetch_factor is None or bool(self.dataloader_num_workers),
                "left out without `dataloader_num_workers`",
            ),
            "remove_unused_columns": (not self.remove_unused_columns, "false, as the collator needs all columns"),
        }
        for name, (is_kept, rule) in rules.items():
            if not is_kept:
                raise InputError(f"`{name}` must be {rule}, got {getattr(self, name)!r}")
        if self.bf16_full_eval or self.fp16_full_eval:
            raise InputError("`bf16_full_eval` and `fp16_full_eval` would round the weights: use `bf16`, as fast")
        if self.train_sampling_strategy not in ("random", "sequential"):
            raise InputError(
                f"`train_sampling_strategy` must be random or sequential, got {self.train_sampling_strategy!r}: "
                "triplets have no lengths"
            )
        if self.augment and self.train_sampling_strategy == "sequential" and self.num_train_epochs > 1:
            raise InputError(
                "with `train_sampling_strategy=sequential`, `augment` would crop each batch the same in every epoch: "
                "shuffle, or leave it out"
            )
        if self.torch_compile and self.images_per_forward is not None:
            raise InputError(
                f"`images_per_forward={self.images_per_forward}` would make `torch_compile` compile again for each "
                "number of images in a batch: leave one of them out"
            )
        if self.preserve_weight > 0 and self.projection_dim is not None:
            raise InputError(
                f"`preserve_weight={self.preserve_weight}` is about the embedding, and `projection_dim="
                f"{self.projection_dim}` trains a head on it: leave one of them out"
            )
        if self.hub_strategy == "checkpoint" and (not self.push_to_hub or self.save_strategy == "no"):
            raise InputError("`hub_strategy=checkpoint` needs `push_to_hub`, and checkpoints: see `save_strategy`")

    @property
    def hub_name(self) -> str:
        """The name on the Hub: `hub_model_id`, or that of the output directory, for the user who is logged in."""
        return self.hub_model_id or Path(str(self.output_dir)).resolve().name

    def embed_options(self) -> dict[str, Any]:
        """How `Encoder.embed` is called in evaluation."""
        options = {"batch_size": self.per_device_eval_batch_size, "num_workers": self.dataloader_num_workers}
        return options | {"bf16": self.bf16, "progress": not self.disable_tqdm}


def _default(setting: Field[Any]) -> Any:
    return setting.default if setting.default_factory is MISSING else setting.default_factory()


def _number(text: Any, kind: type) -> Any:
    """The number that a text is, or else what was given."""
    try:
        return kind(text) if isinstance(text, str) else text
    except ValueError:
        return text
