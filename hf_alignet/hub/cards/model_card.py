"""Model cards: facts about an alignment run, as Markdown with metadata that the Hub reads.

Everything comes from what the trainer and the recipe wrote down. Local paths never get here: `public_name` has reduced
them to a name. What is not known is left out.
"""

import json
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml

from hf_alignet.hub.rendering import TAGS, render_card
from hf_alignet.metric import comparison_table
from hf_alignet.sources import hub_id, split_revision

NAFLEX = ("siglip2", "siglip2_vision_model")  # embed pictures of any shape, as sequences with padding
EVAL_RESULTS_FILE = ".eval_results/odd_one_out.yaml"


def model_card(directory: Path, model_id: str, **metadata: Any) -> ModelCard:
    """The card of the aligned model in a directory, from its `alignment.json` and `results.json`.

    Args:
        directory: output of a run.
        model_id: name that others load the model by.
        **metadata: more fields for the metadata, such as `license`, by default that of the base model if it is known,
            or `model_name`, the title, by default the id. `tags` and `datasets` are added to those of the card.
    """
    alignment = json.loads((directory / "alignment.json").read_text(encoding="utf-8"))
    results_file = directory / "results.json"
    results = (
        json.loads(results_file.read_text(encoding="utf-8")) if results_file.exists() else {"base": {}, "aligned": {}}
    )
    data_ids = [hub_id(alignment.get(role)) for role in ("triplets", "images")]
    given = {name: value for name, value in metadata.items() if value is not None}
    model_name = given.pop("model_name", model_id)
    tags, datasets = (_as_list(given.pop(name, [])) for name in ("tags", "datasets"))
    stated = alignment.get("base_model_license") or {}
    is_adapter = (directory / "adapter_config.json").exists()
    data = ModelCardData(
        model_name=model_name,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="image-feature-extraction",
        base_model=given.pop("base_model", hub_id(alignment.get("base_model"))),
        datasets=list(dict.fromkeys(i for i in (*data_ids, *datasets) if i)) or None,
        tags=list(dict.fromkeys([*TAGS, *tags])),
        eval_results=_eval_results(alignment, results) or None,
        **(stated | given if given.get("license") in (None, stated.get("license")) else given),
    )
    return render_card(
        "model.md.jinja",
        data,
        model_name=model_name,
        model_id=model_id,
        is_adapter=is_adapter,
        has_padding=_model_type(directory) in NAFLEX,
        alignment=alignment,
        table=comparison_table(results["base"], results["aligned"]) if results["base"] else None,
        has_figure=(directory / "before_after.png").exists(),
    )


def write_model_card(directory: Path, model_id: str, **metadata: Any) -> None:
    """Writes `README.md` and, where the triplets are a dataset on the Hub, `.eval_results`, into the directory."""
    model_card(directory, model_id, **metadata).save(directory / "README.md")
    alignment = json.loads((directory / "alignment.json").read_text(encoding="utf-8"))
    results_file = directory / "results.json"
    dataset = hub_id(alignment.get("triplets"))
    if results_file.exists() and dataset is not None:
        entries = _eval_entries(json.loads(results_file.read_text(encoding="utf-8")), dataset, _revision(alignment))
        file = directory / EVAL_RESULTS_FILE
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False), encoding="utf-8")


def _as_list(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def _model_type(directory: Path) -> str | None:
    file = directory / "config.json"
    return json.loads(file.read_text(encoding="utf-8")).get("model_type") if file.exists() else None


def _eval_results(alignment: dict[str, Any], results: dict[str, Any]) -> list[EvalResult]:
    source = alignment.get("triplets")
    return [
        EvalResult(
            task_type="image-feature-extraction",
            task_name="odd-one-out",
            dataset_type=hub_id(source) or metric.split("/")[0],
            dataset_name=metric.split("/")[0],
            dataset_split=metric.split("/")[1],
            dataset_revision=_revision(alignment) if hub_id(source) else None,
            metric_type="accuracy",
            metric_name=metric,
            metric_value=after["value"],
            metric_args={
                "n": after["n"],
                "chance": after["chance"],
                "ci95": after["ci95"],
                **({"before": results["base"][metric]["value"]} if metric in results["base"] else {}),
            },
        )
        for metric, after in results["aligned"].items()
    ]


def _revision(alignment: dict[str, Any]) -> str | None:
    """Of the triplets: the commit if it is known, else what was asked for."""
    return alignment.get("triplets_commit") or split_revision(alignment.get("triplets") or "")[1]


def _eval_entries(results: dict[str, Any], dataset: str, revision: str | None) -> list[EvalResultEntry]:
    return [
        EvalResultEntry(
            dataset_id=dataset,
            dataset_revision=revision,
            task_id=metric.split("/")[1],
            value=after["value"],
            notes=f"odd-one-out accuracy; n = {after['n']}, chance = {after['chance']:.3f}"
            + (f", before alignment {results['base'][metric]['value']:.4f}" if metric in results["base"] else ""),
        )
        for metric, after in results["aligned"].items()
    ]
