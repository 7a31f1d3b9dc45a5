"""VisionEncoder: any vision model that `AutoModel` loads, as a module that gives one float32 embedding per image."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor

from hf_alignet.encoder.blocks import blocks_of, first_token_alone
from hf_alignet.encoder.model import Encoder
from hf_alignet.encoder.pooling import Pooling, choose_pooling, count_prefix_tokens, has_learned_pooler, pool
from hf_alignet.encoder.sentence_files import write_sentence_files
from hf_alignet.images.preprocessing import Preprocessor, load_processor


class VisionEncoder(Encoder):
    """One embedding per image from a vision model, the same in training and in evaluation.

    Args:
        model: a vision `PreTrainedModel` (takes `pixel_values`, gives `last_hidden_state`), or a `PeftModel` of one.
        processor: the image processor of the model.
        pooling: `pooler`, `cls` or `mean`; `auto` takes that of the family, see `hf_alignet.encoder.pooling`.

    Raises:
        InputError: the model has no such pooling; `pooling` is `auto` and a model in memory has a pooler, which may
            not be trained (`from_pretrained` finds out); or an adapter has no effect in its place.

    Attributes:
        num_prefix_tokens: number of class and register tokens before the patch tokens; `mean` leaves them out. None
            for a model that gives a feature map.
        output_shape: of what is pooled, for one picture.
        is_of_first_token: whether the embedding needs the MLP of the last block for no other token.

    Example:
        >>> encoder = VisionEncoder.from_pretrained("facebook/dinov2-small")  # doctest: +SKIP
        >>> embeddings = encoder.embed(dataset)  # doctest: +SKIP
        >>> teacher = VisionEncoder.from_pretrained("user/model", transform="user/transform")  # doctest: +SKIP
    """

    noun, main_input, tower = "picture", "pixel_values", "vision_config"

    pooling: Pooling
    processor: transformers.BaseImageProcessor
    preprocessor: Preprocessor
    num_prefix_tokens: int | None
    output_shape: tuple[int, ...]
    is_of_first_token: bool

    def _make_preprocessor(self) -> Preprocessor:
        return Preprocessor(self.processor)

    def _choose_pooling(self, pooling: str, inputs: dict[str, Tensor], outputs: Any) -> None:
        self.pooling = choose_pooling(pooling, self.backbone, outputs, inputs)
        self.output_shape = tuple(outputs["pooler_output" if self.pooling == "pooler" else "last_hidden_state"].shape)
        has_tokens = outputs["last_hidden_state"].ndim == 3
        self.num_prefix_tokens = count_prefix_tokens(self.backbone, outputs, inputs) if has_tokens else None
        self.is_of_first_token = blocks_of(self.backbone) is not None and self._needs_no_other_token(inputs, outputs)

    def _needs_no_other_token(self, inputs: dict[str, Tensor], outputs: Any) -> bool:
        with first_token_alone(self.backbone, others=math.nan):  # which spreads to all that depends on other tokens
            alone = self._pool(self._try_forward()[1], inputs)
        return torch.allclose(alone, self._pool(outputs, inputs), rtol=1e-3, atol=1e-5)

    def _embed_batch(self, inputs: dict[str, Tensor]) -> Tensor:
        with first_token_alone(self.backbone) if self.is_of_first_token else contextlib.nullcontext():
            return super()._embed_batch(inputs)

    def _pool(self, outputs: Any, inputs: dict[str, Tensor]) -> Tensor:
        return pool(self.pooling, self.backbone, outputs, inputs)

    def _examples(self) -> list[Image.Image]:
        """A picture of noise, and a black one."""
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        return [Image.fromarray(noise), Image.new("RGB", (64, 64))]

    def usage(self) -> dict[str, Any]:
        return {"pooling": self.pooling, "num_prefix_tokens": self.num_prefix_tokens}

    def write_sentence_files(self, directory: Path, similarity: str | None = None) -> bool:
        return write_sentence_files(self, directory, similarity)

    @staticmethod
    def load_processor(name: str, **options: Any) -> transformers.BaseImageProcessor:
        return load_processor(name, **options)

    @staticmethod
    def _known_pooling(name: str, revision: str | None, model: transformers.PreTrainedModel) -> str:
        # A pooler is there if it is trained: otherwise it is left out
        return "pooler" if has_learned_pooler(model) else "auto"
