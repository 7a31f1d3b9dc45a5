"""Which encoders can be exported: what `AutoModel` opens elsewhere must be the model that is here."""

from pathlib import Path

from transformers import PreTrainedConfig

from hf_alignet.encoder.model import VisionEncoder
from hf_alignet.errors import InputError


def check_export(encoder: VisionEncoder) -> None:
    """Refuses an adapter that AutoModel would not open as it is here: it loads the base model as the adapter names it,
    and of a dual model that is the whole, without the adapter.

    Raises:
        InputError: says what AutoModel would do.
    """
    base = encoder.backbone.name_or_path
    if not encoder.is_adapter or not base:
        return
    try:
        whole, _ = PreTrainedConfig.get_config_dict(base, revision=encoder.revision)
    except OSError:  # AutoModel would say so too
        return
    config, problem = encoder.backbone.config, None
    if whole.get("model_type") != config.model_type:
        problem = "holds more than the vision tower, and AutoModel would leave an adapter of the tower out"
    elif hasattr(config, "mask_ratio") and whole.get("mask_ratio") != 0:  # which is left out where it is the default
        problem = "hides most of every image when AutoModel loads it with an adapter"
    if problem is not None:
        raise InputError(
            f"{base!r} {problem}; to export plain weights, add --merge_lora, or call VisionEncoder.merge_adapter"
        )


def check_sharing(encoder: VisionEncoder) -> None:
    """Refuses, before training, to push an adapter that nobody else could open, or not as it is here.

    Raises:
        InputError: the base of the adapter is a local directory, or AutoModel would run it in another way.
    """
    check_export(encoder)
    base = str(encoder.backbone.name_or_path)
    if encoder.is_adapter and Path(base).expanduser().exists():
        raise InputError(
            f"the adapter cannot be shared: its base model {base!r} is not on the Hub, so nobody could load it; add "
            "--merge_lora, or give the base by its Hub id"
        )
