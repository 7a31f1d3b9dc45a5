"""Flags of a LoRA adapter."""

from dataclasses import dataclass, field
from typing import Annotated

from peft import LoraConfig

from hf_alignet.encoder.lora import ALL_LINEAR
from hf_alignet.ranges import Count, Range, check_fields

AUTO = "auto"


@dataclass
class LoraArguments:
    """A small adapter in place of all weights."""

    use_lora: bool = field(
        default=False, metadata={"help": "Train a LoRA adapter on the frozen model, not all weights."}
    )
    lora_r: Count = field(default=16, metadata={"help": "Rank of the adapter."})
    lora_alpha: Count = field(default=32, metadata={"help": "The adapter's change is scaled by lora_alpha / lora_r."})
    lora_dropout: Annotated[float, Range(0, below=1)] = field(
        default=0.0, metadata={"help": "Dropout before the adapter, in [0, 1)."}
    )
    lora_target_modules: list[str] = field(
        default_factory=lambda: [AUTO],
        metadata={
            "help": "Names of the layers to adapt, or ends of names. auto: every linear layer that the embedding "
            "uses, and every plain convolution of a model made of convolutions. all-linear: linear layers only."
        },
    )

    def __post_init__(self) -> None:
        check_fields(self)

    def config(self) -> LoraConfig | None:
        """The adapter; None if all weights are trained."""
        if not self.use_lora:
            return None
        names = self.lora_target_modules
        targets = None if names == [AUTO] else ALL_LINEAR if names == [ALL_LINEAR] else names
        return LoraConfig(
            r=self.lora_r, lora_alpha=self.lora_alpha, lora_dropout=self.lora_dropout, target_modules=targets
        )
