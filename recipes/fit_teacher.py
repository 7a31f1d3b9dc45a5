"""Fit a teacher: an affine transform of a model's features that predicts which of three images people find odd.

Your own raters' choices about your own pictures, by uncertainty distillation through VICE:

    python recipes/fit_teacher.py --judgments choices.csv --images user/stimuli
        --model_name_or_path google/siglip-so400m-patch14-384 --output_dir outputs/siglip-teacher

The choices of THINGS, and features that were made elsewhere:

    python recipes/fit_teacher.py --judgments triplets_large_final_correctednc_correctedorder.csv
        --features clip_things.npy --model_name_or_path openai/clip-vit-base-patch32

Writes the transform (AffineTransform.from_pretrained(output_dir)), the VICE that was fitted in vice/, results.json,
the table of the regularizations tried, a calibration plot and a card. A run that was stopped goes on where it was.
"""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import DatasetDict
from huggingface_hub import create_repo, upload_folder
from huggingface_hub.errors import HfHubHTTPError

from hf_alignet.analysis import calibration_figure
from hf_alignet.cli import parse, run
from hf_alignet.errors import InputError, RunError
from hf_alignet.evaluation import Metric, Predictions, base_temperature, comparison_table, predictors
from hf_alignet.files import write_json
from hf_alignet.hub import public_name
from hf_alignet.judgments import load_judgments, object_folds, objects_within, split_by_triplet
from hf_alignet.sources import split_revision
from hf_alignet.teacher import FittedTeacher, fit_teacher, pair_counts
from hf_alignet.teacher.arguments import StimulusArguments, TeacherArguments
from hf_alignet.teacher.stimuli import load_local_features, load_stimuli

HELD_OUT_SHARE = 0.1

logger = logging.getLogger("fit_teacher")


def load_splits(stimuli: StimulusArguments, names: list[str] | None, num_objects: int, seed: int) -> DatasetDict:
    """Judgments of those stimuli, with at least one split beside `train`."""
    splits = load_judgments(str(stimuli.judgments), names, stimuli.object_order, num_objects)
    if "train" not in splits:
        raise InputError(f"{stimuli.judgments!r} has no split train; it has {', '.join(splits)}")
    if len(splits) == 1:
        logger.warning("no held-out split: measuring on %.0f %% of the triplets", 100 * HELD_OUT_SHARE)
        return split_by_triplet(splits["train"], HELD_OUT_SHARE, seed)
    return splits


def predict_new_objects(
    features: np.ndarray,
    splits: DatasetDict,
    arguments: TeacherArguments,
    checkpoint: Path,
    local_features: np.ndarray | None,
) -> Predictions:
    """Predictions for objects that nothing was fitted to, VICE included: everything is fitted anew in each fold."""
    predictions = Predictions()
    folds = object_folds(len(features), arguments.object_folds, arguments.seed)
    for fold in range(arguments.object_folds):
        logger.info("fold %d of %d of the objects is left out", fold + 1, arguments.object_folds)
        is_old = folds != fold
        train = objects_within(splits["train"], is_old)
        teacher = fit_teacher(features[is_old], train, arguments, checkpoint / f"fold{fold}", local_features)
        teacher.vice = None  # it knows nothing of other objects
        found = predictors(features[~is_old], teacher, base_temperature(features[is_old], train))
        for judgments in splits.values():
            predictions.add(found, objects_within(judgments, ~is_old))
    return predictions


def save(
    directory: Path, teacher: FittedTeacher, measured: dict[str, Predictions], provenance: dict[str, Any]
) -> None:
    """Writes everything but a VICE that was given; `results.json` last, as the sign that all is there."""
    results: dict[str, dict[str, Metric]] = {}
    for prefix, predictions in measured.items():
        for predictor, metrics in predictions.measure(prefix).items():
            results.setdefault(predictor, {}).update(metrics)
    table = comparison_table(results["base"], results["aligned"])
    if teacher.selection is not None:
        teacher.selection.to_csv(directory / "selection.csv", index=False)
    reliability = next(iter(measured.values())).reliability()
    pd.concat(reliability, names=["predictor"]).droplevel(1).to_csv(directory / "calibration.csv")
    calibration_figure(directory / "calibration.png", reliability)
    teacher.transform.info.update(provenance)
    teacher.transform.save_pretrained(directory, model_card_kwargs={"table": table, "has_figure": True})
    if teacher.vice is not None and provenance["vice"] is None:
        teacher.vice.save_pretrained(directory / "vice", model_card_kwargs={"info": provenance})
    write_json(directory / "results.json", {**results, "settings": teacher.transform.info})
    logger.info("\n%s\n\nThe teacher is in %s", table, directory)


def share(directory: Path, teacher: FittedTeacher, arguments: TeacherArguments) -> None:
    """Uploads the transform with its results, and VICE to a repository beside it."""
    name, private = str(arguments.hub_model_id), arguments.hub_private_repo
    try:
        repo = create_repo(name, private=private, exist_ok=True)
        upload_folder(repo_id=repo.repo_id, folder_path=directory, ignore_patterns=["vice/*"])
        if teacher.vice is not None and arguments.vice is None:
            repo = create_repo(f"{name}-vice", private=private, exist_ok=True)
            upload_folder(repo_id=repo.repo_id, folder_path=directory / "vice")
    except (HfHubHTTPError, OSError) as error:
        raise RunError(f"{directory} is complete, but could not be shared as {name}: {error}") from error


def main() -> None:
    stimuli, arguments = parse([StimulusArguments, TeacherArguments], description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    directory = Path(arguments.output_dir)
    unfinished = directory / "unfinished"
    if (directory / "results.json").exists():
        raise InputError(f"{directory} holds a finished teacher: remove it, or give another --output_dir")

    features, names = load_stimuli(stimuli, arguments, unfinished / "features")
    local_features = load_local_features(stimuli, arguments, unfinished / "local_features")
    splits = load_splits(stimuli, names, len(features), arguments.seed)
    teacher = fit_teacher(features, splits["train"], arguments, unfinished, local_features)

    judged = public_name(str(stimuli.judgments))
    name = stimuli.dataset_name or split_revision(judged)[0].split("/")[-1].partition(".")[0]
    found = predictors(features, teacher, base_temperature(features, splits["train"]))
    measured = {f"{name}/{split}": Predictions.of(found, splits[split]) for split in splits if split != "train"}
    if arguments.object_folds:
        new_objects = predict_new_objects(features, splits, arguments, unfinished, local_features)
        measured[f"{name}/new_objects"] = new_objects
    provenance = {
        "base_model": public_name(stimuli.model_name_or_path) if stimuli.model_name_or_path else None,
        "judgments": judged,
        "stimuli": public_name(str(stimuli.images or stimuli.features)),
        "vice": public_name(arguments.vice) if arguments.vice else None,
        "concentration": arguments.concentration,
        "num_train_judgments": int(pair_counts(splits["train"])[1].sum()),
    }
    directory.mkdir(parents=True, exist_ok=True)
    save(directory, teacher, measured, provenance)
    shutil.rmtree(unfinished, ignore_errors=True)
    if arguments.push_to_hub:
        share(directory, teacher, arguments)


if __name__ == "__main__":
    run(main)
