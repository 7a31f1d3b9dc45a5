"""From a vision model's output to one embedding an image: `pooler`, `cls` or `mean`.

`pooler` is the model's own summary (attention head of SigLIP, normalised CLS of CLIP and DINOv2, global average of
convolutional models), `cls` the first token of the last hidden state, `mean` the average of the patch tokens.
"""

from typing import Literal, cast, get_args

from torch import Tensor, nn
from transformers.utils import ModelOutput

from hf_alignet.errors import InputError

Pooling = Literal["pooler", "cls", "mean"]
PoolingChoice = Literal["auto", "pooler", "cls", "mean"]
POOLINGS: tuple[str, ...] = get_args(Pooling)


def choose_pooling(model: nn.Module, outputs: ModelOutput, inputs: dict[str, Tensor]) -> Pooling:
    """What is right for the family of the model, read off one forward pass.

    The pooler, if there is one (a pooler without trained weights must have been removed before). Otherwise the CLS
    token, if there is one and the class knows a pooler at all: ViT and DeiT classifiers are trained through it.
    Otherwise the patch tokens: I-JEPA has no CLS token and MAE trains none.
    """
    if outputs.get("pooler_output") is not None:
        return "pooler"
    return "cls" if count_prefix_tokens(model, outputs, inputs) > 0 and hasattr(model, "pooler") else "mean"


def has_learned_pooler(model: nn.Module) -> bool:
    """Whether there is a pooler with a layer of its own (ViT, DeiT), which many checkpoints have no weights for."""
    pooler = getattr(model, "pooler", None)
    return pooler is not None and any(isinstance(module, nn.Linear) for module in pooler.modules())


def check_pooling(pooling: str, model: nn.Module, outputs: ModelOutput, inputs: dict[str, Tensor]) -> Pooling:
    """The same pooling; raises InputError if the model's output cannot be pooled that way."""
    name = type(model).__name__
    if pooling not in POOLINGS:
        raise InputError(f"pooling must be auto, {', '.join(POOLINGS)}, got {pooling!r}")
    if pooling == "pooler" and outputs.get("pooler_output") is None:
        raise InputError(f"{name} has no trained pooler; use pooling 'cls' or 'mean'")
    if pooling == "cls" and count_prefix_tokens(model, outputs, inputs) == 0:
        raise InputError(f"{name} has no class token; use pooling 'pooler' or 'mean'")
    return cast(Pooling, pooling)


def pool(pooling: Pooling, model: nn.Module, outputs: ModelOutput, inputs: dict[str, Tensor]) -> Tensor:
    """Embeddings (B, d) in float32 from the output of the model for these inputs."""
    if pooling == "pooler":
        return outputs["pooler_output"].flatten(1).float()  # (B, C, 1, 1) for ResNet and EfficientNet
    hidden = outputs["last_hidden_state"].float()
    if pooling == "cls":
        return hidden[:, 0]
    if hidden.ndim == 4:  # (B, C, H, W)
        return hidden.mean((2, 3))
    patches = hidden[:, count_prefix_tokens(model, outputs, inputs) :]
    mask = inputs.get("pixel_attention_mask")  # NaFlex pads the patches of small images
    if mask is None:
        return patches.mean(1)
    weights = mask.float().unsqueeze(-1)
    return (patches * weights).sum(1) / weights.sum(1)


def count_prefix_tokens(model: nn.Module, outputs: ModelOutput, inputs: dict[str, Tensor]) -> int:
    """Tokens before the patches (class, distillation, registers): what the sequence is longer than the patch grid."""
    hidden, pixels = outputs["last_hidden_state"], inputs["pixel_values"]
    patch = getattr(model.config, "patch_size", None)
    if hidden.ndim != 3 or pixels.ndim != 4 or patch is None:
        return 0
    height, width = (patch, patch) if isinstance(patch, int) else patch
    grid = (pixels.shape[-2] // height) * (pixels.shape[-1] // width)
    return max(0, hidden.shape[1] - grid)  # Swin merges patches: fewer tokens than the grid
