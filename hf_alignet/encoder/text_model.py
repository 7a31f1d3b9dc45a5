"""TextEncoder: any text model that `AutoModel` loads, as a module that gives one float32 embedding per text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from torch import Tensor, nn

from hf_alignet.encoder.model import Encoder
from hf_alignet.encoder.sentence_files import write_text_files
from hf_alignet.encoder.text_pooling import TextPooling, choose_text_pooling, pool_texts, recorded_pooling
from hf_alignet.errors import InputError
from hf_alignet.images.tokens import TextPreprocessor, load_tokenizer

EXAMPLES = ["a cat sits on the mat", "two dogs"]


class TextEncoder(Encoder):
    """One embedding per text from a text model, the same in training and in evaluation.

    Args:
        model: a text `PreTrainedModel` (takes `input_ids`, gives `last_hidden_state`), or a `PeftModel` of one.
        processor: the tokenizer of the model.
        pooling: `mean`, `cls` or `last`; `auto` takes the one that sentence-transformers recorded beside a
            checkpoint, or else `last` for a causal model and `mean` for any other.

    Raises:
        InputError: the model has no such pooling, or is of an encoder and a decoder; or an adapter has no effect in
            its place.

    Example:
        >>> encoder = TextEncoder.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> embeddings = encoder.embed(["a dog", "a wolf", "a car"])  # doctest: +SKIP
    """

    noun, main_input, tower = "text", "input_ids", "text_config"

    pooling: TextPooling
    processor: transformers.PreTrainedTokenizerBase
    preprocessor: TextPreprocessor

    def _make_preprocessor(self) -> TextPreprocessor:
        if self.backbone.config.is_encoder_decoder:
            raise InputError(
                f"{type(self.backbone).__name__} has an encoder and a decoder, so it gives no one embedding"
            )
        return TextPreprocessor(self.processor, count_positions(self.backbone))

    def _choose_pooling(self, pooling: str, inputs: dict[str, Tensor], outputs: Any) -> None:
        was_training = self.training
        self.eval()
        self.pooling = choose_text_pooling(pooling, self.model, inputs, outputs["last_hidden_state"])
        self.train(was_training)

    def _pool(self, outputs: Any, inputs: dict[str, Tensor]) -> Tensor:
        return pool_texts(self.pooling, outputs["last_hidden_state"], inputs["attention_mask"])

    def _examples(self) -> list[str]:
        return EXAMPLES

    def usage(self) -> dict[str, Any]:
        return {"input": "text", "pooling": self.pooling, "max_tokens": self.preprocessor.max_tokens}

    def write_sentence_files(self, directory: Path, similarity: str | None = None) -> bool:
        return write_text_files(self.pooling, self.embedding_dim, directory, similarity)

    @staticmethod
    def load_processor(name: str, **options: Any) -> transformers.PreTrainedTokenizerBase:
        return load_tokenizer(name, **options)

    @staticmethod
    def _known_pooling(name: str, revision: str | None, model: transformers.PreTrainedModel) -> str:
        return recorded_pooling(name, revision)


def count_positions(model: transformers.PreTrainedModel) -> int:
    """The number of tokens that a model can read. RoBERTa and MPNet count places from the one after padding's."""
    number = int(getattr(model.config, "max_position_embeddings", 1_000_000))
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(module, nn.Embedding) and name.endswith("position_embeddings") and padding is not None:
            number = min(number, module.num_embeddings - padding - 1)
    return number
