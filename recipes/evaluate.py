"""How human is a model? Odd-one-out choices, levels of abstraction, uncertainty and judged similarities.

One model on the choices of your own raters about your own pictures:

    python recipes/evaluate.py --model_name_or_path facebook/dinov2-base --benchmarks things:choices.csv
        --images user/stimuli

Several models on several benchmarks, each with stimuli of its own:

    python recipes/evaluate.py --model_name_or_path facebook/dinov2-base outputs/dinov2-base-aligned
        --benchmarks things:user/things-judgments levels:levels/raw rsa:rdm48.mat
        --images user/things-images user/levels-images user/things48

Features that were made elsewhere, under a transform:

    python recipes/evaluate.py --features clip_things.npy --transform outputs/clip-teacher --benchmarks things:triplets

Writes results.json {model: {metric: {value, n, chance, ci95}}}, where the model `people` is the noise ceiling, the
same as a table in results.md, a figure a benchmark, and for several models agreement.csv and model_similarity.csv.
The embeddings stay in output_dir/embeddings, from where a later run takes them.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState

from hf_alignet.analysis import benchmark_figure, model_similarities
from hf_alignet.cli.arguments.evaluation import EvaluationArguments
from hf_alignet.cli.command import parse, run
from hf_alignet.errors import InputError
from hf_alignet.evaluation import agreement_table
from hf_alignet.evaluation.benchmarks import Benchmark, benchmark_choices, open_benchmarks
from hf_alignet.evaluation.stimulus_sets import embed_sets, model_names, open_model, open_stimulus_sets
from hf_alignet.hub.cards.measured_card import fetch_card, share_card, update_card
from hf_alignet.metric import Metric, results_table
from hf_alignet.storage import write_json

PEOPLE = "people"

logger = logging.getLogger("evaluate")


def carded_model(arguments: EvaluationArguments, models: dict[str, str | None]) -> str | None:
    """The name of the model whose card gets numbers, if one does."""
    if arguments.update_card is None:
        return None
    card = _place(arguments.update_card)
    for name, path in models.items():
        if path is None or _place(path) == card:
            return name
    raise InputError(f"--update_card {arguments.update_card!r} is none of the models that are evaluated")


def _place(model: str) -> str:
    path = Path(model).expanduser()
    return str(path.resolve()) if path.exists() else model


def write_comparisons(
    directory: Path,
    benchmarks: list[Benchmark],
    embeddings: dict[str, dict[str, np.ndarray]],
    arguments: EvaluationArguments,
) -> None:
    """How alike several models choose and represent, each pair in one row."""
    agreements, similarities = [], []
    for benchmark in benchmarks:
        choices = {
            model: benchmark_choices(benchmark, sets[benchmark.stimuli.name], arguments.similarity)
            for model, sets in embeddings.items()
        }
        agreements.append(agreement_table(choices, benchmark.labels))
    for stimuli in dict.fromkeys(benchmark.stimuli.name for benchmark in benchmarks):
        table = model_similarities({model: sets[stimuli] for model, sets in embeddings.items()})
        above = np.triu(np.ones(table.shape, bool), 1)
        pairs = table.where(above).rename_axis("model").reset_index().melt("model", var_name="other", value_name="cka")
        similarities.append(pairs.dropna().assign(stimuli=stimuli)[["stimuli", "model", "other", "cka"]])
    if any(len(table) for table in agreements):
        pd.concat(agreements).to_csv(directory / "agreement.csv", index=False)
    pd.concat(similarities).to_csv(directory / "model_similarity.csv", index=False)


def main() -> None:
    (arguments,) = parse([EvaluationArguments], description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    state = PartialState(cpu=not torch.accelerator.is_available())
    models = model_names(arguments)
    if PEOPLE in models:
        raise InputError(f"no model can be called {PEOPLE!r}: so results call the noise ceiling")
    carded = carded_model(arguments, models)
    sets = open_stimulus_sets(arguments)
    benchmarks = open_benchmarks(arguments, sets)
    if len(models) > 1:
        for path in models.values():
            open_model(path, arguments)  # what is wrong with one is said before another works for hours
    directory = Path(arguments.output_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to where results should go: {error}") from error
    card = fetch_card(str(arguments.update_card), directory / "card") if state.is_main_process and carded else None

    embeddings = {
        name: embed_sets(path, name, sets, arguments, directory / "embeddings") for name, path in models.items()
    }
    if not state.is_main_process:
        return
    results: dict[str, dict[str, Metric]] = {}
    notes = [note for benchmark in benchmarks for note in benchmark.notes]
    for model, of_sets in embeddings.items():
        results[model] = {}
        for benchmark in benchmarks:
            measured = benchmark.measure(of_sets[benchmark.stimuli.name])
            results[model] |= measured.metrics
            if measured.is_constant:
                notes.append(f"{model} finds all stimuli of {benchmark.name} equally similar: scored 0")
                logger.warning("%s", notes[-1])
    people = {name: metric for benchmark in benchmarks for name, metric in benchmark.people.items()}
    for benchmark in benchmarks:
        shown = {
            model: {name: metric for name, metric in metrics.items() if name.split("/")[0] == benchmark.name}
            for model, metrics in results.items()
        }
        benchmark_figure(directory / f"{benchmark.name}.png", shown, people)
    if len(models) > 1:
        write_comparisons(directory, benchmarks, embeddings, arguments)
    everyone = results | ({PEOPLE: people} if people else {})
    lines = [
        results_table(everyone),
        "",
        "Intervals are of 95 %.",
        *(["", *(f"- {note}" for note in notes)] if notes else []),
    ]
    (directory / "results.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(directory / "results.json", everyone)
    logger.info("\n%s\n\nThe results are in %s", "\n".join(lines), directory)
    if card is not None and carded is not None:
        sources = {b.name: task.source for b, task in zip(benchmarks, arguments.tasks, strict=True)}
        update_card(card, results[carded], sources)
        share_card(card, str(arguments.update_card))


if __name__ == "__main__":
    run(main)
