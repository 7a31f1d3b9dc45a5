"""Checks that `AutoModel` opens an exported encoder elsewhere as the same model."""

import transformers

from hf_alignet.encoder.model import Encoder
from hf_alignet.errors import InputError
from hf_alignet.sources import local_path


def check_export(encoder: Encoder) -> None:
    """InputError for an adapter that AutoModel would open as another model.

    AutoModel loads the base model by the name in the adapter. For the tower of a dual model this is the whole
    dual model, and the adapter is left out.
    """
    base = encoder.backbone.name_or_path
    if not encoder.is_adapter or not base:
        return
    try:
        whole, _ = transformers.PreTrainedConfig.get_config_dict(base, revision=encoder.revision)
    except OSError:  # AutoModel would raise the same error
        return
    config, problem = encoder.backbone.config, None
    if whole.get("model_type") != config.model_type:
        kind = encoder.tower.removesuffix("_config")
        problem = f"holds more than the {kind} tower, and AutoModel would leave an adapter of the tower out"
    elif hasattr(config, "mask_ratio") and whole.get("mask_ratio") != 0:  # the file lacks it if it is the default
        problem = "hides most of every image when AutoModel loads it with an adapter"
    if problem is not None:
        raise InputError(
            f"{base!r} {problem}; to export plain weights, add `merge_lora=True`, or call "
            f"{type(encoder).__name__}.merge_adapter"
        )


def check_sharing(encoder: Encoder) -> None:
    """InputError for an adapter that others could not open, because its base is local, or only as another model."""
    check_export(encoder)
    base = str(encoder.backbone.name_or_path)
    if encoder.is_adapter and base and local_path(base) is not None:
        raise InputError(
            f"the adapter cannot be shared: its base model {base!r} is not on the Hub, so nobody could load it; add "
            "`merge_lora=True`, or give the base model by its Hub id"
        )
