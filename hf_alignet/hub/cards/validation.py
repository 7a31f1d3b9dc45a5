"""Finds what the Hub would refuse in a card, before anything is sent."""

import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, RepoCard
from huggingface_hub.errors import HFValidationError
from huggingface_hub.repocard_data import model_index_to_eval_results
from huggingface_hub.utils import validate_repo_id

from hf_alignet.errors import InputError

LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def check_card(file: Path) -> None:
    """Refuses a card whose metadata the Hub would refuse: it cannot be read, or names no possible repository.

    Raises:
        InputError: names the file, the field and its value.
    """
    try:
        data = RepoCard.load(file, ignore_metadata_errors=False).data.to_dict()
    except (ValueError, TypeError, KeyError, OSError, yaml.YAMLError) as error:
        raise InputError(f"the Hub would refuse the card {file.name}: {' '.join(str(error).split())}") from error
    for field, value in data.items():
        problem = _problem(field, value)
        if problem is not None:
            raise InputError(f"the Hub would refuse the card {file.name}: `{field}` {problem}, got {value!r}")


def _problem(field: str, value: Any) -> str | None:
    """What is wrong with the value of a field; None if the Hub takes it."""
    values = value if isinstance(value, list) else [value]
    if field in ("tags", "language", "license", "base_model", "datasets") and not all(
        isinstance(v, str) for v in values
    ):
        return "must be text, or a list of texts"
    if field == "license" and not all(LICENSE.fullmatch(v) for v in values):
        return "must be an identifier, such as cc-by-4.0 or mit"
    if field in ("base_model", "datasets") and not all(map(_is_repo_id, values)):
        return "must be on the Hub, user/name"
    if field == "model-index":
        try:
            found = model_index_to_eval_results(value)[1]
        except (KeyError, TypeError, AttributeError) as error:
            return f"is no list of results ({error!r})"
        if not all(isinstance(result, EvalResult) and result.metric_value is not None for result in found):
            return "has a result without a value"
    return None


def _is_repo_id(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
