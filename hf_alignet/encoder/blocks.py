"""The blocks of a plain transformer, and how the last one is computed for the first token alone.

Where an embedding is made of the class token, what the MLP of the last block gives for the other tokens reaches
nothing. It is two thirds of that block's matrix products, forward and backward.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def blocks_of(backbone: nn.Module) -> nn.ModuleList | None:
    """The blocks of a plain transformer, such as ViT or DINOv2; None for another model, or one of stages."""
    config: Any = backbone.config
    if hasattr(config, "depths"):  # of stages, and the list is of these
        return None
    number = getattr(config, "num_hidden_layers", None)
    lists = (m for m in backbone.modules() if isinstance(m, nn.ModuleList) and len(m) == number)
    return next(lists, None)


@contextlib.contextmanager
def first_token_alone(backbone: nn.Module, others: float = 0.0) -> Iterator[None]:
    """Meanwhile the MLP of the last block computes the first token alone, and gives `others` for the other tokens.

    It makes no difference for a model without such blocks, nor in activation checkpointing, which computes the block
    again at another time.
    """
    last = (blocks_of(backbone) or [None])[-1]
    mlp = getattr(last, "mlp", None)
    if mlp is None or getattr(last, "gradient_checkpointing", False) or torch.compiler.is_compiling():
        yield
        return
    numbers: list[int] = []  # of tokens

    def cut(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        if not inputs or inputs[0].ndim != 3:  # tokens (B, T, d) it must be
            return inputs
        numbers.append(inputs[0].shape[1])
        return inputs[0][:, :1], *inputs[1:]

    def fill(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return F.pad(output, (0, 0, 0, numbers.pop() - 1), value=others) if numbers else output

    with mlp.register_forward_pre_hook(cut), mlp.register_forward_hook(fill):
        yield
