"""Loads the student, and prepares it for training."""

from peft import LoraConfig, PeftModel
from torch import nn
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase

from hf_alignet.encoder.blocks import blocks_of
from hf_alignet.encoder.encoder_opening import open_encoder
from hf_alignet.encoder.export_checks import check_export
from hf_alignet.encoder.model import Encoder
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.student.training_arguments import ALL, AUTO, AlignTrainingArguments

Model = str | PreTrainedModel | PeftModel | Encoder
Processor = BaseImageProcessor | PreTrainedTokenizerBase


def load_student(
    model: Model,
    pooling: str = "auto",
    trust_remote_code: bool = False,
    lora: LoraConfig | None = None,
    merge_lora: bool = False,
) -> Encoder:
    """The encoder to train.

    Args:
        model: path or Hub id, optionally with `@revision`, of a model or of an adapter; or the model itself.
        pooling: `cls`, `mean`, `pooler`, `last`, or `auto` for the one of the model's family. Not for an encoder.
        trust_remote_code: let code from the model's repository run.
        lora: a new adapter to train on the frozen model; see `Encoder.add_lora` for its layers.
        merge_lora: whether the adapter will be merged before the export, so that any model can have one.

    Raises:
        InputError: the model cannot be used, or LoRA finds no layer in it.
    """
    encoder = open_encoder(model, pooling, trust_remote_code)
    if lora is not None:
        if encoder.is_adapter:
            name = model if isinstance(model, str) else "the model"
            raise InputError(f"{name!r} is an adapter already: train it without a second one on top")
        encoder.add_lora(lora)
    if not merge_lora:
        check_export(encoder)
    return encoder


def prepare_student(model: Model, processor: Processor | None, args: AlignTrainingArguments) -> Encoder:
    """The encoder of a name, path or model, with a projection head if `args` ask for one.

    The processor of a bare model is by default that of its checkpoint.

    Raises:
        InputError: the model cannot be used, nothing of it is trainable, or a setting does not go with it.
    """
    if processor is not None and not isinstance(model, PreTrainedModel | PeftModel):
        raise InputError("`processing_class` is for a bare model; a name, path or encoder brings its own")
    encoder = open_encoder(model, processor=processor)
    encoder.freeze_unused()
    if (number := trained_blocks(encoder, args.last_blocks)) is not None:
        _freeze_before(encoder, number)
    if args.projection_dim is not None:
        encoder.add_projection(args.projection_dim)
    if not any(parameter.requires_grad for parameter in encoder.model.parameters()):
        raise InputError("the model has no trainable parameter; load an adapter with `is_trainable=True`")
    if encoder.transform is not None:
        raise InputError("the encoder has a transform, which an aligned model cannot be exported with")
    if args.n_gpu > 1:
        raise InputError(f"each of the {args.n_gpu} GPUs needs its own process: start them by `accelerate launch`")
    if args.fsdp:
        raise InputError(
            f"`fsdp={args.fsdp}` splits the weights that the anchor has to compare: use plain data parallelism"
        )
    # Under an adapter, batch statistics stay those of the base model
    has_norm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in encoder.modules())
    if args.images_per_forward is not None and has_norm and not encoder.is_adapter:
        raise InputError(
            f"`images_per_forward={args.images_per_forward}` would change the result: the model has batch "
            "normalisation, which would see each slice alone; use a smaller `per_device_train_batch_size`"
        )
    return encoder


def trained_blocks(encoder: Encoder, last_blocks: str | int) -> int | None:
    """How many blocks the setting `last_blocks` trains; None for all weights that can be trained.

    Raises:
        InputError: the model has fewer blocks than the setting names, or is no transformer whose blocks are one list.
    """
    blocks = blocks_of(encoder.backbone)
    is_measured = blocks is not None and isinstance(encoder, VisionEncoder) and not encoder.is_adapter
    if last_blocks == ALL or (last_blocks == AUTO and not is_measured):
        return None
    number = max(1, round(len(blocks or ()) / 3)) if last_blocks == AUTO else int(last_blocks)
    if blocks is None or number > len(blocks):
        found = "is no plain transformer, whose blocks are one list" if blocks is None else f"has {len(blocks)} blocks"
        raise InputError(f"`last_blocks={last_blocks}` does not fit the model, which {found}")
    return number


def _freeze_before(encoder: Encoder, last_blocks: int) -> None:
    """Freezes all weights that come before the last blocks of a transformer."""
    blocks = blocks_of(encoder.backbone)
    assert blocks is not None  # trained_blocks has looked
    first = id(next(blocks[-last_blocks].parameters()))
    for parameter in encoder.backbone.parameters():  # in the order of the forward pass: embeddings, blocks, norm, head
        if id(parameter) == first:
            return
        parameter.requires_grad_(False)
