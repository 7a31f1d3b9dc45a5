"""Model cards: facts about an alignment run, as Markdown with metadata that the Hub reads.

All facts come from the files that the run wrote, which name local data without their paths. Unknown facts are left
out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from hf_alignet.hub.rendering import TAGS, render_card
from hf_alignet.metric import Metric, comparison_table
from hf_alignet.sources import hub_id, split_revision
from hf_alignet.storage import write_text
from hf_alignet.text_files import load_json

CARD = "README.md"
NAFLEX = ("siglip2", "siglip2_vision_model")  # embed pictures of any shape, as sequences with padding
EVAL_RESULTS_FILE = ".eval_results/odd_one_out.yaml"
ACCURACY = "odd_one_out_accuracy"
METRIC_ARGS = ("n", "chance", "ci95", "unit")
CLASSIFIED = ("few_shot_accuracy", "probe_accuracy", "breeds_accuracy", "shift_accuracy", "corruption_accuracy")
RETRIEVED = ("recall_at_1", "recall_at_5", "recall_at_10", "mean_average_precision")
# By measure: the type of the metric, as the Hub calls it, or else the measure itself
TYPES = {
    **dict.fromkeys((ACCURACY, *CLASSIFIED), "accuracy"),
    **dict.fromkeys(("rsa_spearman", "response_time_spearman"), "spearmanr"),
    "anomaly_auroc": "roc_auc",
}
COMPARED, OF_TEXTS = "image-feature-extraction", "feature-extraction"  # tasks of models whose embeddings are compared
# By measure on labelled images: the type of the task. Others compare embeddings
TASKS = {
    **dict.fromkeys((*CLASSIFIED, "kept_accuracy"), "image-classification"),
    **dict.fromkeys(RETRIEVED, "image-retrieval"),
    "anomaly_auroc": "anomaly-detection",
}


def write_model_card(
    directory: Path,
    model_id: str,
    license: str | None = None,
    tags: str | Sequence[str] | None = None,
    language: str | list[str] | None = None,
    license_name: str | None = None,
    license_link: str | None = None,
    model_name: str | None = None,
    base_model: str | None = None,
    datasets: str | Sequence[str] | None = None,
) -> None:
    """Writes `README.md` from `alignment.json` and, if it exists, `results.json`.

    If the triplets are a dataset on the Hub, it also writes the accuracies to `.eval_results`.

    Args:
        directory: output of a run.
        model_id: name that others load the model by.
        license: as the Hub calls it, like other metadata. Default: the licence of the base model, if it is known.
        tags: added to those of the package.
        language: codes of languages.
        license_name: of a licence that the Hub calls `other`; `license_link` leads to its text.
        license_link: see `license_name`.
        model_name: title, and name in the model index. Default: the id.
        base_model: Hub id. Default: that of the run.
        datasets: Hub ids, added to those of the run.
    """
    alignment = load_json(directory / "alignment.json", "the record of the alignment")
    results = _read_json(directory / "results.json")
    base, aligned = results.get("base", {}), results.get("aligned", {})
    triplets = hub_id(alignment.get("triplets"))
    # The commit if it is known, else the revision that the user gave
    revision = alignment.get("triplets_commit") or split_revision(alignment.get("triplets") or "")[1]
    before = {metric: base[metric]["value"] if metric in base else None for metric in aligned}
    fields = {"license": license, "license_name": license_name, "license_link": license_link}
    given = {field: value for field, value in fields.items() if value is not None}
    stated = alignment.get("base_model_license") or {}
    is_adapter = (directory / "adapter_config.json").exists()
    task = OF_TEXTS if alignment.get("input") == "text" else COMPARED
    measured = [eval_result(m, value, triplets, revision, before[m], compared=task) for m, value in aligned.items()]
    data = ModelCardData(
        model_name=model_name or model_id,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag=task,
        base_model=base_model or hub_id(alignment.get("base_model")),
        datasets=_distinct(triplets, hub_id(alignment.get("images")), *_listed(datasets)) or None,
        tags=_distinct(*TAGS, *_listed(tags)),
        language=language,
        eval_results=measured or None,
        **(stated | given if license in (None, stated.get("license")) else given),
    )
    card = render_card(
        "model.md.jinja",
        data,
        model_name=model_name or model_id,
        model_id=model_id,
        is_adapter=is_adapter,
        opens_in_sentence_transformers=(directory / "modules.json").exists(),
        has_padding=_read_json(directory / "config.json").get("model_type") in NAFLEX,
        alignment=alignment,
        table=comparison_table(base, aligned) if base else None,
        undone=share_undone(alignment.get("interpolation")),
        has_figure=(directory / "before_after.png").exists(),
    )
    write_text(directory / CARD, str(card))
    if results and triplets is not None:
        write_entries(directory, [eval_entry(m, value, triplets, revision, before[m]) for m, value in aligned.items()])


def share_undone(interpolation: float | None) -> str | None:
    """How much of the training the exported weights do not have; None if they have all, or it is not known."""
    if interpolation is None or interpolation == 1:
        return None
    return (
        f"The exported weights lie {interpolation:g} of the way from the initial weights to the trained ones "
        f"(`interpolation`): {1 - interpolation:.0%} of the training is undone.".replace("%", " %")
    )


def _listed(names: str | Sequence[str] | None) -> Sequence[str]:
    return [names] if isinstance(names, str) else names or []


def _distinct(*names: str | None) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))


def eval_result(
    name: str,
    metric: Metric,
    dataset_id: str | None,
    revision: str | None,
    before: float | None = None,
    tested: tuple[str, str | None] | None = None,
    compared: str = COMPARED,
) -> EvalResult:
    """An entry of the model index.

    `dataset_id` and `revision` are those of judgments or labelled images on the Hub, or None; `tested` are the name
    and the split of labelled images, which benchmarks of several kinds share. `compared` is the task of all others.
    """
    dataset, *variant, measure = name.split("/")
    task = TASKS.get(measure, compared)
    task_name = "odd-one-out" if variant else "representational similarity"
    split: str | None = "/".join(variant) or None
    if measure in TASKS and tested is not None:
        task_name = task.replace("-", " ")
        dataset, split = tested
    change = {} if before is None else {"before": before}
    return EvalResult(
        task_type=task,
        task_name=task_name,
        dataset_type=dataset_id or dataset,
        dataset_name=dataset,
        dataset_split=split,
        dataset_revision=revision if dataset_id else None,
        metric_type=TYPES.get(measure, measure),
        metric_name=name,
        metric_value=metric["value"],
        metric_args={key: metric.get(key) for key in METRIC_ARGS} | change,
    )


def eval_entry(
    name: str, metric: Metric, dataset_id: str, revision: str | None, before: float | None = None
) -> EvalResultEntry:
    """An entry of `.eval_results`, for an accuracy on judgments of the Hub."""
    return EvalResultEntry(
        dataset_id=dataset_id,
        dataset_revision=revision,
        task_id="/".join(name.split("/")[1:-1]),
        value=metric["value"],
        notes=f"odd-one-out accuracy; n = {metric['n']}, chance = {metric['chance']:.3f}"
        + ("" if before is None else f", before alignment {before:.4f}"),
    )


def write_entries(directory: Path, entries: list[EvalResultEntry], kept: Sequence[dict[str, Any]] = ()) -> None:
    """Writes entries of `.eval_results` after those that are kept."""
    content = [*kept, *eval_result_entries_to_yaml(entries)]
    write_text(directory / EVAL_RESULTS_FILE, yaml.safe_dump(content, sort_keys=False))


def _read_json(file: Path) -> dict[str, Any]:
    """The content of a JSON file; nothing if it does not exist."""
    return load_json(file, "the results") if file.exists() else {}
