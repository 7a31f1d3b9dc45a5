"""How human and how useful are models? Benchmarks of several models.

They give results as JSON and Markdown, figures, comparisons, and a card.
"""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from hf_alignet.encoder import AffineTransform, ContextTransform, Encoder, open_encoder, open_transform
from hf_alignet.encoder.pooling import PoolingChoice
from hf_alignet.encoder.pretrained import check_model
from hf_alignet.errors import InputError
from hf_alignet.evaluation.benchmark import Benchmark, Measured, Settings, Task
from hf_alignet.evaluation.benchmarks import JUDGED, open_benchmarks, parse_task
from hf_alignet.hub.cards import measured_card
from hf_alignet.judgments.own_table import TimeUnit
from hf_alignet.judgments.similarity_matrices import MatrixKind
from hf_alignet.judgments.things import ObjectOrder
from hf_alignet.metric import is_whole
from hf_alignet.processes import share_tasks, this_process
from hf_alignet.ranges import Count, Seed, Share, Whole, checked
from hf_alignet.similarity import SimilarityKind, TripletSimilarity
from hf_alignet.sources import public_name
from hf_alignet.storage import output_folder
from hf_alignet.workflows.benchmark_stimuli import distinct_sets, embed_sets, open_stimuli
from hf_alignet.workflows.evaluation_report import (
    PEOPLE,
    Results,
    compared_over_datasets,
    differences_to_first,
    write_comparisons,
    write_figures,
    write_results,
)
from hf_alignet.workflows.model_names import folder_of_name, listed, model_names

TRIPLETS = ("choices", "things", "levels")  # kinds of benchmarks that ask for similarities in triplets alone

logger = logging.getLogger(__name__)


@checked
def evaluate(
    models: str | Encoder | Sequence[str] | Mapping[str, str | Encoder] = (),
    benchmarks: str | Sequence[str] = (),
    images: str | Dataset | Sequence[str | Dataset] = (),
    *,
    features: str | np.ndarray | Sequence[str | np.ndarray] = (),
    object_names: str | Sequence[str] = (),
    image_column: str | None = None,
    image_split: str = "train",
    transform: str | AffineTransform | ContextTransform | None = None,
    similarity: SimilarityKind = "dot",
    pooling: PoolingChoice = "auto",
    trust_remote_code: bool = False,
    object_order: ObjectOrder | None = None,
    rsa_kind: MatrixKind | None = None,
    rsa_variable: str | None = None,
    label_column: str | None = None,
    breeds_hierarchy: str | None = None,
    columns: Mapping[str, str] | str | None = None,
    rt_unit: TimeUnit | None = None,
    max_missing: Share = 0.5,
    output_dir: str | Path | None = None,
    update_card: str | None = None,
    batch_size: Count = 64,
    num_workers: Whole | None = None,
    bf16: bool = False,
    seed: Seed = 42,
    progress: bool = True,
) -> Results:
    """Measures one or several models on benchmarks of human similarity and of usefulness.

    Args:
        models: path or Hub id (optionally with `@revision`) of one or several models; or an encoder; or a
            mapping from names in the results to models. With `features`, the name of the model that made them.
        benchmarks: one or several `[name=]kind:source`: `choices:choices.csv`, `levels:folder`, `rsa:rdm48.npy`,
            `alignment:` likewise; of labelled images `few_shot:user/cifar100`, `n_shot:`, `probe:`, `breeds:`,
            `corruption:`, `anomaly:`, `retrieval:`
            likewise, and `shift:user/photos->user/sketches`. `#name` after a dataset takes one of its splits.
        images: dataset of the stimuli that people judged (pictures, or texts in a column `text`), or its path or Hub
            id; one for all judgments, or one for each.
        features: in place of images, a matrix (n, p) or the path of its `.npy` file; one for all benchmarks, or one
            for each.
        object_names: text file with the name of one stimulus in each line; one for all benchmarks, or one for each.
        image_column: column of the pictures. By default `image`, or else the only column of pictures.
        image_split: split of the images, or `all` to join all splits.
        transform: `AffineTransform` of all embeddings, or its path or Hub id; or a `ContextTransform` of one model,
            for choices about triplets alone.
        similarity: similarity of two embeddings in a triplet. RSA always uses Pearson's correlation.
        pooling: which output of a model is the embedding.
        trust_remote_code: allow code from a model's repository to run.
        object_order: how files of THINGS number the objects. By default the name of the file tells it.
        rsa_kind: what the matrices hold. By default the diagonal of the matrix tells it.
        rsa_variable: name of the array in `.mat` and `.npz` files that have several.
        label_column: column of the classes of labelled images. By default `label`, or else the only `ClassLabel`.
        breeds_hierarchy: folder of the files `class_hierarchy.txt` and `node_names.txt` of BREEDS.
        columns: columns of a table of choices, such as `image_1=Left,image_2=Middle,image_3=Right,odd_one_out=Answer`.
            By default common names are known.
        rt_unit: unit of response times in a table. By default the name of their column or their median tells it.
        max_missing: largest share of trials of a table that may have no answer. They are skipped.
        output_dir: directory for results.json, results.md, figures, comparisons of models, and embeddings, which a
            later run uses again. None writes nothing.
        update_card: path or Hub id of an evaluated model. The numbers are added to its card, but for those of single
            corruptions.
        batch_size: number of images in a forward pass.
        num_workers: number of processes that decode pictures. 0 decodes them in the main process. By default one for
            each other core if there is a GPU, and else 0.
        bf16: run models in bfloat16: on a GPU with weights of that type, on a CPU under autocast.
        seed: seed of all random draws, such as bootstraps.
        progress: show bars.

    Returns:
        Metrics by model and by `dataset/variant/measure`. The model `people` is the noise ceiling, where people
        judged the same more than once. Processes share the measuring, and on others than the main one it is empty.

    Raises:
        InputError: a model, benchmark or stimulus cannot be opened, or they do not fit each other.

    Example:
        >>> evaluate("facebook/dinov2-small", "rsa:rdm48.npy", "my-images")["dinov2-small"]  # doctest: +SKIP
    """
    tasks = [parse_task(text) for text in ([benchmarks] if isinstance(benchmarks, str) else benchmarks)]
    if not tasks:
        raise InputError("give `benchmarks`, such as choices:JUDGMENTS, rsa:MATRIX or few_shot:IMAGES")
    if listed(features) and pooling != "auto":
        raise InputError("`pooling` is of a model that embeds images; `features` are taken as they are")
    named = _named(models, listed(features))
    carded = _carded_model(update_card, named, tasks, transform)
    judged = [task for task in tasks if task.kind in JUDGED]
    if listed(features) and len(judged) < len(tasks):
        raise InputError("`features` are of the stimuli of judgments; labelled images need a model that embeds them")
    stimuli = open_stimuli(
        listed(images), listed(features), listed(object_names), len(judged), (image_column, image_split)
    )
    table = {"columns": columns, "rt_unit": rt_unit, "max_missing": max_missing}
    of_images = (image_column, label_column, breeds_hierarchy)
    if isinstance(transform, str):
        transform = open_transform(transform)
    measure: SimilarityKind | TripletSimilarity = similarity
    if isinstance(transform, ContextTransform):
        _check_context(tasks, named, similarity)
        measure, transform = transform.similarities, None
    settings = Settings(measure, object_order, rsa_kind, seed, rsa_variable, table, *of_images)
    opened = open_benchmarks(tasks, stimuli, settings)
    sets = distinct_sets(stimuli for benchmark in opened for stimuli in benchmark.sets)
    for model in named.values():
        if isinstance(model, str):
            check_model(model, trust_remote_code)  # before another model works for hours
    is_main = this_process().is_main_process
    place: contextlib.AbstractContextManager[Path | None] = contextlib.nullcontext()
    if output_dir is not None:
        place = output_folder(output_dir, "evaluate", is_main=is_main)
    with place as directory:
        card = None
        if is_main and carded:
            card = measured_card.fetch_card(str(update_card), (directory or Path(".")) / "card")
        notes = [note for benchmark in opened for note in benchmark.notes]
        embeddings: dict[str, dict[str, np.ndarray]] = {}
        options = {"batch_size": batch_size, "num_workers": num_workers, "bf16": bf16, "progress": progress}
        for name, model in named.items():
            encoder = _open_model(model, pooling, trust_remote_code)
            folder = directory / "embeddings" / folder_of_name(name) if directory is not None else None
            embeddings[name] = embed_sets(encoder, sets, transform, folder, **options)
        measured = _measured(opened, embeddings)
        if not is_main:
            return {}
        for name, of_model in measured.items():
            for constant in (label for label, found in of_model.items() if found.is_constant):
                notes.append(f"{name} finds all stimuli of {constant} equally similar: scored 0")
                logger.warning("%s", notes[-1])
        results: Results = {
            name: {metric: value for found in of_model.values() for metric, value in found.metrics.items()}
            for name, of_model in measured.items()
        }
        differences = differences_to_first(results)
        notes += compared_over_datasets(results)
        if people := {name: metric for benchmark in opened for name, metric in benchmark.people.items()}:
            results[PEOPLE] = people
        if directory is not None:
            write_results(directory, results, differences, notes)
            write_figures(directory, opened, results, differences)
            if len(named) > 1:
                write_comparisons(directory, opened, measured, embeddings, differences)
        if card is not None and carded is not None:
            shown = {name: metric for name, metric in results[carded].items() if is_whole(name)}
            origins = {name: source for benchmark in opened for name, source in benchmark.origins.items()}
            measured_card.update_card(card, shown, origins)
            measured_card.share_card(card, str(update_card))
        return results


def _measured(
    benchmarks: Sequence[Benchmark], embeddings: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, dict[str, Measured]]:
    """What each benchmark finds of each model, by their names; the processes share them."""
    tasks = {
        (name, each.name): partial(each.measure, *(of_model[stimuli.name] for stimuli in each.sets))
        for name, of_model in embeddings.items()
        for each in benchmarks
    }
    found = dict(zip(tasks, share_tasks(list(tasks.values())), strict=True))
    return {name: {each.name: found[name, each.name] for each in benchmarks} for name in embeddings}


def _named(models: Any, features: list[Any]) -> dict[str, str | Encoder | None]:
    """By the name that results give it: the path, Hub id or encoder of each model; None for features.

    A local model has the name of its folder, or, where two folders have the same name, the path that was given.
    """
    if isinstance(models, Mapping):
        named = dict(models)
    elif isinstance(models, Encoder):
        named = {public_name(str(models.backbone.name_or_path)) or "model": models}
    else:
        given = [name for name in listed(models) if name]
        named = dict(zip(model_names(given, "`models` names"), given, strict=True))
    if features:
        if len(named) > 1:
            raise InputError("`features` are of one model: give one name in `models`, or none")
        stem = Path(features[0]).stem if isinstance(features[0], str) else "features"
        named = dict.fromkeys(named or [stem])
    if not named:
        raise InputError("give `models`, the models to evaluate, or `features` of one")
    if PEOPLE in named:
        raise InputError(f"no model can have the name {PEOPLE!r}: results use it for the noise ceiling")
    return named


def _carded_model(card: str | None, models: Mapping[str, Any], tasks: Sequence[Task], transform: object) -> str | None:
    """The name of the model whose card gets numbers; None if no card does."""
    if card is None:
        return None
    if transform is not None:
        raise InputError("`update_card` is for the numbers of a model as it is shared: leave out `transform`")
    unnamed = next((task for task in tasks if task.kind == "choices" and task.name is None), None)
    if unnamed is not None:
        raise InputError(
            f"the card needs a name for the choices of {unnamed.source!r}: `benchmarks=NAME=choices:{unnamed.source}`"
        )
    for name, model in models.items():
        if isinstance(model, str) and _place(model) == _place(card):
            return name
    raise InputError(f"`update_card={card}` is none of the models that are evaluated")


def _check_context(tasks: Sequence[Task], models: Mapping[str, Any], similarity: str) -> None:
    """Refuses what needs an embedding of each image, which a similarity in context does not give."""
    unfit = [f"{task.kind}:{task.source}" for task in tasks if task.kind not in TRIPLETS]
    if unfit:
        raise InputError(
            f"`benchmarks` has {unfit[0]}, which needs an embedding of each image; the `transform` depends on all "
            f"three images of a triplet, and is for {', '.join(TRIPLETS)}"
        )
    if len(models) > 1:
        raise InputError("a `transform` that depends on the images in view is of one model: give one in `models`")
    if similarity != "dot":
        raise InputError(f"`similarity={similarity}` cannot be with a `transform` that depends on the images in view")


def _place(model: str) -> str:
    path = Path(model).expanduser()
    return str(path.resolve()) if path.exists() else model


def _open_model(model: str | Encoder | None, pooling: str, trust_remote_code: bool) -> Encoder | None:
    return open_encoder(model, pooling, trust_remote_code) if isinstance(model, str) else model
