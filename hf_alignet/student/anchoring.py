"""Keeps a student near the weights θ* it had when training began, so that it does not unlearn what it knew.

Two forms: a penalty λ‖θ - θ*‖² in the loss (Muttenthaler et al. 2025, eq. 6), and the decoupled pull of the released
configuration, θ ← θ - lr·λ·(θ - θ*) beside the optimiser's own step, which Adam's scaling never sees. θ* is a
snapshot of what was given to the trainer: also for an adapter that was trained before, where "adapter off" would be
something else.
"""

from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import TrainerCallback

from hf_alignet.encoder import VisionEncoder


class Anchor:
    """A snapshot of the trainable weights of an encoder; a new projection head has nothing to be kept near.

    Args:
        encoder: as it is before training.
    """

    def __init__(self, encoder: VisionEncoder):
        self.parameters = {n: p for n, p in encoder.model.named_parameters() if p.requires_grad}
        self.snapshot = {name: p.detach().clone() for name, p in self.parameters.items()}
        layers = [module for module in encoder.model.modules() if isinstance(module, LoraLayer)]
        self.lora = [_LoraAnchor(layer, name) for layer in layers for name in _matrix_adapters(layer)]
        factors = {id(p) for pair in self.lora for p in pair.factors}
        self.dense = [name for name, p in self.parameters.items() if id(p) not in factors]

    def penalty(self) -> Tensor:
        """‖θ - θ*‖², a scalar in float32 that can be differentiated.

        LoRA counts by the change that it makes to the weights, ‖s·BA - s·B*A*‖²_F, computed from the small factors.
        """
        device = next(iter(self.parameters.values())).device
        total = torch.zeros((), device=device)
        for name in self.dense:
            total = total + (self.parameters[name].float() - self.snapshot[name].float()).square().sum()
        for pair in self.lora:
            total = total + pair.squared_distance()
        return total

    @torch.no_grad()
    def pull(self, optimizer: torch.optim.Optimizer, weight: float) -> None:
        """θ ← θ - lr·λ·(θ - θ*), with each parameter's own learning rate; for LoRA θ are the factors."""
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        groups: dict[float, tuple[list[Tensor], list[Tensor]]] = {}
        for name, parameter in self.parameters.items():
            moving, fixed = groups.setdefault(rates[id(parameter)], ([], []))
            moving.append(parameter)
            fixed.append(self.snapshot[name])
        for rate, (moving, fixed) in groups.items():
            torch._foreach_lerp_(moving, fixed, rate * weight)


class DecoupledAnchorCallback(TrainerCallback):
    """Pulls towards the anchor at every optimiser step.

    It acts before the optimiser does, on the weights that both see: θ - lr·(Adam + λ(θ - θ*)), as in the reference.
    After it, the pull would act on weights that Adam has moved already.
    """

    def __init__(self, anchor: Anchor, weight: float):
        self.anchor = anchor
        self.weight = weight

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.anchor.pull(kwargs["optimizer"], self.weight)


class _LoraAnchor:
    """The change s·BA of one weight matrix, and where it started."""

    def __init__(self, layer: LoraLayer, adapter: str):
        self.a = cast(nn.Parameter, layer.lora_A[adapter].weight)  # (r, in)
        self.b = cast(nn.Parameter, layer.lora_B[adapter].weight)  # (out, r)
        self.scale = layer.scaling[adapter]
        self.a_start, self.b_start = self.a.detach().clone(), self.b.detach().clone()
        self.factors = (self.a, self.b)

    def squared_distance(self) -> Tensor:
        """‖s(BA - B*A*)‖²_F = s²‖[B, -B*][A; A*]‖²_F = s² Σ (BᵀB ⊙ AAᵀ), of the stacked factors: (2r, 2r)."""
        b = torch.cat([self.b, -self.b_start], dim=1).float()
        a = torch.cat([self.a, self.a_start], dim=0).float()
        with torch.autocast(a.device.type, enabled=False):
            return self.scale**2 * ((b.T @ b) * (a @ a.T)).sum()


def _matrix_adapters(layer: LoraLayer) -> list[str]:
    """Names of the trainable adapters of a layer that are a product of two matrices."""
    return [n for n, a in layer.lora_A.items() if isinstance(a, nn.Linear) and a.weight.requires_grad]
