"""Turns texts into the tokens that a text model takes, padded to the longest text of a batch."""

from __future__ import annotations

import json
import logging
from typing import Any

import torch
import transformers
from torch import Tensor

from hf_alignet.errors import InputError

logger = logging.getLogger(__name__)


class TextPreprocessor:
    """Turns texts into inputs, as `Preprocessor` does with pictures: `stack` on the CPU, `normalize` changes nothing.

    Padding comes after the tokens of a text, whatever side the tokenizer had. So tokens have the places that they have
    alone, and an embedding does not depend on the other texts of a batch. A longer text than `max_tokens` is cut, and
    the log says so once.

    Args:
        processor: the tokenizer of the model. Its side of padding, its longest text and, where it has none, its token
            for padding are set, so that the saved one makes the same inputs.
        max_tokens: number of tokens that the model can read.
    """

    stacks_uint8 = False

    def __init__(self, processor: transformers.PreTrainedTokenizerBase, max_tokens: int):
        if processor.pad_token is None:
            if processor.eos_token is None:
                raise InputError(f"{type(processor).__name__} has no token for padding: set its `pad_token`")
            processor.pad_token = processor.eos_token
        self.processor = processor
        self.processor.padding_side = "right"
        self.max_tokens = min(int(processor.model_max_length), max_tokens)
        self.processor.model_max_length = self.max_tokens
        self._has_warned = False

    def __call__(self, texts: list[str]) -> dict[str, Tensor]:
        return self.stack(texts)

    def stack(self, texts: list[str]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask` (B, T) int64, and what else the tokenizer gives."""
        options: dict[str, Any] = {"padding": True, "truncation": True, "max_length": self.max_tokens}
        inputs = dict(self.processor(texts, return_tensors="pt", return_attention_mask=True, **options))
        lengths = inputs["attention_mask"].sum(1)
        if not lengths.all():
            raise InputError(f"the tokenizer makes nothing of the text {texts[int(lengths.argmin())]!r}: drop it")
        if not self._has_warned:
            self._warn_of_cut([texts[place] for place in torch.nonzero(lengths == self.max_tokens).flatten()])
        return inputs

    def normalize(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return inputs

    def settings(self) -> dict[str, Any]:
        """What the output of `stack` depends on, as JSON can hold it."""
        tokenizer = self.processor
        settings = {"vocab_size": len(tokenizer), "special": tokenizer.special_tokens_map, "longest": self.max_tokens}
        return json.loads(json.dumps({"class": type(tokenizer).__name__, **settings}, default=str))

    def describe(self) -> dict[str, Any]:
        """All settings, and the words."""
        return self.settings() | {"words": sorted(self.processor.get_vocab().items())}

    def _warn_of_cut(self, texts: list[str]) -> None:
        for text in texts:
            number = len(self.processor(text, verbose=False)["input_ids"])
            if number > self.max_tokens:
                self._has_warned = True
                longest = (number, self.max_tokens, text[:40])
                logger.warning("texts are cut: one has %d tokens, and the model reads %d; it begins %r", *longest)
                return


def load_tokenizer(name_or_path: str, **kwargs: Any) -> transformers.PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint.

    Raises:
        InputError: the checkpoint has none.
    """
    try:
        return transformers.AutoTokenizer.from_pretrained(name_or_path, **kwargs)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"{name_or_path!r} has no usable tokenizer; save the right one beside the model ({error})"
        ) from error
