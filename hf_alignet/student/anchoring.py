"""Keeps a student near the weights θ* that it had before training, so that it does not forget what it knew.

There are two forms: a penalty λ‖θ - θ*‖² in the loss (Muttenthaler et al. 2025, eq. 6), and the decoupled pull of the
released configuration, θ ← θ - lr·λ·(θ - θ*), which Adam does not rescale. θ* is a snapshot of the model before
training. An adapter may have been trained before, so that "adapter off" would be another θ*.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import TrainerCallback

from hf_alignet.encoder.lora import obstacle
from hf_alignet.encoder.model import Encoder
from hf_alignet.errors import InputError


class Anchor:
    """A snapshot of the trainable weights of an encoder, without a projection head, which is new.

    InputError if the encoder has an adapter of an unknown kind.
    """

    def __init__(self, encoder: Encoder):
        self.parameters = {n: p for n, p in encoder.model.named_parameters() if p.requires_grad}
        self.snapshot = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.adapters = _anchor_adapters(encoder.model)
        self.changes = _grouped(self.adapters)
        # Running statistics of a normalisation belong to the weights
        self.buffers = {n: b for n, b in encoder.model.named_buffers() if b.is_floating_point()}
        self.buffers_snapshot = {name: buffer.clone() for name, buffer in self.buffers.items()}
        anchored = {id(p) for adapter in self.adapters for p in adapter.parameters}
        dense = [name for name, p in self.parameters.items() if id(p) not in anchored]
        self.dense = [self.parameters[name] for name in dense], [self.snapshot[name] for name in dense]
        _check_dense(encoder.model, anchored)

    def penalty(self) -> Tensor:
        """‖θ - θ*‖², a float32 scalar that can be differentiated; for an adapter, of the weights that it changes."""
        device = next(iter(self.parameters.values())).device
        with torch.autocast(device.type, enabled=False):
            moving, fixed = self.dense
            parts = [cast(Tensor, _SquaredDistance.apply(fixed, *moving))] if moving else []
            parts += [changes.squared_distance() for changes in self.changes]
            return torch.stack(parts).sum()

    @torch.no_grad()
    def interpolate(self, share: float) -> None:
        """θ ← θ* + share·(θ - θ*), as WiSE-FT does after fine-tuning (Wortsman et al. 2022, arXiv 2109.01903)."""
        for now, start in ((self.parameters, self.snapshot), (self.buffers, self.buffers_snapshot)):
            for name, tensor in now.items():
                tensor.copy_(torch.lerp(start[name], tensor, share))

    @contextlib.contextmanager
    def interpolated(self, share: float) -> Iterator[None]:
        """Interpolates the weights meanwhile, and then restores the trained ones to the bit."""
        tensors = [tensor.detach() for tensor in (*self.parameters.values(), *self.buffers.values())]
        trained = [tensor.clone() for tensor in tensors]
        self.interpolate(share)
        try:
            yield
        finally:
            torch._foreach_copy_(tensors, trained)

    @torch.no_grad()
    def pull(self, optimizer: torch.optim.Optimizer, weight: float) -> None:
        """θ ← θ - lr·λ·(θ - θ*), with each parameter's own learning rate; for LoRA θ are the factors."""
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        groups: dict[float, tuple[list[Tensor], list[Tensor]]] = {}
        for name, parameter in self.parameters.items():
            if id(parameter) in rates:  # an optimiser that the user made may lack some
                moving, fixed = groups.setdefault(rates[id(parameter)], ([], []))
                moving.append(parameter)
                fixed.append(self.snapshot[name])
        for rate, (moving, fixed) in groups.items():
            torch._foreach_lerp_(moving, fixed, rate * weight)


class _SquaredDistance(torch.autograd.Function):
    """Σ ‖θ - θ*‖² of many weights, in a few kernels instead of some for each: on a GPU, these take longer to start."""

    @staticmethod
    def forward(ctx: Any, fixed: list[Tensor], *moving: Tensor) -> Tensor:
        ctx.fixed = fixed
        ctx.save_for_backward(*moving)
        squares = torch._foreach_sub(_floats(moving), _floats(fixed))
        torch._foreach_mul_(squares, squares)
        return torch.stack([square.sum() for square in squares]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        moving = ctx.saved_tensors
        slopes = torch._foreach_sub(_floats(moving), _floats(ctx.fixed))
        torch._foreach_mul_(slopes, 2 * gradient)
        return None, *(slope.to(tensor.dtype) for slope, tensor in zip(slopes, moving, strict=True))


def _floats(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().float() for tensor in tensors]


class DecoupledAnchorCallback(TrainerCallback):
    """Pulls before each step of the optimiser, from the same weights, as the reference: θ - lr·(Adam + λ(θ - θ*))."""

    def __init__(self, anchor: Anchor, weight: float):
        self.anchor, self.weight = anchor, weight

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.anchor.pull(kwargs["optimizer"], self.weight)


class _LoraAnchor:
    """The change s·BA of one weight; the kernel of a convolution counts as a matrix."""

    def __init__(self, layer: LoraLayer, adapter: str):
        self.a = cast(nn.Parameter, layer.lora_A[adapter].weight)  # (r, in) or (r, in, k, k)
        self.b = cast(nn.Parameter, layer.lora_B[adapter].weight)  # (out, r) or (out, r, 1, 1)
        self.scale = layer.scaling[adapter]
        self.parameters = [self.a, self.b]


class _LoraChanges:
    """The changes s·BA of weights of one shape, now and at the start: together they take few kernels.

    θ - θ* = s(BA - B*A*) also holds for PiSSA and OLoRA, which put a part of the weight into the factors.
    """

    def __init__(self, adapters: Sequence[_LoraAnchor]):
        self.adapters, self.scale = adapters, adapters[0].scale
        self.a_start, self.b_start = (factors.detach() for factors in self._factors())

    def _factors(self) -> tuple[Tensor, Tensor]:
        """A (k, r, in) and B (k, out, r) of k weights, in float32."""
        a, b = (torch.stack([getattr(each, name) for each in self.adapters]) for name in "ab")
        return a.float().flatten(2), b.float().flatten(2)

    def squared_distance(self) -> Tensor:
        """Σ ‖s(BA - B*A*)‖²_F = Σ s²‖PQ‖²_F = Σ s² Σ (PᵀP ⊙ QQᵀ) with P = [B - B*, B*], Q = [A; A - A*]: (k, 2r, 2r).

        The sum ‖BA‖² - 2⟨BA, B*A*⟩ + ‖B*A*‖² would lose a small distance in rounding errors.
        """
        a, b = self._factors()
        p = torch.cat([b - self.b_start, self.b_start], dim=2)
        q = torch.cat([a, a - self.a_start], dim=1)
        return self.scale**2 * ((p.mT @ p) * (q @ q.mT)).sum()


class _DoraAnchor(_LoraAnchor):
    """The weight m (W + s·BA) / ‖W + s·BA‖ of DoRA, with one norm per output, now and at the start."""

    def __init__(self, layer: LoraLayer, adapter: str):
        super().__init__(layer, adapter)
        self.magnitude = cast(nn.Parameter, layer.lora_magnitude_vector[adapter].weight)  # (out,) or (1, out, 1, 1)
        self.base = cast(nn.Parameter, layer.get_base_layer().weight)
        self.parameters.append(self.magnitude)
        self.start = self.weight().detach()

    def weight(self) -> Tensor:
        """(out, in), or (out, in·k·k) of a convolution."""
        base, a, b = (x.float().flatten(1) for x in (self.base, self.a, self.b))
        direction = base + self.scale * (b @ a)
        return self.magnitude.float().reshape(-1, 1) * direction / direction.norm(dim=1, keepdim=True)

    def squared_distance(self) -> Tensor:
        return (self.weight() - self.start).square().sum()


def _anchor_adapters(model: nn.Module) -> list[_LoraAnchor]:
    """One for each trainable LoRA or DoRA adapter on a linear layer or a plain convolution."""
    anchors: list[_LoraAnchor] = []
    for layer in model.modules():
        if not isinstance(layer, LoraLayer) or obstacle(layer.get_base_layer()) is not None:
            continue
        for name, factor in layer.lora_A.items():
            if name in layer.lora_magnitude_vector:
                anchors.append(_DoraAnchor(layer, name))
            elif isinstance(factor, nn.Module) and name not in layer.lora_variant:  # AdaLoRA, and aLoRA and others
                anchors.append(_LoraAnchor(layer, name))
    return [anchor for anchor in anchors if any(parameter.requires_grad for parameter in anchor.parameters)]


def _grouped(adapters: Sequence[_LoraAnchor]) -> list[_LoraChanges | _DoraAnchor]:
    """LoRA adapters with the same shapes and scale together, and each DoRA adapter."""
    groups: dict[Any, list[_LoraAnchor]] = {}
    for adapter in adapters:
        if not isinstance(adapter, _DoraAnchor):
            groups.setdefault((adapter.scale, adapter.a.shape, adapter.b.shape), []).append(adapter)
    return [*map(_LoraChanges, groups.values()), *(each for each in adapters if isinstance(each, _DoraAnchor))]


def _check_dense(model: nn.Module, anchored: set[int]) -> None:
    """InputError for parameters of other adapters, which would count as weights of the model."""
    for layer in (module for module in model.modules() if isinstance(module, BaseTunerLayer)):
        for name, parameter in layer.named_parameters():
            if parameter.requires_grad and id(parameter) not in anchored and not name.startswith("base_layer."):
                kind = f"{type(layer).__module__}.{type(layer).__name__}"
                raise InputError(
                    f"the anchor does not know how {name!r} of a {kind} changes the weights: train without an anchor "
                    "(`anchor_weight=0` and `interpolation=1`), or use LoRA or DoRA, without lora_bias, on linear "
                    "layers and plain convolutions"
                )
