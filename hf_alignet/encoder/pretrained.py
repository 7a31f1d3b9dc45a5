"""Loads the model of a checkpoint, or the tower of it that is needed, and what it records about its alignment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import HTTPError
from transformers.utils import cached_file, find_adapter_config_file
from transformers.utils import logging as transformers_logging

from hf_alignet.errors import InputError
from hf_alignet.hub.connection import in_one_line, refusing
from hf_alignet.sources import split_revision
from hf_alignet.text_files import load_json

ALIGNMENT_FILE = "alignment.json"


def check_model(name_or_path: str, trust_remote_code: bool = False) -> None:
    """InputError, by the configuration alone, if it is no model that can be opened and whose code may run."""
    read_alignment(name_or_path)
    name, revision = split_revision(name_or_path)
    with loading(name):
        if find_adapter_config_file(name, revision=revision) is None:
            transformers.AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)


def loading(name: str) -> contextlib.AbstractContextManager[None]:
    """Turns what goes wrong when a model is loaded and tried into an InputError."""
    return refusing(f"the model {name!r}")


def load_model(
    name: str, revision: str | None, trust_remote_code: bool, tower: str, main_input: str
) -> tuple[transformers.PreTrainedModel, set[str]]:
    """The model of a checkpoint in float32, and the names of its parameters that the checkpoint lacks.

    Args:
        name: of the checkpoint.
        revision: of it.
        trust_remote_code: allow code from the repository to run.
        tower: of a dual model this part of the configuration, `vision_config` or `text_config`, says what is loaded.
        main_input: what the model must take, `pixel_values` or `input_ids`.
    """
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    with loading(name):
        config = transformers.AutoConfig.from_pretrained(name, **options)
        config = getattr(config, tower, None) or config
        if hasattr(config, "mask_ratio"):
            config.mask_ratio = 0.0  # MAE would hide three quarters of every image
        # The report of weights that do not fit is hidden, so they are named below
        options |= {"config": config, "dtype": torch.float32, "output_loading_info": True}
        options["ignore_mismatched_sizes"] = True
        with quiet_loading():
            model, info = transformers.AutoModel.from_pretrained(name, **options)
    for key, saved, expected in sorted(info["mismatched_keys"]):
        raise InputError(
            f"cannot open the model {name!r}: {key} is of shape {tuple(saved)}, and its config.json describes "
            f"{tuple(expected)}"
        )
    if model.main_input_name != main_input:
        kind = tower.removesuffix("_config")
        raise InputError(f"{name!r} is not a {kind} model: {type(model).__name__} takes {model.main_input_name}")
    missing = set(info["missing_keys"])
    if any(key.startswith("pooler.") for key in missing):
        model.pooler = None
    return model, missing


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Hides the table of missing weights, because our own check is stricter, and a progress bar that is too short."""
    verbosity, has_bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if has_bars:
            transformers_logging.enable_progress_bar()


def read_alignment(name_or_path: str) -> dict[str, Any]:
    """The content of `alignment.json` of a model, empty if it was not aligned; InputError if it does not exist."""
    name, revision = split_revision(name_or_path)
    try:
        file = cached_file(name, ALIGNMENT_FILE, revision=revision, _raise_exceptions_for_missing_entries=False)
    except (OSError, HTTPError) as error:
        raise InputError(f"cannot find the model {name_or_path!r}: {in_one_line(error)}") from error
    return load_json(Path(file), "the record of the alignment") if file else {}
