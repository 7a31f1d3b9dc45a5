"""Settings of an alignment run, as flags; those of training are `AlignTrainingArguments`."""

from dataclasses import dataclass, field
from typing import Literal

from peft import LoraConfig

from hf_alignet.encoder.lora import ALL_LINEAR
from hf_alignet.errors import InputError
from hf_alignet.student.training_data import learns_in_batch

AUTO = "auto"


@dataclass
class StudentArguments:
    """The student."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={"help": "Path or Hub id[@revision] of a vision model or an adapter. Default: the demo's encoder."},
    )
    pooling: Literal["auto", "cls", "mean", "pooler"] = field(
        default="auto", metadata={"help": "Which embedding to align. auto is right for the model's family."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Let code from the model's repository run."})
    use_lora: bool = field(default=False, metadata={"help": "Train a LoRA adapter on the frozen model."})
    lora_r: int = field(default=16, metadata={"help": "Rank of the adapter."})
    lora_alpha: int = field(default=32, metadata={"help": "The adapter's change is scaled by lora_alpha / lora_r."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapter, in [0, 1)."})
    lora_target_modules: list[str] = field(
        default_factory=lambda: [AUTO],
        metadata={
            "help": "Names of the layers to adapt, or ends of names. auto: every linear layer that the embedding "
            "uses, and every plain convolution of a model made of convolutions. all-linear: linear layers only."
        },
    )
    merge_lora: bool = field(default=False, metadata={"help": "Export plain weights with the adapter merged in."})

    @property
    def lora(self) -> LoraConfig | None:
        """The adapter, as `load_student` takes it."""
        if not self.use_lora:
            return None
        names = self.lora_target_modules
        targets = None if names == [AUTO] else ALL_LINEAR if names == [ALL_LINEAR] else names
        return LoraConfig(
            r=self.lora_r, lora_alpha=self.lora_alpha, lora_dropout=self.lora_dropout, target_modules=targets
        )


@dataclass
class DataArguments:
    """The data: images, and triplets of them. Without both, the data of the demo."""

    images: str | None = field(
        default=None,
        metadata={"help": "Path or Hub id of a dataset with a column `image`. Default: the embedded demo (emoji)."},
    )
    triplets: str | None = field(
        default=None,
        metadata={
            "help": "Path or Hub id of triplets: columns `triplet` (three rows of the images) and `similarities` (the "
            "teacher's, in the order 01, 02, 12). Every split but train is held out and measured. Default: the demo's."
        },
    )
    teacher_embeddings: str | None = field(
        default=None,
        metadata={
            "help": "Matrix (.npy) with the teacher's vector of every image. With it, training labels all triplets in "
            "each batch of images, of those that the train split names."
        },
    )
    class_vectors: str | None = field(
        default=None, metadata={"help": "The same, with a vector of every class of the images' column `label`."}
    )
    triplet_source: Literal["auto", "batch", "separate"] = field(
        default="auto",
        metadata={
            "help": "batch: all triplets in a batch of images. separate: those given. auto: batch with vectors."
        },
    )
    cache_images: str | None = field(
        default=None,
        metadata={
            "help": "Directory in which to keep the resized pictures, so that they are decoded once, not in every "
            "epoch and run. Takes 3 bytes per pixel: 150 kB an image at 224 x 224, 150 GB a million."
        },
    )
    on_bad_image: Literal["error", "skip"] = field(
        default="error",
        metadata={
            "help": "For pictures that cannot be decoded. error: the run stops when it reads one. skip: all pictures "
            "are decoded before the run, and triplets that name a bad one are left out."
        },
    )
    i_have_the_right_to_share_images: bool = field(
        default=False,
        metadata={
            "help": "Show small pictures in before_after.png, which is shared with the model. Default: dots, because "
            "many datasets, such as ImageNet, forbid to pass their images on. Those of the demo are always shown."
        },
    )

    def __post_init__(self) -> None:
        if (self.images is None) != (self.triplets is None):
            raise InputError(
                "give both `images` and `triplets`, which are rows of the images, or neither for the demo"
            )
        if learns_in_batch(self.teacher_embeddings, self.class_vectors, self.triplet_source) and self.images is None:
            raise InputError("the teacher's vectors belong to `images`, which are missing")
