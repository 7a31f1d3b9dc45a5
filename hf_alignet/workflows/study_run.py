"""Many models, how human and how useful each is: one table that grows model by model, and what it tells.

The study of Sucholutsky & Griffiths (NeurIPS 2023, arXiv 2301.11990). What is measured of a model goes to its own
file at once, so that a run that was stopped goes on with the next model. Processes share the models, not the images.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from accelerate import PartialState

from hf_alignet import __version__
from hf_alignet.encoder import VisionEncoder
from hf_alignet.encoder.embedding import load_embeddings
from hf_alignet.encoder.pooling import PoolingChoice
from hf_alignet.encoder.pretrained import check_model
from hf_alignet.errors import InputError
from hf_alignet.evaluation.benchmark import Benchmark, Settings
from hf_alignet.evaluation.benchmarks import JUDGED, open_benchmarks, parse_task
from hf_alignet.evaluation.human.judged import JudgedBenchmark
from hf_alignet.images.picture_files import content_fingerprint
from hf_alignet.judgments.similarity_matrices import MatrixKind
from hf_alignet.judgments.stimuli import Stimuli
from hf_alignet.metric import is_whole
from hf_alignet.processes import alone, this_process
from hf_alignet.ranges import Count, Seed, Whole, checked
from hf_alignet.sources import split_revision
from hf_alignet.storage import output_folder, write_json, write_text
from hf_alignet.text_files import load_json
from hf_alignet.workflows.benchmark_stimuli import distinct_sets, embed_sets, open_stimuli
from hf_alignet.workflows.model_names import folder_of_name, listed, model_names
from hf_alignet.workflows.study_report import MODEL, NUMBERS, read_table, write_study

TABLE = "study.csv"
KINDS = ("human", "downstream")

logger = logging.getLogger(__name__)


@checked
def study(
    models: str | Sequence[str] = (),
    benchmarks: str | Sequence[str] = (),
    images: str | Sequence[str] = (),
    *,
    covariates: Mapping[str, Mapping[str, Any]] | None = None,
    results: str | None = None,
    accuracy: str | None = None,
    factors: Sequence[str] = (),
    image_column: str | None = None,
    image_split: str = "train",
    rsa_kind: MatrixKind | None = None,
    rsa_variable: str | None = None,
    label_column: str | None = None,
    breeds_hierarchy: str | None = None,
    output_dir: str | Path = "outputs/study",
    pooling: PoolingChoice = "auto",
    trust_remote_code: bool = False,
    batch_size: Count = 64,
    num_workers: Whole | None = None,
    bf16: bool = False,
    seed: Seed = 42,
    progress: bool = True,
) -> pd.DataFrame:
    """Measures many models on benchmarks of people and of usefulness, and tells how the two go together.

    Args:
        models: paths or Hub ids (optionally with `@revision`), or `.npy` files with one row for each stimulus that
            people judged.
        benchmarks: `[name=]kind:source` as for `evaluate`, some about people and some of labelled images. For the
            study `alignment:animals.csv` and `n_shot:user/cifar100` are made.
        images: dataset of the stimuli that people judged, or its path or Hub id; one for all judgments, or one for
            each.
        covariates: of each model, by its name, such as its family or size: further columns of the table.
        results: in place of models, the table of an earlier study, or another one with the columns `model`, `kind`
            (human or downstream), `metric` and `value`.
        accuracy: a covariate, or a metric, such as the accuracy on ImageNet, that partial correlations hold constant.
        factors: two covariates, such as model and method, for an analysis of variance with repeated measures over
            the downstream metrics.
        image_column: column of the pictures. By default `image`, or else the only column of pictures.
        image_split: split of the images, or `all` to join all splits.
        rsa_kind: what similarity matrices hold. By default the diagonal of a matrix tells it.
        rsa_variable: name of the array in `.mat` and `.npz` files that have several.
        label_column: column of the classes of labelled images. By default `label`, or else the only `ClassLabel`.
        breeds_hierarchy: folder of the files `class_hierarchy.txt` and `node_names.txt` of BREEDS.
        output_dir: directory for study.csv, the analysis, the figures, and the embeddings.
        pooling: which output of a model is the embedding.
        trust_remote_code: allow code from a model's repository to run.
        batch_size: number of images in a forward pass.
        num_workers: number of processes that decode pictures. 0 decodes them in the main process. By default one for
            each other core if there is a GPU, and else 0.
        bf16: run models in bfloat16: on a GPU with weights of that type, on a CPU under autocast.
        seed: seed of all random draws.
        progress: show bars.

    Returns:
        The table, a row a model and metric. On processes other than the main one it is empty.

    Raises:
        InputError: a model, a benchmark or the table cannot be opened, or the table is too small to tell anything.

    Example:
        >>> study(results="outputs/study/study.csv", accuracy="imagenet_top1")  # doctest: +SKIP
    """
    if (results is None) == (not listed(models)):
        raise InputError("give either `models` to measure, or `results`, the table of an earlier study")
    is_main = this_process().is_main_process
    if results is not None:
        if listed(benchmarks) or covariates:
            raise InputError("`results` are measured already: leave out `benchmarks` and `covariates`")
        table = read_table(results)
        if is_main:
            with output_folder(output_dir, "study") as directory:
                write_study(directory, table, accuracy, factors)
        return table
    names = model_names(listed(models), "`models` names")
    described = _covariates(names, covariates or {})
    tasks = [parse_task(text) for text in listed(benchmarks)]
    judged = [task for task in tasks if task.kind in JUDGED]
    if not tasks:
        raise InputError("give `benchmarks`, such as alignment:MATRIX and n_shot:IMAGES")
    first = [path for path in listed(models) if _is_features(path)][:1]  # tells how many stimuli there are
    features = [] if listed(images) else first
    stimuli = open_stimuli(listed(images), features, [], len(judged), (image_column, image_split)) if judged else []
    of_images = (image_column, label_column, breeds_hierarchy)
    settings = Settings("dot", None, rsa_kind, seed, rsa_variable, {}, *of_images)
    opened = open_benchmarks(tasks, stimuli, settings)
    for path in listed(models):
        if not _is_features(path):
            check_model(path, trust_remote_code)  # before another model works for hours
    measuring = _Measuring(opened, [settings, bf16], pooling, trust_remote_code)
    options = {"batch_size": batch_size, "num_workers": num_workers, "bf16": bf16, "progress": progress}
    with output_folder(output_dir, "study", is_main=is_main) as directory:
        state = PartialState()
        state.wait_for_everyone()  # the folder is there
        mine = list(zip(names, listed(models), strict=True))[state.process_index :: state.num_processes]
        with alone():
            for name, path in mine:
                measuring.measure(name, path, directory, options)
        state.wait_for_everyone()  # all models are measured
        if not is_main:
            return pd.DataFrame()
        rows = [row for name in names for row in load_json(_file(directory, name), "what was measured")["rows"]]
        table = pd.DataFrame(rows)
        for place, column in enumerate(described.columns, 1):  # after the name of the model
            table.insert(place, str(column), table[MODEL].map(described[column]))
        write_text(directory / TABLE, table.to_csv(index=False))
        write_study(directory, table, accuracy, factors)
    return table


def _covariates(names: Sequence[str], covariates: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each model that has covariates. Raises an InputError for one of a model that is not measured."""
    unknown = [name for name in covariates if name not in names]
    if unknown:
        raise InputError(
            f"`covariates` names {unknown[0]!r}, which is no name of a model; they are called {', '.join(names)}"
        )
    table = pd.DataFrame.from_dict({name: dict(found) for name, found in covariates.items()}, orient="index")
    taken = {MODEL, "kind", "metric", *NUMBERS} & set(table.columns)
    if taken:
        raise InputError(f"`covariates` has {min(taken)!r}, which is a column of the table: give it another name")
    return table


def _is_features(path: str) -> bool:
    return path.endswith(".npy")


def _file(directory: Path, name: str) -> Path:
    return directory / "models" / f"{folder_of_name(name)}.json"


class _Measuring:
    """Measures one model after another on the same benchmarks."""

    def __init__(self, benchmarks: Sequence[Benchmark], settings: Any, pooling: str, trust_remote_code: bool):
        self.benchmarks, self.pooling, self.trust_remote_code = benchmarks, pooling, trust_remote_code
        self.facts = {
            "version": __version__,
            "settings": repr(settings),
            "benchmarks": [
                [type(b).__name__, b.name, b.source, _state(b.source), [_fingerprint(s) for s in b.sets]]
                for b in benchmarks
            ],
        }

    def measure(self, name: str, path: str, directory: Path, options: Mapping[str, Any]) -> None:
        """Writes what is measured of a model, unless it was measured before on the same."""
        file = _file(directory, name)
        encoder = None
        if not _is_features(path):
            encoder = VisionEncoder.from_pretrained(path, self.pooling, self.trust_remote_code)
        facts = self.facts | {"model": encoder.describe() if encoder is not None else _state(path)}
        if file.exists() and load_json(file, "what was measured").get("of") == facts:
            logger.info("%s was measured before", name)
            return
        measurable = [b for b in self.benchmarks if encoder is not None or isinstance(b, JudgedBenchmark)]
        sets = distinct_sets(stimuli for benchmark in measurable for stimuli in benchmark.sets)
        if encoder is not None:
            embeddings = embed_sets(encoder, sets, None, directory / "embeddings" / folder_of_name(name), **options)
        else:
            embeddings = _features(path, sets)
        rows = [
            row
            for benchmark in measurable
            for row in _rows(name, benchmark, [embeddings[stimuli.name] for stimuli in benchmark.sets])
        ]
        write_json(file, {"of": facts, "rows": rows})
        logger.info("%s is measured", name)


def _rows(name: str, benchmark: Benchmark, embeddings: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """A row for each metric, but for parts of a variant."""
    kind = KINDS[0] if isinstance(benchmark, JudgedBenchmark) else KINDS[1]
    rows = []
    for metric, found in benchmark.measure(*embeddings).metrics.items():
        if is_whole(metric):
            low, high = found["ci95"] or (None, None)
            numbers = {"value": found["value"], "n": found["n"], "chance": found["chance"], "low": low, "high": high}
            rows.append({MODEL: name, "kind": kind, "metric": metric, **numbers})
    return rows


def _features(path: str, sets: Sequence[Stimuli]) -> dict[str, np.ndarray]:
    """The rows of a `.npy` file as the embeddings of the only set of stimuli."""
    if len(sets) != 1:
        raise InputError(
            f"{path} has features of one set of stimuli, and the benchmarks about people have {len(sets)}: measure "
            "features on benchmarks with the same `images`"
        )
    found = np.asarray(load_embeddings(path, "features", sets[0].images), np.float32)
    if len(found) != len(sets[0]):
        raise InputError(f"{path} has {len(found)} rows, but {sets[0].name} has {len(sets[0])} stimuli")
    return {sets[0].name: found}


def _state(source: str) -> list[int] | None:
    """Size and time of the last change of a file; None for anything else."""
    file = Path(split_revision(source)[0]).expanduser()
    return [file.stat().st_size, file.stat().st_mtime_ns] if file.is_file() else None


def _fingerprint(stimuli: Stimuli) -> str | None:
    return content_fingerprint(stimuli.images) if stimuli.images is not None else None
