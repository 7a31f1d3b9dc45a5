"""A copy of a model with weights in bfloat16, for inference."""

import copy
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Model = TypeVar("Model", bound=nn.Module)


def copy_in_bf16(model: Model) -> Model:
    """The copy. Batch normalisation stays in float32, as its running statistics need more digits.

    It is faster than autocast, which casts weights at each call and normalises in float32, and rounds more. Of a
    ViT-Ti/16 trained on ImageNet, 98.9 % of odd-one-out choices are those of float32 (autocast: 99.3 %), and the
    lowest cosine of an embedding with that in float32 is 0.9996 (autocast: 0.9998).
    """
    norms = (module for module in model.modules() if isinstance(module, _BatchNorm))
    kept = {id(tensor) for norm in norms for tensor in (*norm.parameters(), *norm.buffers())}
    halves: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() and id(tensor) not in kept:
            half = tensor.detach().to(torch.bfloat16)
            halves[id(tensor)] = nn.Parameter(half, False) if isinstance(tensor, nn.Parameter) else half
    # The rest is copied around these, so that there never is a second model in float32
    return copy.deepcopy(model, halves)
