"""Settings of an alignment run: those of `transformers.Trainer`, and our own few."""

import math
from dataclasses import dataclass, field

import torch
from transformers import TrainingArguments

from hf_alignet.errors import InputError
from hf_alignet.similarity import SimilarityKind
from hf_alignet.student.losses import LossType

AUTO = "auto"


@dataclass
class AlignTrainingArguments(TrainingArguments):
    """`TrainingArguments` with the choices of AligNet (Muttenthaler et al. 2025), called "the paper" below.

    Raises:
        InputError: a value outside its range (names the flag and the value).
    """

    loss_type: LossType = field(
        default="kl",
        metadata={
            "help": "kl: KL from the teacher's choice probabilities (the paper, eq. 5). jsd: Jensen-Shannon, as in "
            "the released configuration. hard: negative log-likelihood of the odd one out (eq. 1); takes human "
            "choices."
        },
    )
    similarity: SimilarityKind = field(
        default="dot", metadata={"help": "Similarity of two student embeddings; the paper takes dot products."}
    )
    student_temperature: str = field(
        default=AUTO,
        metadata={
            "help": "The student's similarities are divided by it before the softmax. auto: chosen once before "
            "training, so that the student is as undecided as the teacher (hard: by likelihood). The paper's 100 "
            "fits one model."
        },
    )
    teacher_temperature: float = field(
        default=1.0,
        metadata={"help": "The teacher's similarities are divided by it before the softmax (the paper: 1)."},
    )
    anchor_type: str = field(
        default="decoupled",
        metadata={
            "help": "How weights are held near those at the start. decoupled: pulled there by lr * anchor_weight "
            "each step, as in the released configuration. penalty: anchor_weight * squared distance in the loss "
            "(eq. 6).",
            "choices": ["decoupled", "penalty"],
        },
    )
    anchor_weight: float = field(
        default=1.0, metadata={"help": "Strength of the anchor, 0 for none. The released configuration takes 1."}
    )
    interpolation: float = field(
        default=0.4,
        metadata={
            "help": "How far the final weights go from those at the start (0) to the trained ones (1), as in WiSE-FT "
            "(Wortsman et al. 2022). Far is more alignment, near is more of what the model knew: see "
            "recipes/things-vit-tiny for what that trades."
        },
    )
    projection_dim: int | None = field(
        default=None,
        metadata={
            "help": "Train through a new linear head of this many dimensions (the released configuration: 1024) "
            "instead of the embedding itself. The head is not exported, and evaluation never uses it."
        },
    )

    images_per_cluster: int = field(
        default=4,
        metadata={"help": "In-batch triplets: images of each cluster (or class) in a batch, which it must divide."},
    )
    triplets_per_batch: int = field(
        default=1_000_000,
        metadata={
            "help": "In-batch triplets: a random subset of so many where a batch has more, which by default is one of "
            "over 182 images."
        },
    )
    images_per_forward: int | None = field(
        default=None,
        metadata={
            "help": "Embed a batch in slices of so many images, and each again going back: the same gradients in "
            "less memory, for one more forward pass."
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop after so many evaluations, not counting warm-up, that are no better on the held-out "
            "triplets, and export the best model. Needs --eval_strategy; --eval_steps is 0.05 of the run by default. "
            "Checkpoints are written at each new best."
        },
    )
    augment: bool = field(
        default=False,
        metadata={
            "help": "Train on random crops (half the area or more) of the pictures, flipped at random. The paper does "
            "not. Evaluation never does."
        },
    )

    # Defaults of Trainer that would be wrong here, or that the paper sets otherwise
    output_dir: str | None = field(
        default="outputs/demo-aligned",
        metadata={
            "help": "Where the aligned model, results.json and checkpoints go. Must be new or empty unless resumed."
        },
    )
    per_device_train_batch_size: int = field(
        default=64,
        metadata={
            "help": "Triplets a step and device, each distinct image of which is embedded once; with in-batch "
            "triplets, images a step and device."
        },
    )
    per_device_eval_batch_size: int = field(
        default=64, metadata={"help": "Images a forward pass and device in evaluation."}
    )
    learning_rate: float = field(default=3e-5, metadata={"help": "Peak learning rate (released configuration: 3e-5)."})
    num_train_epochs: float = field(default=1.0, metadata={"help": "Passes over the training triplets."})
    warmup_steps: float = field(
        default=0.05,
        metadata={"help": "Steps, or share of all steps if below 1, of linear warm-up (5 %% as released)."},
    )
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Course of the learning rate after warm-up."})
    logging_steps: float = field(default=10, metadata={"help": "Log every so many steps (a share of all if below 1)."})
    metric_for_best_model: str | None = field(
        default=None,
        metadata={"help": "What the best model is best in (default: agreement on the held-out triplets)."},
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "Go on from the last checkpoint in --output_dir (last), from that directory of a checkpoint, or "
            "from that model on the Hub (user/name, optionally @revision), if it was shared with --hub_strategy "
            "checkpoint."
        },
    )
    hub_strategy: str = field(
        default="end",
        metadata={
            "help": "With --push_to_hub. end: the model is shared once, with its results. checkpoint: the newest "
            "checkpoint too, as last-checkpoint, to resume from on any machine.",
            "choices": ["end", "checkpoint"],
        },
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must stay false: the collator needs columns that no model takes."}
    )

    def __post_init__(self) -> None:
        if self.hub_strategy not in ("end", "checkpoint"):
            raise InputError(
                f"--hub_strategy must be end or checkpoint, got {self.hub_strategy}: a model is shared once, when it "
                "is measured, and of checkpoints the newest alone"
            )
        if self.label_smoothing_factor:
            raise InputError("--label_smoothing_factor is for classes: triplets have soft labels of their own")
        # Trainer wants to be told that there is no accelerator before it allows bf16.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if self.early_stopping_patience is not None:
            if self.eval_strategy == "no":
                raise InputError("--early_stopping_patience needs evaluations; add --eval_strategy steps or epoch")
            self.load_best_model_at_end, self.save_strategy = True, "best"
            self.save_total_limit = self.save_total_limit or 2
            if self.eval_steps is None:
                self.eval_steps = 0.05  # a share of the run; that of Trainer would be every log
        if (self.load_best_model_at_end or self.save_strategy == "best") and self.metric_for_best_model is None:
            self.metric_for_best_model = "agreement"
        if self.trackio_static_space_id is None:
            self.trackio_static_space_id = False  # else --push_to_hub would make a public Space of the logs
        super().__post_init__()
        if self.ddp_find_unused_parameters is None:
            # The trainer freezes unused parameters, and looking for them breaks activation checkpointing.
            self.ddp_find_unused_parameters = False
        if self.student_temperature != AUTO:
            _check_positive("student_temperature", _number("student_temperature", self.student_temperature))
        _check_positive("teacher_temperature", self.teacher_temperature)
        if not (math.isfinite(self.anchor_weight) and self.anchor_weight >= 0):
            raise InputError(f"--anchor_weight must be 0 or more, got {self.anchor_weight}")
        if not 0 < self.interpolation <= 1:
            raise InputError(f"--interpolation must be above 0 and at most 1, got {self.interpolation}")
        for name in ("triplets_per_batch", "projection_dim", "images_per_forward", "early_stopping_patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name} must be at least 1, got {value}")
        if self.bf16_full_eval or self.fp16_full_eval:
            raise InputError(
                "--bf16_full_eval and --fp16_full_eval would round the weights; --bf16 makes evaluation as fast"
            )
        if self.augment and self.train_sampling_strategy == "sequential" and self.num_train_epochs > 1:
            raise InputError(
                "--augment with --train_sampling_strategy sequential would crop each batch the same in every epoch; "
                "shuffle, or leave it out"
            )
        if self.hub_strategy == "checkpoint" and (not self.push_to_hub or self.save_strategy == "no"):
            raise InputError("--hub_strategy checkpoint needs --push_to_hub, and checkpoints: see --save_strategy")
        if self.remove_unused_columns:
            raise InputError("--remove_unused_columns must be false: the collator needs columns that no model takes")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--{name} must be auto or a number, got {text!r}") from None


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"--{name} must be positive and finite, got {value}")
