"""Flags of the model, which several commands share."""

from dataclasses import dataclass, field
from typing import Any

from hf_alignet.encoder.pooling import POOLINGS


@dataclass
class ModelArguments:
    """How a model is opened."""

    pooling: str = field(
        default="auto",
        metadata={
            "help": "Which output of the model is the embedding. auto is right for the model's family.",
            "choices": ["auto", *POOLINGS],
        },
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Let code from the model's repository run."})


@dataclass
class EmbeddingArguments(ModelArguments):
    """How a model is opened, and embeds pictures."""

    batch_size: int = field(default=64, metadata={"help": "Images a forward pass."})
    num_workers: int = field(
        default=0, metadata={"help": "Processes that decode pictures; 0 does it in the main one."}
    )
    bf16: bool = field(default=False, metadata={"help": "Run the model under bfloat16 autocast."})
    seed: int = field(default=42, metadata={"help": "Seed of all random draws."})
    disable_tqdm: bool = field(default=False, metadata={"help": "Show no progress bars."})

    def values(self) -> dict[str, Any]:
        """All settings, as the functions of the package take them."""
        settings = dict(vars(self))
        return settings | {"progress": not settings.pop("disable_tqdm")}
