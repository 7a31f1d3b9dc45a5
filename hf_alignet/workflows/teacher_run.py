"""From choices and stimuli to a teacher in a directory: fitted, measured on choices held out, with a card."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from accelerate import PartialState
from datasets import Dataset, DatasetDict

from hf_alignet.analysis import calibration_figure, save_figure
from hf_alignet.encoder import open_encoder
from hf_alignet.encoder.pooling import PoolingChoice
from hf_alignet.errors import InputError
from hf_alignet.evaluation import with_changes
from hf_alignet.evaluation.human.teacher_predictions import (
    Predictions,
    base_temperature,
    draw_folds,
    predict_new_objects,
    predictors,
)
from hf_alignet.hub.transport.provenance import model_commit, versions
from hf_alignet.hub.transport.repository import make_repository, share_folder
from hf_alignet.images.opening import load_images
from hf_alignet.judgments import load_judgments, shared_triplets, split_by_triplet
from hf_alignet.judgments.own_table import TimeUnit
from hf_alignet.judgments.stimuli import Stimuli
from hf_alignet.judgments.things import ObjectOrder
from hf_alignet.metric import Metric, comparison_table
from hf_alignet.processes import this_process
from hf_alignet.ranges import Count, Positive, Range, Seed, Share, Whole, checked
from hf_alignet.sources import load_matrix, public_name, split_revision
from hf_alignet.storage import output_folder, write_json, write_text
from hf_alignet.teacher import FittedTeacher, fit_teacher, pair_counts
from hf_alignet.teacher.fitting import Method, check_method
from hf_alignet.teacher.planning import Agreement, learning_curve, real_study, simulated_study, summary

OF_VICE = ["judgments", "stimuli", "num_train_judgments", "command", "versions"]  # VICE knows of no model
HELD_OUT_SHARE = 0.1
BEYOND_NOISE = 2  # standard errors
SHARED = ["README.md", "config.json", "model.safetensors", "results.json", "selection.csv", "calibration.*"]

Results = dict[str, dict[str, Metric]]
logger = logging.getLogger(__name__)


@checked
def write_teacher(
    judgments: str | None = None,
    output_dir: str | Path = "outputs/teacher",
    *,
    images: str | None = None,
    features: str | None = None,
    model_name_or_path: str | None = None,
    pooling: PoolingChoice = "auto",
    trust_remote_code: bool = False,
    image_column: str | None = None,
    image_split: str = "train",
    object_names: str | None = None,
    object_order: ObjectOrder | None = None,
    columns: Mapping[str, str] | str | None = None,
    rt_unit: TimeUnit | None = None,
    max_missing: Share = 0.5,
    dataset_name: str | None = None,
    method: Method = "auto",
    regularization: Positive | None = None,
    vice: str | None = None,
    vice_settings: Mapping[str, Any] | None = None,
    concentration: Positive | None = None,
    local_images: str | None = None,
    local_features: str | None = None,
    object_folds: Literal[0] | Annotated[int, Range(2)] = 0,
    plan: bool = False,
    agreement: Agreement = 0.7,
    batch_size: Count = 64,
    num_workers: Whole | None = None,
    bf16: bool = False,
    seed: Seed = 42,
    push_to_hub: bool = False,
    hub_model_id: str | None = None,
    hub_private_repo: bool = False,
    command: str | None = None,
    progress: bool = True,
) -> Results:
    """Fits a teacher to the split `train` of judgments, and measures it on the other splits.

    It writes the transform, the fitted VICE (in vice/), results.json, a table of all tried regularizations, a
    calibration plot and a card. A run that was stopped continues where it was. Processes share the fits.

    Args:
        judgments: path or Hub id of the choices, in any form that `load_judgments` reads. Only a `plan` does without.
        output_dir: directory for the results.
        images: path or Hub id of the stimuli, pictures or, in a column `text`, texts. They need `model_name_or_path`.
        features: in place of images, the path of a `.npy` file with a matrix (n, p).
        model_name_or_path: path or Hub id of the model that embeds the images, or made the features.
        pooling: which output of the model is the embedding.
        trust_remote_code: allow code from the model's repository to run.
        image_column: column of the pictures. By default `image`, or else the only column of pictures.
        image_split: split of the images, or `all` to join all splits.
        object_names: text file with the name of one stimulus in each line, as the judgments name them.
        object_order: how files of THINGS number the objects. By default the name of the file tells it.
        columns: columns of a table of choices, such as `image_1=Left,image_2=Middle,image_3=Right,odd_one_out=Answer`.
            By default common names are known.
        rt_unit: unit of response times in a table. By default the name of their column or their median tells it.
        max_missing: largest share of trials of a table that may have no answer. They are skipped.
        dataset_name: name of the judgments in metrics. By default that of their file or repository.
        method: `auto` chooses among the next two, and the unchanged features, by held-out choices; with a setting of
            VICE it is the first. `uncertainty_distillation` (the paper's), `hard` choices, `global` and `glocal`
            (gLocal's), `context` (`auto`, and then weights of dimensions that depend on the three images in view), or
            `identity` (the paper's control).
        regularization: weight of the penalty. By default several are tried, and the best is chosen.
        vice: path or Hub id of a VICE to distil from. By default one is fitted.
        vice_settings: settings of the VICE that is fitted, such as `{"num_dimensions": 50}`.
        concentration: concentration of the Dirichlet prior around the probabilities of VICE, or, for `hard`, around
            an even guess.
        local_images: path or Hub id of other images. `glocal` keeps their neighbourhoods.
        local_features: in place of local_images, the path of a `.npy` file with a matrix (m, p).
        object_folds: number of folds of the objects. For each of them the teacher is also fitted without these
            objects, and measured on them. 0 does not do this.
        plan: fit no teacher, and tell instead how good the default one will be after how many choices, by simulated
            people who judge these stimuli, and, if `judgments` are given, by subsets of them. It writes plan.csv.
        agreement: of simulated people: the mean share who choose the most frequent answer; 0.7 in THINGS.
        batch_size: number of images in a forward pass.
        num_workers: number of processes that decode pictures. 0 decodes them in the main process. By default one for
            each other core if there is a GPU, and else 0.
        bf16: run the model in bfloat16: on a GPU with weights of that type, on a CPU under autocast.
        seed: seed of all random draws.
        push_to_hub: share the transform, and the fitted VICE, on the Hub.
        hub_model_id: Hub id `user/name` of the transform. VICE gets the id `user/name-vice`.
        hub_private_repo: make these repositories private.
        command: the command that made it, for the card.
        progress: show bars.

    Returns:
        Metrics of `base`, `aligned` and `vice` by `dataset/split/measure`; none for a plan. Other processes than the
        main one get none.

    Raises:
        InputError: settings or data that cannot work.
    """
    if judgments is None and not plan:
        raise InputError("give `judgments`: the choices of people, or `plan` without them")
    if vice is not None and object_folds:
        raise InputError("`object_folds` fits VICE anew in every fold: leave out `vice`")
    if images is not None and features is not None:
        raise InputError("give `images` with `model_name_or_path`, or `features`, not both")
    if images is not None and model_name_or_path is None:
        raise InputError("`images` need `model_name_or_path`: the model that embeds them")
    if features is not None and pooling != "auto":
        raise InputError("`pooling` is of a model that embeds images; `features` are taken as they are")
    if None not in (local_images, local_features):
        raise InputError("give either `local_images` or `local_features`")
    if local_images is not None and model_name_or_path is None:
        raise InputError("`local_images` need `model_name_or_path`: the model that the features are from")
    check_method(method, vice, vice_settings, concentration, local_images or local_features)
    if push_to_hub and hub_model_id is None:
        raise InputError("`push_to_hub` needs `hub_model_id=user/name`")
    state = this_process()
    progress = progress and state.is_main_process
    with output_folder(output_dir, "fit-teacher", is_main=state.is_main_process) as directory:
        unfinished = directory / "unfinished"
        shared = [hub_model_id] if push_to_hub and hub_model_id is not None else []
        if state.is_main_process:
            _make_room(directory)
            for repository in shared:
                make_repository(repository, hub_private_repo)
        state.wait_for_everyone()

        stimuli = Stimuli.open(images, features, object_names, image_column, image_split)
        table = {"columns": columns, "rt_unit": rt_unit, "max_missing": max_missing}
        splits = DatasetDict()
        if judgments is not None:
            splits = _load_splits(judgments, stimuli, object_order, table, seed)
        folds = draw_folds(splits, len(stimuli), object_folds, seed) if object_folds and not plan else None
        encoder = None
        options = {"progress": progress, "batch_size": batch_size, "num_workers": num_workers, "bf16": bf16}
        if images is not None or local_images is not None:
            encoder = open_encoder(str(model_name_or_path), pooling, trust_remote_code).eval()
        embedded = stimuli.embed(encoder, unfinished / "features", **options)
        if plan:
            _write_plan(directory, embedded, splits, agreement, seed, progress)
            return {}
        assert judgments is not None
        local = np.array(load_matrix(local_features, "local features"), np.float32) if local_features else None
        if local_images is not None:
            others = Stimuli("local images", load_images(local_images))
            local = others.embed(encoder, unfinished / "local_features", **options)

        def fit(features: np.ndarray, train: Dataset, checkpoint: Path) -> FittedTeacher:
            settings: dict[str, Any] = {"regularization": regularization, "vice": vice, "vice_settings": vice_settings}
            settings |= {"concentration": concentration, "local_features": local, "checkpoint": checkpoint}
            return fit_teacher(features, train, method, seed=seed, progress=progress, **settings)

        teacher = fit(embedded, splits["train"], unfinished)
        if state.is_main_process and shared and teacher.vice is not None and vice is None:
            shared.append(f"{hub_model_id}-vice")
            make_repository(shared[-1], hub_private_repo)
        of_new = None
        if folds is not None:
            of_new = predict_new_objects(
                embedded, splits, folds, lambda x, train, fold: fit(x, train, unfinished / f"fold{fold}")
            )
        if not state.is_main_process:
            return {}
        source = public_name(judgments)
        name = dataset_name or split_revision(source)[0].split("/")[-1].partition(".")[0]
        found = predictors(embedded, teacher, base_temperature(embedded, splits["train"]))
        measured = {f"{name}/{split}": Predictions.of(found, splits[split]) for split in splits if split != "train"}
        if of_new is not None:
            measured[f"{name}/new_objects"] = of_new
        provenance = {
            "base_model": public_name(model_name_or_path) if model_name_or_path else None,
            "base_model_commit": model_commit(str(model_name_or_path)) if images else None,
            "pooling": encoder.pooling if encoder is not None and images is not None else None,
            **({"input": "text"} if encoder is not None and encoder.noun == "text" else {}),
            "judgments": source,
            "stimuli": public_name(str(images or features)),
            "num_train_judgments": int(pair_counts(splits["train"])[1].sum()),
            "vice": public_name(vice) if vice else None,
            "vice_converged": teacher.vice.converged_ if teacher.vice is not None else None,
            "concentration": concentration or teacher.transform.info.get("concentration"),
            "command": command,
            "versions": versions(),
        }
        results = _save(directory, teacher, measured, provenance, shared)
        shutil.rmtree(unfinished)
        for repository, folder in zip(shared, (directory, directory / "vice"), strict=False):
            share_folder(folder, repository, SHARED)
        return results


def _make_room(directory: Path) -> None:
    """The folder `unfinished`, for what is not finished yet."""
    if (directory / "results.json").exists():
        shutil.rmtree(directory / "unfinished", ignore_errors=True)  # of a run that was stopped after its last step
        raise InputError(
            f"{directory} holds a finished teacher: remove it, give another `output_dir`, or share it by "
            f"hf-alignet publish transform {directory} user/name"
        )
    (directory / "unfinished").mkdir(exist_ok=True)


def _load_splits(
    judgments: str, stimuli: Stimuli, order: ObjectOrder | None, table: dict[str, Any], seed: int
) -> DatasetDict:
    """Judgments of the stimuli, with at least one split beside `train`."""
    splits = load_judgments(judgments, stimuli.names, order, len(stimuli), **table)
    if "train" not in splits:
        raise InputError(f"{judgments!r} has no split train; it has {', '.join(splits)}")
    if len(splits) == 1:
        logger.warning("no held-out split: measuring on %.0f %% of the triplets", 100 * HELD_OUT_SHARE)
        return split_by_triplet(splits["train"], HELD_OUT_SHARE, seed)
    for name in splits.keys() - {"train"}:
        if shared := shared_triplets(splits["train"], splits[name]):
            logger.warning("%d triplets of the split %s are also in train, so they are not held out", shared, name)
    return splits


def _save(
    directory: Path,
    teacher: FittedTeacher,
    measured: Mapping[str, Predictions],
    provenance: dict[str, Any],
    names: Sequence[str],
) -> Results:
    """Writes everything but a VICE that was given; `results.json` last, as the sign that all is complete.

    `measured` has predictions by the first part of their metrics' names. `names` are the Hub ids of the transform and
    of VICE, if they are shared.
    """
    results: Results = {}
    for prefix, predictions in measured.items():
        for predictor, metrics in predictions.measure(prefix).items():
            results.setdefault(predictor, {}).update(metrics)
    results["aligned"] = with_changes(results["base"], results["aligned"])
    table = comparison_table(results["base"], results["aligned"])
    if teacher.selection is not None:
        write_text(directory / "selection.csv", teacher.selection.to_csv(index=False))
    reliability = next(iter(measured.values())).reliability()
    write_text(directory / "calibration.csv", pd.concat(reliability, names=["predictor"]).droplevel(1).to_csv())
    save_figure(calibration_figure(reliability), directory / "calibration.png")
    result = teacher.result
    result.info.update(provenance)
    if warning := _warning(measured, result.info["method"]):
        logger.warning("%s", warning)
        result.info["warning"] = warning
    card = {"repo_id": names[0] if names else None, "table": table, "has_figure": True}
    result.save_pretrained(directory, model_card_kwargs=card)
    if teacher.vice is not None and provenance["vice"] is None:
        teacher.vice.info = {name: provenance[name] for name in OF_VICE}
        card = {"repo_id": names[1] if len(names) > 1 else None}
        teacher.vice.save_pretrained(directory / "vice", model_card_kwargs=card)
    write_json(directory / "results.json", {**results, "settings": result.info})
    logger.info("\n%s\n\nThe teacher is in %s", table, directory)
    return results


def _warning(measured: Mapping[str, Predictions], method: str) -> str | None:
    """What to tell where the transform is worse than the unchanged features beyond noise; None where it is not."""
    if method == "identity":
        return None
    found = [
        f"{prefix}: {measure} is worse by {worse:.4f} (standard error {error:.4f})"
        for prefix, predictions in measured.items()
        for measure, (worse, error) in predictions.shortfall().items()
        if worse > BEYOND_NOISE * error
    ]
    return (
        f"this teacher is worse than the unchanged features on held-out choices, {'; '.join(found)}" if found else None
    )


def _write_plan(
    directory: Path, features: np.ndarray, splits: DatasetDict, agreement: float, seed: int, progress: bool
) -> None:
    """Writes and tells how well the default teacher predicts choices, by their number. Every process must call it."""
    curves = {
        f"simulated, agreement {agreement:g}": learning_curve(
            features, lambda number, repeat: simulated_study(features, number, agreement, seed + repeat), progress
        )
    }
    if splits:
        held_out = splits[next(name for name in splits if name != "train")]
        curves["judgments"] = learning_curve(
            features, lambda number, repeat: real_study(splits["train"], held_out, seed + repeat), progress
        )
    if not PartialState().is_main_process:
        return
    write_text(directory / "plan.csv", pd.concat(curves, names=["source"]).droplevel(1).to_csv())
    for source, curve in curves.items():
        number = curve["study"].nunique()
        logger.info("\nBy %s (%d studies):\n%s", source, number, summary(curve).round(3).to_string(index=False))
    shutil.rmtree(directory / "unfinished")
