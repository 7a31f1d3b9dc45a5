"""Opens an encoder: the one place that tells a model of texts from one of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers.utils import cached_file

from hf_alignet.encoder.lora import is_adapted
from hf_alignet.encoder.model import Encoder
from hf_alignet.encoder.pretrained import loading
from hf_alignet.encoder.text_model import TextEncoder
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.sources import split_revision

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase

OF_PICTURES = ("preprocessor_config.json", "processor_config.json")
OF_TEXTS = ("tokenizer_config.json", "tokenizer.json", "vocab.txt")


def open_encoder(
    model: str | PreTrainedModel | PeftModel | Encoder,
    pooling: str = "auto",
    trust_remote_code: bool = False,
    processor: BaseImageProcessor | PreTrainedTokenizerBase | None = None,
) -> Encoder:
    """The encoder of a path or Hub id, or of a model in memory; an encoder comes back.

    Args:
        model: path or Hub id, optionally with `@revision`; or the model itself.
        pooling: see `VisionEncoder` and `TextEncoder`.
        trust_remote_code: allow code from the repository to run.
        processor: of a model in memory; by default that of its checkpoint.

    Raises:
        InputError: the model cannot be used.
    """
    if isinstance(model, Encoder):
        return model
    if isinstance(model, str):
        return _kind(is_text_model(model)).from_pretrained(model, pooling, trust_remote_code)
    base: Any = model.get_base_model() if is_adapted(model) else model
    kind = _kind(base.main_input_name == TextEncoder.main_input)
    return kind(model, processor or kind.load_processor(str(base.config.name_or_path)), pooling)


def is_text_model(name_or_path: str) -> bool:
    """Whether a checkpoint has a tokenizer and no image processor. A dual model has both: its pictures count."""
    name, revision = split_revision(name_or_path)

    def has_any(files: tuple[str, ...]) -> bool:
        options = {"revision": revision, "_raise_exceptions_for_missing_entries": False}
        return any(cached_file(name, file, **options) is not None for file in files)

    with loading(name):
        return not has_any(OF_PICTURES) and has_any(OF_TEXTS)


def _kind(is_text: bool) -> type[TextEncoder] | type[VisionEncoder]:
    return TextEncoder if is_text else VisionEncoder
