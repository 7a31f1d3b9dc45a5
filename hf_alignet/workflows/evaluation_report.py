"""What an evaluation writes: results as JSON and Markdown, and comparisons of several models as CSV."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hf_alignet.analysis import (
    benchmark_figure,
    downstream_before_after_figure,
    gains_figure,
    model_similarities,
    save_figure,
    severity_figure,
    shots_figure,
)
from hf_alignet.analysis.usefulness_figures import has_accuracies_of_two, has_several_shots
from hf_alignet.evaluation.benchmark import Benchmark, Measured
from hf_alignet.evaluation.downstream.labelled_tasks import CorruptionBenchmark, LabelledBenchmark
from hf_alignet.evaluation.human.agreement import agreement_table
from hf_alignet.evaluation.statistics.changes import changes, repeated_measures
from hf_alignet.metric import Metric, changes_table, results_table
from hf_alignet.storage import write_json, write_text

PEOPLE = "people"
FEWEST_DATASETS = 3  # over which models are compared; two say nothing of how much datasets vary
INTERVALS = (
    "Intervals are of 95 %, over what the table names: how much a number would change with other objects, triplets or "
    "people of the same kind. A difference has its own interval, over the same cases."
)

Results = dict[str, dict[str, Metric]]
logger = logging.getLogger(__name__)


def differences_to_first(results: Results) -> Results:
    """Of every model but the first, its changes against the first."""
    base, *others = results
    return {model: changes(results[base], results[model]) for model in others}


def compared_over_datasets(results: Results) -> list[str]:
    """Sentences about measures of at least three datasets: whether models differ over datasets.

    The variants of a dataset are averaged, since they have stimuli or people in common.
    """
    rows = [
        (name.split("/")[-1], name.split("/")[0], model, metric["value"])
        for model, metrics in results.items()
        for name, metric in metrics.items()
    ]
    values = pd.DataFrame(rows, columns=["measure", "dataset", "model", "value"])
    found = []
    for measure, of_measure in values.groupby("measure", sort=False):
        table = of_measure.pivot_table(index="dataset", columns="model", values="value").dropna()
        if len(table) >= FEWEST_DATASETS and table.shape[1] > 1:
            test = repeated_measures(table)
            found.append(
                f"{measure} of the models over {len(table)} datasets, analysis of variance with repeated measures: "
                f"F({test['of_models']}, {test['of_error']}) = {test['F']:.2f}, p = {test['p_value']:.3g}"
            )
    return found


def write_results(directory: Path, results: Results, differences: Results, notes: Sequence[str]) -> None:
    lines = [results_table(results), "", INTERVALS]
    if differences:
        lines += ["", changes_table(differences, next(iter(results)))]
    notes = [*notes, *(f"{m}, {name}: {v['note']}" for m in results for name, v in results[m].items() if "note" in v)]
    lines += ["", *(f"- {note}" for note in notes)] if notes else []
    write_text(directory / "results.md", "\n".join(lines) + "\n")
    write_json(directory / "results.json", results)
    logger.info("\n%s\n\nThe results are in %s", "\n".join(lines), directory)


def write_figures(directory: Path, benchmarks: Sequence[Benchmark], results: Results, differences: Results) -> None:
    """A figure of each benchmark; of usefulness also accuracies before and after, gains, and accuracies by shots."""
    models = {model: metrics for model, metrics in results.items() if model != PEOPLE}
    for benchmark in benchmarks:
        of_it = _of([benchmark], models)
        is_by_severity = isinstance(benchmark, CorruptionBenchmark)
        figure = severity_figure(of_it) if is_by_severity else benchmark_figure(of_it, results.get(PEOPLE, {}))
        save_figure(figure, directory / f"{benchmark.name}.png")
    labelled = [benchmark for benchmark in benchmarks if isinstance(benchmark, LabelledBenchmark)]
    found, gains = _of(labelled, models), _of(labelled, differences)
    if has_accuracies_of_two(found):
        save_figure(downstream_before_after_figure(found), directory / "downstream_before_after.png")
    if any(gains.values()):
        save_figure(gains_figure(gains, next(iter(results))), directory / "gains.png")
    if has_several_shots(found):
        save_figure(shots_figure(found), directory / "shots.png")


def _of(benchmarks: Sequence[Benchmark], results: Results) -> Results:
    """The metrics of some benchmarks, by model."""
    names = {benchmark.name for benchmark in benchmarks}
    return {
        model: {name: metric for name, metric in metrics.items() if name.split("/")[0] in names}
        for model, metrics in results.items()
    }


def write_comparisons(
    directory: Path,
    benchmarks: Sequence[Benchmark],
    measured: Mapping[str, Mapping[str, Measured]],
    embeddings: Mapping[str, Mapping[str, np.ndarray]],
    differences: Results,
) -> None:
    """How alike several models choose and represent, each pair in one row; and how they differ from the first."""
    agreements = [
        agreement_table({model: found[b.name].choices for model, found in measured.items()}, b.labels)
        for b in benchmarks
    ]
    if any(len(table) for table in agreements):
        write_text(directory / "agreement.csv", pd.concat(agreements).to_csv(index=False))
    rows = [
        (name, next(iter(measured)), model, change["value"], *(change["ci95"] or ("", "")), change["unit"])
        for model, found in differences.items()
        for name, change in found.items()
    ]
    columns = ["metric", "model", "other", "change", "low", "high", "interval_over"]
    write_text(directory / "changes.csv", pd.DataFrame(rows, columns=columns).to_csv(index=False))
    similarities = []
    for stimuli in dict.fromkeys(stimuli.name for benchmark in benchmarks for stimuli in benchmark.sets):
        table = model_similarities({model: sets[stimuli] for model, sets in embeddings.items()})
        above = np.triu(np.ones(table.shape, bool), 1)
        pairs = table.where(above).rename_axis("model").reset_index().melt("model", var_name="other", value_name="cka")
        similarities.append(pairs.dropna().assign(stimuli=stimuli)[["stimuli", "model", "other", "cka"]])
    write_text(directory / "model_similarity.csv", pd.concat(similarities).to_csv(index=False))
