"""Numbers that were measured later, into the card of a model that is there: what else it says stays as it is."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from huggingface_hub import (
    EvalResult,
    EvalResultEntry,
    ModelCard,
    ModelCardData,
    eval_result_entries_to_yaml,
    snapshot_download,
)

from hf_alignet.errors import InputError
from hf_alignet.hub.cards.model_card import EVAL_RESULTS_FILE
from hf_alignet.hub.transport.repository import HUB_ERRORS, reason, share_folder
from hf_alignet.metric import Metric, results_table
from hf_alignet.sources import hub_id, local_path, public_name, split_revision
from hf_alignet.storage import write_text

CARD = "README.md"
CARD_FILES = (CARD, ".eval_results/*")
BEGIN, END = "<!-- evaluation -->", "<!-- /evaluation -->"
SHOWN = re.compile(f"\n{BEGIN}.*?{END}\n", re.S)
NEXT_SECTION = "\n## How it was made\n"
TYPES = {"odd_one_out_accuracy": "accuracy", "rsa_spearman": "spearmanr", "response_time_spearman": "spearmanr"}


def fetch_card(model: str, directory: Path) -> Path:
    """Where the card of a model lies: its own directory, or a copy, in `directory`, of the card on the Hub.

    Raises:
        InputError: there is no such model, or its card cannot be added to.
    """
    path = local_path(model)
    if path is None:
        name, revision = split_revision(model)
        shutil.rmtree(directory, ignore_errors=True)  # an older copy may have what is no longer there
        try:
            patterns = [*CARD_FILES, "config.json", "adapter_config.json"]
            path = Path(snapshot_download(name, revision=revision, allow_patterns=patterns, local_dir=directory))
        except (*HUB_ERRORS, OSError) as error:
            raise InputError(f"{model!r} is no directory with a model, nor one on the Hub: {reason(error)}") from error
    check_model_directory(path)
    return path


def check_model_directory(directory: str | Path) -> None:
    """Refuses what is no model in a directory, and a card that cannot be added to, before anything long begins.

    Raises:
        InputError: says what is wrong.
    """
    path = Path(directory).expanduser()
    if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise InputError(
            f"{str(directory)!r} is no directory with a model: it has neither config.json nor adapter_config.json"
        )
    _load_card(path)
    _load_entries(path)


def update_card(directory: str | Path, metrics: Mapping[str, Metric], judgments: Mapping[str, str]) -> None:
    """Adds metrics to `README.md`, in a table and the model index, and, of judgments on the Hub, to `.eval_results`.

    A metric of the same name gets its new value; everything else is kept. A directory without a card gets one.

    Args:
        directory: of a model.
        metrics: by name `dataset/variant/measure`.
        judgments: where those of each dataset are from: a path or a Hub id, optionally with `@revision`.

    Raises:
        InputError: there is no model, or its card cannot be read.
    """
    check_model_directory(directory)
    path = Path(directory).expanduser()
    card = _load_card(path)
    data = cast(ModelCardData, card.data)
    known = {result.metric_name: result for result in data.eval_results or []}
    new = {name: _eval_result(name, metric, judgments) for name, metric in metrics.items()}
    for name, result in new.items():
        if name in known and known[name].metric_args:  # such as the value before alignment
            result.metric_args = {**(known[name].metric_args or {}), **(result.metric_args or {})}
    kept = [result for result in data.eval_results or [] if result.metric_name not in new]
    data.eval_results = [*kept, *new.values()]
    data.model_name = data.get("model_name") or public_name(str(path))
    show_evaluation(card)
    card.save(path / CARD)

    entries = [entry for name, metric in metrics.items() for entry in _entries(name, metric, judgments)]
    if entries:
        replaced = {(entry.dataset_id, entry.task_id) for entry in entries}
        kept_entries = [
            entry
            for entry in _load_entries(path)
            if (entry["dataset"].get("id"), entry["dataset"].get("task_id")) not in replaced
        ]
        content = [*kept_entries, *eval_result_entries_to_yaml(entries)]
        write_text(path / EVAL_RESULTS_FILE, yaml.safe_dump(content, sort_keys=False))


def show_evaluation(card: ModelCard) -> None:
    """Shows what the model index has beside the metrics of the training in a table of the card, in place of an older.

    Args:
        card: of a model, which is changed.
    """
    results = cast(ModelCardData, card.data).eval_results or []
    measured = {
        str(result.metric_name): cast(Metric, {"value": result.metric_value, **result.metric_args})
        for result in results
        if result.metric_args and set(result.metric_args) == {"n", "chance", "ci95"}  # those of training have a before
    }
    text = SHOWN.sub("", card.text).rstrip("\n") + "\n"
    if measured:
        table = results_table({"value": measured})
        section = f"{BEGIN}\n## Evaluation\n\nWith 95 % intervals, by `recipes/evaluate.py`.\n\n{table}\n{END}\n"
        before = text.find(NEXT_SECTION)
        text = f"{text}\n{section}" if before < 0 else f"{text[:before]}\n{section}{text[before:]}"
    card.text = text


def share_card(directory: Path, model: str) -> None:
    """Uploads a card that `fetch_card` copied from the Hub; one that lies in the model's own directory stays there.

    Raises:
        RunError: it failed; says how to try again.
    """
    if local_path(model) is None:
        name, revision = split_revision(model)
        share_folder(directory, name, CARD_FILES, revision=revision)


def _load_card(directory: Path) -> ModelCard:
    file = directory / CARD
    if not file.exists():
        return ModelCard(f"---\n{{}}\n---\n\n# {public_name(str(directory))}\n")
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


def _eval_result(name: str, metric: Metric, judgments: Mapping[str, str]) -> EvalResult:
    dataset, *variant, measure = name.split("/")
    source, revision = split_revision(judgments.get(dataset, ""))
    return EvalResult(
        task_type="image-feature-extraction",
        task_name="odd-one-out" if variant else "representational similarity",
        dataset_type=_published(source) or dataset,
        dataset_name=dataset,
        dataset_split="/".join(variant) or None,
        dataset_revision=revision if _published(source) else None,
        metric_type=TYPES.get(measure, measure),
        metric_name=name,
        metric_value=metric["value"],
        metric_args={"n": metric["n"], "chance": metric["chance"], "ci95": metric["ci95"]},
    )


def _entries(name: str, metric: Metric, judgments: Mapping[str, str]) -> list[EvalResultEntry]:
    """Accuracies alone: a leaderboard has one number a task."""
    dataset, *variant, measure = name.split("/")
    source, revision = split_revision(judgments.get(dataset, ""))
    published = _published(source)
    if measure != "odd_one_out_accuracy" or published is None:
        return []
    return [
        EvalResultEntry(
            dataset_id=published,
            dataset_revision=revision,
            task_id="/".join(variant),
            value=metric["value"],
            notes=f"odd-one-out accuracy; n = {metric['n']}, chance = {metric['chance']:.3f}",
        )
    ]


def _published(source: str) -> str | None:
    """The Hub id that a source is, None for what is local."""
    return None if not source or local_path(source) is not None else hub_id(source)
