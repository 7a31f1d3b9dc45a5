"""Adds numbers that were measured later to the card of a model. The rest of the card stays as it is."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from huggingface_hub import ModelCard, ModelCardData, snapshot_download

from hf_alignet.errors import InputError
from hf_alignet.hub.cards.model_card import (
    ACCURACY,
    CARD,
    COMPARED,
    EVAL_RESULTS_FILE,
    OF_TEXTS,
    eval_entry,
    eval_result,
    write_entries,
)
from hf_alignet.hub.connection import HUB_ERRORS, reason
from hf_alignet.hub.transport.repository import share_folder
from hf_alignet.markdown import plain
from hf_alignet.metric import Metric, results_table
from hf_alignet.sources import SPLIT, hub_id, local_path, public_name, split_revision
from hf_alignet.storage import empty, new_files, output_folder, write_text

CARD_FILES = (CARD, ".eval_results/*")
BEGIN, END = "<!-- evaluation -->", "<!-- /evaluation -->"
SHOWN = re.compile(f"\n{BEGIN}.*?{END}\n", re.S)
NEXT_SECTION = "\n## How it was made\n"


def fetch_card(model: str, directory: Path) -> Path:
    """The folder with the card of a model: its own directory, or a copy in `directory` of the card on the Hub.

    Raises an InputError if the model does not exist, or its card cannot be read, or the copy has no place.
    """
    path = local_path(model)
    if path is None:
        name, revision = split_revision(model)
        patterns = [*CARD_FILES, "config.json", "adapter_config.json"]
        with output_folder(directory, "update_card"):
            empty(directory)  # an older copy may have files that the Hub has no more
            # Into an empty folder: where there are files, snapshot_download is content with them if the Hub fails
            with new_files(directory) as made:
                try:
                    snapshot_download(name, revision=revision, allow_patterns=patterns, local_dir=made)
                except (*HUB_ERRORS, OSError) as error:  # here: outside, it would be told as an error of the disk
                    unknown = f"{model!r} is no directory with a model, nor one on the Hub"
                    raise InputError(f"{unknown}: {reason(error)}") from error
        path = directory
    check_model_directory(path)
    return path


def check_model_directory(directory: str | Path) -> None:
    """Refuses, by an InputError, a directory without a model or with a card that cannot be read."""
    path = Path(directory).expanduser()
    if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise InputError(
            f"{str(directory)!r} is no directory with a model: it has neither config.json nor adapter_config.json"
        )
    load_card(path)
    _load_entries(path)


def update_card(directory: str | Path, metrics: Mapping[str, Metric], sources: Mapping[str, str]) -> None:
    """Adds metrics to `README.md`: in a table, and in the model index. `.eval_results` gets those of Hub datasets.

    A metric of the same name gets its new value. A directory without a card gets one.

    Args:
        directory: of a model.
        metrics: by name, `dataset/variant/measure` or `dataset/measure`.
        sources: the origin of each dataset, a path or a Hub id, optionally with `@revision` and, of labelled images,
            with `#split`, by the name that the user or the kind of the benchmark gave it; or by `dataset/variant` for
            a variant that is of another dataset. Leave out datasets without such a name: they are refused.

    Raises:
        InputError: there is no model, its card cannot be read, or a dataset of a metric is not in `sources`.
    """
    unnamed = sorted({name.split("/")[0] for name in metrics} - sources.keys())
    if unnamed:
        raise InputError(f"a card shows results only under a name that you give: name the data of {unnamed[0]!r}")
    check_model_directory(directory)
    path = Path(directory).expanduser()
    card = load_card(path)
    data = cast(ModelCardData, card.data)
    found = {dataset: _origin(source) for dataset, source in sources.items()}
    origins = {name: found.get("/".join(name.split("/")[:2])) or found[name.split("/")[0]] for name in metrics}
    known = {result.metric_name: result for result in data.eval_results or []}
    task = OF_TEXTS if data.pipeline_tag == OF_TEXTS else COMPARED
    new = {
        name: eval_result(name, metric, *origins[name][:2], tested=origins[name][2:], compared=task)
        for name, metric in metrics.items()
    }
    for name, result in new.items():
        if name in known and known[name].metric_args:  # such as the value before alignment
            result.metric_args = {**(known[name].metric_args or {}), **(result.metric_args or {})}
    kept = [result for result in data.eval_results or [] if result.metric_name not in new]
    data.eval_results = [*kept, *new.values()]
    data.model_name = data.get("model_name") or public_name(str(path))
    show_evaluation(card)
    write_text(path / CARD, str(card))

    entries = []
    for name, metric in metrics.items():
        published, revision, *_ = origins[name]
        if name.split("/")[-1] == ACCURACY and published is not None:  # a leaderboard has one number for a task
            entries.append(eval_entry(name, metric, published, revision))
    if entries:
        replaced = {(entry.dataset_id, entry.task_id) for entry in entries}
        old = [e for e in _load_entries(path) if (e["dataset"].get("id"), e["dataset"].get("task_id")) not in replaced]
        write_entries(path, entries, old)


def show_evaluation(card: ModelCard) -> None:
    """Shows the later measurements of the model index in a table in the text of a card, which replaces an old one."""
    results = cast(ModelCardData, card.data).eval_results or []
    every = [
        (str(result.metric_name), {"value": result.metric_value} | (result.metric_args or {})) for result in results
    ]
    # Those of training have `before`, and those of other software lack our keys
    measured = {name: Metric(**m) for name, m in every if {"n", "chance", "ci95"} <= m.keys() and "before" not in m}
    text = SHOWN.sub("", card.text).rstrip("\n") + "\n"
    if measured:
        table = results_table({"value": measured})
        section = f"{BEGIN}\n## Evaluation\n\nBy `hf-alignet evaluate`, with 95 % intervals.\n\n{table}\n{END}\n"
        before = text.find(NEXT_SECTION)
        text = f"{text}\n{section}" if before < 0 else f"{text[:before]}\n{section}{text[before:]}"
    card.text = text


def share_card(directory: Path, model: str) -> None:
    """Uploads a card that `fetch_card` copied from the Hub. A card in a local directory of a model stays there."""
    if local_path(model) is None:
        name, revision = split_revision(model)
        again = shlex.join(["hf", "upload", name, str(directory)])
        share_folder(directory, name, CARD_FILES, revision=revision, again=again)


def load_card(directory: Path) -> ModelCard:
    """The card in a directory; without one, a card with only a title. Raises an InputError if it cannot be read."""
    file = directory / CARD
    if not file.exists():
        return ModelCard(f"---\n{{}}\n---\n\n# {plain(public_name(str(directory)))}\n")
    try:
        return ModelCard.load(file)
    except (ValueError, TypeError, KeyError, OSError, yaml.YAMLError) as error:
        raise InputError(f"cannot read the card {file}: {error}") from error


def _load_entries(directory: Path) -> list[dict[str, Any]]:
    file = directory / EVAL_RESULTS_FILE
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else []
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {file}: {error}") from error
    entries = entries or []
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("dataset"), dict) for entry in entries
    ):
        raise InputError(f"{file} is no list of evaluation results")
    return entries


def _origin(source: str) -> tuple[str | None, str | None, str, str | None]:
    """The id and the revision of a dataset on the Hub, None for a local one; its name and its split."""
    if local_path(source) is not None:
        return None, None, public_name(source), None
    dataset, _, split = source.partition(SPLIT)
    name, revision = split_revision(dataset)
    return hub_id(name), revision, public_name(name).split("/")[-1], split or None
