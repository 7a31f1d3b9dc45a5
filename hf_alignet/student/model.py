"""Which model becomes the student, and whether all of it is trained or a small adapter."""

from dataclasses import dataclass, field
from pathlib import Path

from peft import LoraConfig
from transformers import AutoConfig

from hf_alignet.encoder import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.lora import ALL_LINEAR
from hf_alignet.sources import split_revision

AUTO = "auto"


@dataclass
class StudentArguments:
    """The student."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Path or Hub id (optionally with @revision) of any vision model that AutoModel loads, or of an "
            "adapter. Default: the small encoder of the demo."
        },
    )
    pooling: str = field(
        default="auto",
        metadata={
            "help": "Which embedding to align. auto is right for the model's family.",
            "choices": ["auto", "cls", "mean", "pooler"],
        },
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Let code from the model's repository run."})
    use_lora: bool = field(
        default=False, metadata={"help": "Train a LoRA adapter on the frozen model, not all weights."}
    )
    lora_r: int = field(default=16, metadata={"help": "Rank of the adapter."})
    lora_alpha: int = field(default=32, metadata={"help": "The adapter's change is scaled by lora_alpha / lora_r."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapter, in [0, 1)."})
    lora_target_modules: list[str] = field(
        default_factory=lambda: [AUTO],
        metadata={
            "help": "Names of the layers to adapt, or ends of names. auto: every linear layer that the embedding "
            "uses, and in a model made of convolutions every plain one of these. all-linear: linear layers only."
        },
    )
    merge_lora: bool = field(default=False, metadata={"help": "Export plain weights with the adapter merged in."})


def load_student(arguments: StudentArguments, default: Path) -> VisionEncoder:
    """The encoder to train, with a new adapter where one is asked for.

    Raises:
        InputError: the model cannot be used, or LoRA finds no layer in it.
    """
    name = arguments.model_name_or_path or str(default)
    encoder = VisionEncoder.from_pretrained(name, arguments.pooling, arguments.trust_remote_code)
    if arguments.use_lora:
        if encoder.is_adapter:
            raise InputError(f"{name!r} is an adapter already; leave out --use_lora to go on training it")
        if not arguments.merge_lora:
            _check_base(encoder, name, arguments.trust_remote_code)
        encoder.add_lora(
            LoraConfig(
                r=arguments.lora_r,
                lora_alpha=arguments.lora_alpha,
                lora_dropout=arguments.lora_dropout,
                target_modules=_targets(arguments.lora_target_modules),
            )
        )
    return encoder


def _targets(names: list[str]) -> str | list[str] | None:
    """As LoraConfig and `VisionEncoder.add_lora` take them."""
    if names == [AUTO]:
        return None
    return ALL_LINEAR if names == [ALL_LINEAR] else names


def _check_base(encoder: VisionEncoder, name_or_path: str, trust_remote_code: bool) -> None:
    """Refuses an adapter on a model that AutoModel, which loads it with the adapter, would run in another way."""
    name, revision = split_revision(name_or_path)
    whole = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    problem = None
    if whole.model_type != encoder.backbone.config.model_type:
        problem = "holds more than the vision tower, and AutoModel would put an adapter on all of it"
    elif getattr(whole, "mask_ratio", 0) > 0:
        problem = "hides most of every image when AutoModel loads it with an adapter"
    if problem is not None:
        raise InputError(f"{name_or_path!r} {problem}; add --merge_lora to export plain weights")


def check_sharing(encoder: VisionEncoder) -> None:
    """Refuses, before training, to push an adapter whose base model only this machine has.

    Raises:
        InputError: the base of the adapter is a local directory.
    """
    base = str(encoder.backbone.name_or_path)
    if encoder.is_adapter and Path(base).expanduser().exists():
        raise InputError(
            f"--push_to_hub would share an adapter whose base model {base!r} is not on the Hub, so nobody could load "
            "it; add --merge_lora, or give the base by its Hub id"
        )
