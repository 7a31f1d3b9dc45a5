"""Which model becomes the student, and whether all of it is trained or a small adapter."""

from dataclasses import dataclass, field
from pathlib import Path

from peft import LoraConfig, PeftModel
from torch import nn
from transformers import BaseImageProcessor, PreTrainedModel

from hf_alignet.encoder.export import check_export
from hf_alignet.encoder.lora import ALL_LINEAR
from hf_alignet.encoder.model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.images.preprocessing import load_processor
from hf_alignet.student.training_arguments import AlignTrainingArguments

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
        encoder.add_lora(
            LoraConfig(
                r=arguments.lora_r,
                lora_alpha=arguments.lora_alpha,
                lora_dropout=arguments.lora_dropout,
                target_modules=_targets(arguments.lora_target_modules),
            )
        )
    if not arguments.merge_lora:
        check_export(encoder)
    return encoder


def as_encoder(
    model: str | PreTrainedModel | PeftModel | VisionEncoder, processor: BaseImageProcessor | None = None
) -> VisionEncoder:
    """The encoder that a name, path or model stands for; `processor` goes with a bare model, by default its own.

    Raises:
        InputError: the model cannot be used, or a processor is given with something that brings its own.
    """
    if processor is not None and not isinstance(model, PreTrainedModel | PeftModel):
        raise InputError("processing_class goes with a bare model; a name, path or VisionEncoder brings its own")
    if isinstance(model, VisionEncoder):
        return model
    if isinstance(model, str):
        return VisionEncoder.from_pretrained(model)
    return VisionEncoder(model, processor or load_processor(str(model.config.name_or_path)))


def _targets(names: list[str]) -> str | list[str] | None:
    """As LoraConfig and `VisionEncoder.add_lora` take them."""
    if names == [AUTO]:
        return None
    return ALL_LINEAR if names == [ALL_LINEAR] else names


def check_trainable(encoder: VisionEncoder, args: AlignTrainingArguments) -> None:
    """Refuses a model and settings that do not go together.

    Raises:
        InputError: nothing of the model is trainable, or a setting would change what training does.
    """
    if not any(parameter.requires_grad for parameter in encoder.model.parameters()):
        raise InputError("the model has no trainable parameter; an adapter has to be loaded with is_trainable=True")
    if encoder.transform is not None:
        raise InputError("the encoder has a transform, which the aligned model could not be exported with")
    if args.n_gpu > 1:
        raise InputError(
            f"one process would split its batches over {args.n_gpu} GPUs; use `accelerate launch --multi_gpu`"
        )
    if args.fsdp:
        raise InputError("--fsdp shards the weights that the anchor has to compare; use plain data parallelism")
    if args.images_per_forward is not None and _has_batch_statistics(encoder):
        raise InputError(
            "--images_per_forward would change the result: the model has batch normalisation, which would see each "
            "slice apart; use a smaller --per_device_train_batch_size"
        )


def _has_batch_statistics(encoder: VisionEncoder) -> bool:
    """Whether an embedding depends on the other images of the batch, in training; under an adapter none does."""
    has_norm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in encoder.modules())
    return has_norm and not encoder.is_adapter
