"""Pools the output of a text model to one embedding per text: `mean`, `cls` or `last`.

`mean` is the average of a text's tokens, those that mark its beginning and end among them, `cls` the first and `last`
the last one. Tokens of padding, which come last, count for none.
"""

from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from transformers.utils import cached_file

from hf_alignet.errors import InputError
from hf_alignet.text_files import load_json

TextPooling = Literal["mean", "cls", "last"]
TEXT_POOLINGS: tuple[str, ...] = get_args(TextPooling)
RECORD = "1_Pooling/config.json"  # of sentence-transformers
# Its names of modes, those of its versions before 6 as keys with a value that is true or false
RECORDED = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
RECORDED |= {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"}
SAME = 1e-5  # relative difference of hidden states that is rounding


def recorded_pooling(name: str, revision: str | None) -> str:
    """The pooling that a checkpoint of sentence-transformers records; `auto` if there is no record.

    Raises:
        InputError: it records another one, or several.
    """
    file = cached_file(name, RECORD, revision=revision, _raise_exceptions_for_missing_entries=False)
    if file is None:
        return "auto"
    record = load_json(Path(file), "the record of the pooling")
    mode = record.get("pooling_mode")
    modes = [key for key, value in record.items() if key.startswith("pooling_mode_") and value is True]
    modes = modes if mode is None else [mode] if isinstance(mode, str) else list(mode)
    if len(modes) != 1 or modes[0] not in RECORDED:
        raise InputError(
            f"{name!r} was trained with the pooling {' and '.join(modes)}, none of {', '.join(TEXT_POOLINGS)}: "
            "set `pooling` if you want another embedding"
        )
    return RECORDED[modes[0]]


@torch.no_grad()
def choose_text_pooling(pooling: str, model: nn.Module, inputs: dict[str, Tensor], hidden: Tensor) -> TextPooling:
    """The same pooling; for `auto` the last token of a causal model, whose other tokens have not seen the whole text,
    and the mean of any other model.

    Args:
        pooling: `auto`, `mean`, `cls` or `last`.
        model: in evaluation mode.
        inputs: of one text.
        hidden: (1, T, d) last hidden state for them.

    Raises:
        InputError: there is no such pooling, or it is `cls` of a causal model.
    """
    if pooling not in ("auto", *TEXT_POOLINGS):
        raise InputError(f"`pooling` of a text model must be one of auto, {', '.join(TEXT_POOLINGS)}, got {pooling!r}")
    if pooling in ("mean", "last"):
        return cast(TextPooling, pooling)
    is_causal = _is_causal(model, inputs, hidden)
    if pooling == "auto":
        return "last" if is_causal else "mean"
    if is_causal:
        raise InputError(
            f"the first token of {type(model).__name__} does not see the others; use pooling 'last' or 'mean'"
        )
    return "cls"


def _is_causal(model: nn.Module, inputs: dict[str, Tensor], hidden: Tensor) -> bool:
    """Whether the first of several tokens stays as it is if the last one is another."""
    ids = inputs["input_ids"].clone()
    if ids.shape[1] < 2:
        return False
    ids[0, -1] = (ids[0, -1] + 1) % model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    outputs: Any = model(**{**inputs, "input_ids": ids})
    change = (outputs["last_hidden_state"][0, 0] - hidden[0, 0]).norm()
    return bool(change <= SAME * hidden[0, 0].norm())


def pool_texts(pooling: TextPooling, hidden: Tensor, mask: Tensor) -> Tensor:
    """Embeddings (B, d) in float32.

    Args:
        pooling: see above.
        hidden: (B, T, d) last hidden state.
        mask: (B, T), 1 for the tokens of a text and 0 for the padding after them.
    """
    if pooling == "cls":
        return hidden[:, 0].float()
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1].float()
    weights = mask.unsqueeze(-1).float()
    return (hidden.float() * weights).sum(1) / weights.sum(1)
