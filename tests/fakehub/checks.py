"""What the Hub double refuses to commit. Pure functions: each returns a list of messages, empty when all is well.

Cards: rules of the real Hub, in its words where known (`"base_model" with value "/x" is not valid. …`), and the format
of `huggingface_hub.EvalResultEntry`. Pickles, secrets and local paths: rules of this project, not of the real Hub.
A relative path of one or two parts ("outputs/aligned") cannot be told from a repo id and passes.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Iterable
from typing import Any

import yaml

CARD_PATH = "README.md"
EVAL_RESULTS_PATH = re.compile(r"\.eval_results/.+\.ya?ml")
FRONT_MATTER = re.compile(r"\s*---[ \t]*\r?\n(.*?)(?:^|\r?\n)---[ \t]*(?:\r?\n|$)", re.DOTALL | re.MULTILINE)
REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
LICENSE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
PICKLE_PROTOCOLS = range(2, 6)  # protocols 0 and 1 have no marker
# What a Trainer needs to resume from a pushed checkpoint, and exists only as pickles.
CHECKPOINT_STATE = re.compile(
    r"(?:.*/)?(?:last-checkpoint|checkpoint-[^/]+)/(?:optimizer\.pt|scheduler\.pt|rng_state[^/]*\.pth)"
)


def file_errors(path: str, content: bytes, forbidden: Iterable[str] = ()) -> list[str]:
    """Everything that is wrong with one file of a commit."""
    errors = pickle_errors(path, content) + forbidden_errors(path, content, forbidden)
    if path == CARD_PATH or EVAL_RESULTS_PATH.fullmatch(path):
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            return [*errors, f"{path} is not UTF-8: {error}"]
        errors += card_errors(text) if path == CARD_PATH else eval_results_errors(path, text)
    return errors


# ---- cards


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML as the Hub reads it: a key given twice is an error, not a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicated mapping key {key!r}", node.start_mark)
        return super().construct_mapping(node, deep)


def card_metadata(text: str) -> dict[str, Any]:
    """The YAML block that opens a card, `{}` without one.

    Raises:
        yaml.YAMLError: If it does not parse or is not a mapping.
    """
    block = FRONT_MATTER.match(text)
    metadata = yaml.load(block[1], UniqueKeyLoader) if block else None
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise yaml.YAMLError(f"the metadata must be a mapping, not {type(metadata).__name__}")
    return metadata


def card_errors(text: str) -> list[str]:
    try:
        metadata = card_metadata(text)
    except yaml.YAMLError as error:
        return [f"Invalid YAML metadata in {CARD_PATH}: {error}"]
    errors = []
    if "base_model" in metadata:
        errors += _repo_id_errors("base_model", metadata["base_model"], "Use a model id from https://hf.co/models.")
    if "datasets" in metadata:
        advice = "If possible, use a dataset id from https://hf.co/datasets."
        errors += _repo_id_errors("datasets", metadata["datasets"], advice)
    if "license" in metadata:
        errors += _license_errors(metadata["license"])
    if "tags" in metadata:
        errors += _tags_errors(metadata["tags"])
    if "model-index" in metadata:
        errors += _model_index_errors(metadata["model-index"])
    return errors


def is_repo_id(value: str) -> bool:
    """`name` or `namespace/name`; parts neither begin nor end with "." or "-", which also rules out "./out" and "..".

    >>> [is_repo_id(value) for value in ("google/siglip-base", "./out", "/home/me/model")]
    [True, False, False]
    """
    return REPO_ID.fullmatch(value) is not None and not any(
        part[0] in ".-" or part[-1] in ".-" or ".." in part or "--" in part for part in value.split("/")
    )


def _repo_id_errors(field: str, value: Any, advice: str) -> list[str]:
    if isinstance(value, list):
        return [error for i, item in enumerate(value) for error in _repo_id_errors(f"{field}[{i}]", item, advice)]
    if not isinstance(value, str):
        return [f'"{field}" must be a string']
    if value == "":
        return [f'"{field}" is not allowed to be empty']
    return [] if is_repo_id(value) else [f'"{field}" with value "{value}" is not valid. {advice}']


def _license_errors(value: Any) -> list[str]:
    licenses = value if isinstance(value, list) else [value]
    if not licenses or not all(isinstance(item, str) for item in licenses):
        return ['"license" must be a string or an array of strings']
    return [
        f'"license" with value "{item}" is not valid. Use an id such as "apache-2.0" or "other".'
        for item in licenses
        if not LICENSE_ID.fullmatch(item)
    ]


def _tags_errors(value: Any) -> list[str]:
    if not isinstance(value, list):
        return ['"tags" must be an array']
    return [f'"tags[{i}]" must be a string' for i, tag in enumerate(value) if not isinstance(tag, str)]


def _model_index_errors(value: Any) -> list[str]:
    if not isinstance(value, list):
        return ['"model-index" must be an array']
    return [error for i, model in enumerate(value) for error in _indexed_model_errors(f"model-index[{i}]", model)]


def _indexed_model_errors(at: str, model: Any) -> list[str]:
    if not isinstance(model, dict):
        return [f'"{at}" must be an object']
    errors = _required_string_errors(at, model, "name")
    results = model.get("results")
    if not isinstance(results, list):  # an empty list is what Trainer writes for a task it does not know, and passes
        return [*errors, f'"{at}.results" must be an array']
    for i, result in enumerate(results):
        errors += _result_errors(f"{at}.results[{i}]", result)
    return errors


def _result_errors(at: str, result: Any) -> list[str]:
    if not isinstance(result, dict):
        return [f'"{at}" must be an object']
    errors = []
    for part, fields in {"task": ["type"], "dataset": ["type", "name"]}.items():
        if not isinstance(result.get(part), dict):
            errors.append(f'"{at}.{part}" is required')
            continue
        for field in fields:
            errors += _required_string_errors(f"{at}.{part}", result[part], field)
    metrics = result.get("metrics")
    if not isinstance(metrics, list) or not metrics:
        return [*errors, f'"{at}.metrics" is required']
    for i, metric in enumerate(metrics):
        if not isinstance(metric, dict) or metric.get("value") is None:
            errors.append(f'"{at}.metrics[{i}].value" is required')
        else:
            errors += _required_string_errors(f"{at}.metrics[{i}]", metric, "type")
    return errors


def _required_string_errors(at: str, mapping: dict[str, Any], field: str) -> list[str]:
    if mapping.get(field) is None:
        return [f'"{at}.{field}" is required']
    return [] if isinstance(mapping[field], str) and mapping[field] else [f'"{at}.{field}" must be a string']


# ---- .eval_results/*.yaml


def eval_results_errors(path: str, text: str) -> list[str]:
    """A list of `{"dataset": {"id", "task_id"}, "value", …}`: what `eval_result_entries_to_yaml` writes."""
    try:
        entries = yaml.load(text, UniqueKeyLoader)
    except yaml.YAMLError as error:
        return [f"Invalid YAML in {path}: {error}"]
    if not isinstance(entries, list) or not entries:
        return [f"{path} must be a list of evaluation results"]
    return [f"{path}: {error}" for i, entry in enumerate(entries) for error in _eval_entry_errors(f"[{i}]", entry)]


def _eval_entry_errors(at: str, entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return [f'"{at}" must be an object']
    dataset = entry.get("dataset")
    if isinstance(dataset, dict) and "id" in dataset:
        errors = _repo_id_errors(f"{at}.dataset.id", dataset["id"], "Use a dataset id from https://hf.co/datasets.")
        errors += _required_string_errors(f"{at}.dataset", dataset, "task_id")
    else:
        errors = [f'"{at}.dataset.id" is required']
    value = entry.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        errors.append(f'"{at}.value" must be a finite number, not {value!r}')
    source = entry.get("source")
    if source is not None and not (isinstance(source, dict) and isinstance(source.get("url"), str)):
        errors.append(f'"{at}.source.url" is required')
    return errors


# ---- pickles, secrets, local paths


def pickle_errors(path: str, content: bytes) -> list[str]:
    if CHECKPOINT_STATE.fullmatch(path):
        return []
    if path.lower().endswith(PICKLE_SUFFIXES):
        return [f"{path} is a pickle by its name: upload safetensors, JSON or parquet instead"]
    if _is_pickle(content):
        return [f"{path} is a pickle by its content: upload safetensors, JSON or parquet instead"]
    return []


def _is_pickle(content: bytes) -> bool:
    if content[:1] == b"\x80" and len(content) > 1 and content[1] in PICKLE_PROTOCOLS:
        return not _is_safetensors(content)
    if content[:2] != b"PK":
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:  # torch.save: <name>/data.pkl
            return any(name.endswith(".pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _is_safetensors(content: bytes) -> bool:
    """Its first 8 bytes are the header's length, so a header of 640, 896, 1152 or 1408 bytes starts like a pickle."""
    length = int.from_bytes(content[:8], "little")
    try:
        return isinstance(json.loads(content[8 : 8 + length]), dict)
    except ValueError:
        return False


def forbidden_errors(path: str, content: bytes, forbidden: Iterable[str]) -> list[str]:
    """Strings that may not leave the machine: an access token, a home directory, a user name."""
    places = {text: content.find(text.encode()) for text in forbidden}
    return [f"{path} holds the forbidden string {text!r} at byte {at}" for text, at in places.items() if at >= 0]
