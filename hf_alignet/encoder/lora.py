"""Adapts a model by LoRA, and chooses its layers.

By default these are all linear layers, and, if a model is made of convolutions, also all plain convolutions. Layers
where an adapter would have no effect are left out: those that the embedding does not use, and those in
`nn.MultiheadAttention` (in the pooling head of SigLIP). That module reads the weights of its layers and does not call
them, so an adapter would get no gradient; but it would be merged.
"""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.utils import find_adapter_config_file

from hf_alignet.encoder.pretrained import loading
from hf_alignet.errors import InputError
from hf_alignet.sources import split_revision

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"
# Linear layers with a smaller share of the weights are a side branch: ResNets have none, MobileViT about half
LINEAR_SHARE = 0.25


def add_adapter(model: PreTrainedModel | PeftModel, config: LoraConfig, used: set[str], revision: str | None) -> Any:
    """The model with a new adapter; for the arguments and errors see `find_targets`. `revision` is of the base."""
    from peft import get_peft_model

    config = copy.copy(config)
    config.target_modules = find_targets(model, config, used)
    try:
        adapted = get_peft_model(model, config, revision=revision)
        merge_in_training(adapted)
    except ValueError as error:
        raise InputError(f"LoRA does not fit {type(model).__name__}: {error}") from error
    return adapted


def base_of_adapter(name: str, revision: str | None) -> str:
    """The path or Hub id of the model that an adapter is for, with its revision; InputError if that is unknown."""
    from peft import PeftConfig

    with loading(name):
        adapter = PeftConfig.from_pretrained(name, revision=revision)
        if not adapter.base_model_name_or_path:
            raise InputError("its adapter_config.json names no base model")
        base = str(adapter.base_model_name_or_path) + (f"@{adapter.revision}" if adapter.revision else "")
        if find_adapter_config_file(split_revision(base)[0], revision=adapter.revision) is not None:
            raise InputError(f"the adapter {name!r} is for another adapter, {base!r}: merge that one first")
    return base


def open_adapter(model: Any, name: str, revision: str | None) -> PeftModel:
    """The model with the adapter that was saved; InputError if that does not fit, or has no effect in its place."""
    from peft import PeftModel
    from peft.utils import get_peft_model_state_dict, load_peft_weights

    with loading(name):
        adapted = PeftModel.from_pretrained(model, name, revision=revision, is_trainable=True)
        saved = load_peft_weights(name, device="cpu", revision=revision)
        unknown = sorted(saved.keys() ^ get_peft_model_state_dict(adapted).keys())
    if unknown:
        raise InputError(
            f"cannot open the model {name!r}: weights that do not fit its adapter_config.json would be left out, "
            f"or random, such as {unknown[0]!r}"
        )
    check_adapter(adapted)
    merge_in_training(adapted)
    return adapted


def load_adapter_weights(model: Any, directory: Path, device: torch.device) -> None:
    """Loads the weights that were saved of an adapter of the same kind."""
    from peft.utils import load_peft_weights, set_peft_model_state_dict

    set_peft_model_state_dict(model, load_peft_weights(str(directory), device=str(device)))


def is_adapted(model: nn.Module) -> TypeGuard[PeftModel]:
    """Whether PEFT has wrapped a model in an adapter."""
    from peft import PeftModel

    return isinstance(model, PeftModel)


def find_targets(model: nn.Module, config: LoraConfig, used: set[str]) -> list[str]:
    """Names of the layers to adapt.

    Args:
        model: without an adapter.
        config: its `target_modules` are None for the default, `all-linear`, names of layers or ends of names, or a
            regular expression.
        used: names of the parameters that the embedding depends on.

    Raises:
        InputError: the model has no such layer, or LoRA cannot adapt it.
    """
    attention = tuple(f"{n}." for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention))
    modules = {name: module for name, module in model.named_modules() if not name.startswith(attention)}
    layers = {name: module for name, module in modules.items() if f"{name}.weight" in used}
    linear = [name for name, module in layers.items() if isinstance(module, nn.Linear)]
    if config.target_modules is None:
        plain = [name for name, module in layers.items() if obstacle(module) is None]
        targets = linear if _linear_share(layers) >= LINEAR_SHARE else plain
    elif config.target_modules == ALL_LINEAR:
        targets = linear
    else:
        targets = [name for name in _named(model, config) if name in layers]
    if not targets:
        given = config.target_modules
        text = repr(given) if isinstance(given, str) else ", ".join(sorted(given or ["auto"]))
        raise InputError(
            f"LoRA with targets {text} finds no layer to adapt in {type(model).__name__}, or none that its "
            "embedding uses; give other targets or auto, or train all weights"
        )
    return targets


def obstacle(module: nn.Module) -> str | None:
    """Why a LoRA adapter on this layer would fail or be wrong; None if it works."""
    if isinstance(module, nn.Linear):
        return None
    if type(module) is not nn.Conv2d:
        return f"it is a {type(module).__name__}, neither a linear layer nor a plain convolution"
    if module.groups > 1:
        return "it is a grouped convolution, in which PEFT cannot merge an adapter"
    if module.dilation != (1, 1) or module.padding_mode != "zeros":
        return "it is a dilated or specially padded convolution, which the adapter of PEFT does not support"
    return None


class Merging(nn.Module):
    """For a linear layer with LoRA of PEFT, which in training on a GPU multiplies a large batch by W + s·BA, at once.

    PEFT multiplies it by W, by A and by B, and adds two arrays of the size of the output. On an H200 a step of a
    ViT-B/16 with LoRA on all linear layers takes 0.63 of the time. Under autocast W + s·BA is rounded, as weights are
    where all of them train.
    """

    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor:
        layer: Any = self  # PEFT does not say what its dictionaries hold
        is_large = x.numel() >= x.shape[-1] * layer.out_features  # the batch has more rows than the weight
        if not (x.is_cuda and self.training and is_large and not args and not kwargs and self.is_plain):
            return super().forward(x, *args, **kwargs)
        (name,), base = layer.active_adapters, layer.get_base_layer()
        with torch.autocast(x.device.type, enabled=False):
            factors = layer.lora_B[name].weight, layer.lora_A[name].weight
            weight = torch.addmm(base.weight, *factors, alpha=layer.scaling[name])
        return linear(x, weight, base.bias)

    @property
    def is_plain(self) -> bool:
        """Whether one adapter is active, which changes nothing but the weight, and has not been merged into it."""
        layer: Any = self
        if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1 or layer.fan_in_fan_out:
            return False
        (name,) = layer.active_adapters
        return (
            name in layer.lora_A
            and name not in layer.lora_variant
            and isinstance(layer.lora_dropout[name], nn.Identity)
            and layer.lora_B[name].bias is None
        )


def merge_in_training(model: nn.Module) -> None:
    """Makes each linear layer with LoRA a `Merging` one."""
    from peft.tuners import lora

    for module in model.modules():
        if type(module) is lora.Linear and type(module.get_base_layer()) is nn.Linear:
            module.__class__ = _merging_linear()


@functools.cache
def _merging_linear() -> Any:
    from peft.tuners import lora

    return type("MergingLinear", (Merging, lora.Linear), {})


def check_adapter(model: nn.Module) -> None:
    """InputError for an adapter in `nn.MultiheadAttention`, which `find_targets` never makes."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention) and any(isinstance(m, BaseTunerLayer) for m in module.modules()):
            raise InputError(
                f"the adapter in {name!r} has no effect, because nn.MultiheadAttention does not call its layers, "
                "but it would be merged; name that module in exclude_modules, or use VisionEncoder.add_lora"
            )


def _named(model: nn.Module, config: LoraConfig) -> list[str]:
    """The layers that the targets match; LoRA must be able to adapt each of them."""
    from peft.tuners.tuners_utils import check_target_module_exists

    modules = {name: module for name, module in model.named_modules() if name}
    names = [] if isinstance(config.target_modules, str) else sorted(config.target_modules or [])
    unknown = [name for name in names if not any(f".{module}".endswith(f".{name}") for module in modules)]
    if unknown:
        known = sorted({name.split(".")[-1] for name, module in modules.items() if obstacle(module) is None})
        raise InputError(
            f"{type(model).__name__} has no layer {', '.join(map(repr, unknown))} for LoRA to adapt; the ends of its "
            f"layers' names are {', '.join(known)}"
        )
    matched = [name for name in modules if check_target_module_exists(config, name)]
    for name in matched:
        reason = obstacle(modules[name])
        if reason is not None:
            raise InputError(f"LoRA cannot adapt {name!r} of {type(model).__name__}: {reason}; leave it out")
    return matched


def _linear_share(layers: dict[str, nn.Module]) -> float:
    """The share of linear layers in the weights of linear layers and convolutions."""
    linear = sum(module.weight.numel() for module in layers.values() if isinstance(module, nn.Linear))
    conv = sum(module.weight.numel() for module in layers.values() if isinstance(module, nn.Conv2d))
    return linear / max(1, linear + conv)
