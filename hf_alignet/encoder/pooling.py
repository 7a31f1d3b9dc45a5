"""Pools the output of a vision model to one embedding per image: `pooler`, `cls` or `mean`.

`pooler` is the output of the model's own pooler (attention head of SigLIP, normalised CLS token of CLIP and DINOv2,
global average of convolutional models). `cls` is the first token of the last hidden state. `mean` is the average of
the patch tokens.
"""

from typing import Literal, cast, get_args

from torch import Tensor, nn
from transformers.utils import ModelOutput

from hf_alignet.errors import InputError

Pooling = Literal["pooler", "cls", "mean"]
PoolingChoice = Literal["auto", "pooler", "cls", "mean", "last"]  # `last` is of text models, `pooler` of vision models
POOLINGS: tuple[str, ...] = get_args(Pooling)


def choose_pooling(pooling: str, model: nn.Module, outputs: ModelOutput, inputs: dict[str, Tensor]) -> Pooling:
    """The same pooling, or for `auto` the right one for the family of the model, found from one forward pass.

    It is the pooler if the model has one; remove a pooler without trained weights before. Otherwise it is the CLS
    token if the model has one and its class can have a pooler: ViT and DeiT classifiers are trained through the CLS
    token. Otherwise it is the mean of the patch tokens: I-JEPA has no CLS token, and MAE does not train it.

    Raises:
        InputError: the output of the model cannot be pooled in this way; or, for `auto`, it has a learned pooler.
    """
    name, has_pooler = type(model).__name__, outputs.get("pooler_output") is not None
    has_class_token = count_prefix_tokens(model, outputs, inputs) > 0
    if pooling == "auto":
        if has_learned_pooler(model):
            raise InputError(
                f"it is unknown whether the pooler of this {name} was trained; give the name or path of the "
                "checkpoint instead of the model, or set `pooling`"
            )
        if has_pooler:
            return "pooler"
        return "cls" if has_class_token and hasattr(model, "pooler") else "mean"
    if pooling not in POOLINGS:
        raise InputError(f"`pooling` must be one of auto, {', '.join(POOLINGS)}, got {pooling!r}")
    if pooling == "pooler" and not has_pooler:
        raise InputError(f"{name} has no trained pooler; use pooling 'cls' or 'mean'")
    if pooling == "cls" and not has_class_token:
        raise InputError(f"{name} has no class token; use pooling 'pooler' or 'mean'")
    return cast(Pooling, pooling)


def has_learned_pooler(model: nn.Module) -> bool:
    """Whether the model has a pooler with its own layer (ViT, DeiT); many checkpoints have no weights for it."""
    pooler = getattr(model, "pooler", None)
    return pooler is not None and any(isinstance(module, nn.Linear) for module in pooler.modules())


def pool(pooling: Pooling, model: nn.Module, outputs: ModelOutput, inputs: dict[str, Tensor]) -> Tensor:
    """Embeddings (B, d) in float32, from inputs and the output of the model for them."""
    if pooling == "pooler":
        return outputs["pooler_output"].flatten(1).float()  # (B, C, 1, 1) for ResNet and EfficientNet
    hidden = outputs["last_hidden_state"]
    if pooling == "cls":
        return hidden[:, 0].float()
    hidden = hidden.float()
    if hidden.ndim == 4:  # (B, C, H, W)
        return hidden.mean((2, 3))
    patches = hidden[:, count_prefix_tokens(model, outputs, inputs) :]
    mask = inputs.get("pixel_attention_mask")  # NaFlex pads the patches of small images
    if mask is None:
        return patches.mean(1)
    weights = mask.float().unsqueeze(-1)
    return (patches * weights).sum(1) / weights.sum(1)


def count_prefix_tokens(model: nn.Module, outputs: ModelOutput, inputs: dict[str, Tensor]) -> int:
    """Number of tokens before the patch tokens (class, distillation, registers): all but the grid of patches."""
    hidden, pixels = outputs["last_hidden_state"], inputs["pixel_values"]
    patch = getattr(model.config, "patch_size", None)
    if hidden.ndim != 3 or pixels.ndim != 4 or patch is None:
        return 0
    height, width = (patch, patch) if isinstance(patch, int) else patch
    grid = (pixels.shape[-2] // height) * (pixels.shape[-1] // width)
    return max(0, hidden.shape[1] - grid)  # Swin merges patches, so it has fewer tokens than the grid
