"""Which encoders can be exported: `AutoModel` must open the same model elsewhere."""

from pathlib import Path

from transformers import PreTrainedConfig

from hf_alignet.encoder.model import VisionEncoder
from hf_alignet.errors import InputError


def check_export(encoder: VisionEncoder) -> None:
    """Refuses an adapter that AutoModel would open as another model.

    AutoModel loads the base model that the adapter names. If that is a dual model, it drops an adapter of the tower.

    Raises:
        InputError: the message says what AutoModel would do.
    """
    base = encoder.backbone.name_or_path
    if not encoder.is_adapter or not base:
        return
    try:
        whole, _ = PreTrainedConfig.get_config_dict(base, revision=encoder.revision)
    except OSError:  # AutoModel will say so, too
        return
    config, problem = encoder.backbone.config, None
    if whole.get("model_type") != config.model_type:
        problem = "holds more than the vision tower, and AutoModel would leave an adapter of the tower out"
    elif hasattr(config, "mask_ratio") and whole.get("mask_ratio") != 0:  # no entry means the default, 0.75
        problem = "hides most of every image when AutoModel loads it with an adapter"
    if problem is not None:
        raise InputError(
            f"{base!r} {problem}; to export plain weights, add `merge_lora=True`, or call VisionEncoder.merge_adapter"
        )


def check_sharing(encoder: VisionEncoder) -> None:
    """Refuses an adapter that others could not open, or would open as another model.

    Raises:
        InputError: the base of the adapter is a local directory, or AutoModel would open another model.
    """
    check_export(encoder)
    base = str(encoder.backbone.name_or_path)
    if encoder.is_adapter and Path(base).expanduser().exists():
        raise InputError(
            f"the adapter cannot be shared: its base model {base!r} is not on the Hub, so nobody could load it; add "
            "`merge_lora=True`, or give the base by its Hub id"
        )
