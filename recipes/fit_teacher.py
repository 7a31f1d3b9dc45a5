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
from datasets import Dataset, DatasetDict

from hf_alignet.analysis import calibration_figure
from hf_alignet.cli.arguments.teacher import StimulusArguments, TeacherArguments
from hf_alignet.cli.command import command, parse, run
from hf_alignet.errors import InputError
from hf_alignet.evaluation import Predictions, base_temperature, predictors
from hf_alignet.evaluation.human.teacher_predictions import draw_folds, predict_new_objects
from hf_alignet.hub.transport.provenance import model_commit, versions
from hf_alignet.hub.transport.repository import make_repository, share_folder
from hf_alignet.judgments import load_judgments, shared_triplets, split_by_triplet
from hf_alignet.metric import Metric, comparison_table
from hf_alignet.sources import public_name, split_revision
from hf_alignet.storage import write_json
from hf_alignet.teacher import FittedTeacher, fit_teacher, pair_counts
from hf_alignet.teacher.stimuli import Stimuli, load_local_features

SETTINGS = [StimulusArguments, TeacherArguments]
OF_VICE = ["judgments", "stimuli", "num_train_judgments", "command", "versions"]  # it knows of no model
HELD_OUT_SHARE = 0.1
SHARED = ["README.md", "config.json", "model.safetensors", "results.json", "selection.csv", "calibration.*"]

logger = logging.getLogger("fit_teacher")


def load_splits(stimuli: StimulusArguments, judged: Stimuli, seed: int) -> DatasetDict:
    """Judgments of those stimuli, with at least one split beside `train`."""
    splits = load_judgments(str(stimuli.judgments), judged.names, stimuli.object_order, len(judged))
    if "train" not in splits:
        raise InputError(f"{stimuli.judgments!r} has no split train; it has {', '.join(splits)}")
    if len(splits) == 1:
        logger.warning("no held-out split: measuring on %.0f %% of the triplets", 100 * HELD_OUT_SHARE)
        return split_by_triplet(splits["train"], HELD_OUT_SHARE, seed)
    for name in splits.keys() - {"train"}:
        if shared := shared_triplets(splits["train"], splits[name]):
            logger.warning("%d triplets of the split %s are also in train, so they are not held out", shared, name)
    return splits


def save(
    directory: Path,
    teacher: FittedTeacher,
    measured: dict[str, Predictions],
    provenance: dict[str, Any],
    names: list[str],
) -> None:
    """Writes everything but a VICE that was given; `results.json` last, as the sign that all is there.

    Args:
        directory: where.
        teacher: what was fitted.
        measured: predictions by prefix of the names of their metrics.
        provenance: facts of where it comes from, for the card.
        names: under which the transform, and VICE, will be found on the Hub, if they will.
    """
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
    card = {"repo_id": names[0] if names else None, "table": table, "has_figure": True}
    teacher.transform.save_pretrained(directory, model_card_kwargs=card)
    if teacher.vice is not None and provenance["vice"] is None:
        teacher.vice.info = {name: provenance[name] for name in OF_VICE}
        card = {"repo_id": names[1] if names else None}
        teacher.vice.save_pretrained(directory / "vice", model_card_kwargs=card)
    write_json(directory / "results.json", {**results, "settings": teacher.transform.info})
    logger.info("\n%s\n\nThe teacher is in %s", table, directory)


def repositories(arguments: TeacherArguments) -> list[str]:
    """Where the transform goes, and the VICE if one is fitted."""
    name = str(arguments.hub_model_id)
    has_vice = arguments.method == "uncertainty_distillation" and arguments.vice is None
    return [name, f"{name}-vice"] if has_vice else [name]


def main() -> None:
    stimuli, arguments = parse(SETTINGS, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    directory = Path(arguments.output_dir)
    unfinished = directory / "unfinished"
    if (directory / "results.json").exists():
        raise InputError(
            f"{directory} holds a finished teacher: remove it, give another --output_dir, or share it by `python "
            f"recipes/publish.py transform {directory} user/name`"
        )
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to where the teacher should go: {error}") from error
    shared = repositories(arguments) if arguments.push_to_hub else []
    for repository in shared:
        make_repository(repository, arguments.hub_private_repo)

    judged = Stimuli.open(stimuli)
    splits = load_splits(stimuli, judged, arguments.seed)
    number = arguments.object_folds
    folds = draw_folds(splits, len(judged), number, arguments.seed) if number else None
    features = judged.embed(stimuli, arguments, unfinished / "features")
    local_features = load_local_features(stimuli, arguments, unfinished / "local_features")
    teacher = fit_teacher(features, splits["train"], arguments, unfinished, local_features)

    source = public_name(str(stimuli.judgments))
    name = stimuli.dataset_name or split_revision(source)[0].split("/")[-1].partition(".")[0]
    found = predictors(features, teacher, base_temperature(features, splits["train"]))
    measured = {f"{name}/{split}": Predictions.of(found, splits[split]) for split in splits if split != "train"}
    if folds is not None:

        def fit(features: np.ndarray, judgments: Dataset, fold: int) -> FittedTeacher:
            return fit_teacher(features, judgments, arguments, unfinished / f"fold{fold}", local_features)

        measured[f"{name}/new_objects"] = predict_new_objects(features, splits, folds, fit)
    provenance = {
        "base_model": public_name(stimuli.model_name_or_path) if stimuli.model_name_or_path else None,
        "base_model_commit": model_commit(str(stimuli.model_name_or_path)) if stimuli.images else None,
        "pooling": judged.pooling,
        "judgments": source,
        "stimuli": public_name(str(stimuli.images or stimuli.features)),
        "num_train_judgments": int(pair_counts(splits["train"])[1].sum()),
        "vice": public_name(arguments.vice) if arguments.vice else None,
        "vice_converged": teacher.vice.converged_ if teacher.vice is not None else None,
        "concentration": arguments.concentration,
        "command": command("recipes/fit_teacher.py", SETTINGS),
        "versions": versions(),
    }
    save(directory, teacher, measured, provenance, shared)
    shutil.rmtree(unfinished)
    for repository, folder in zip(shared, (directory, directory / "vice"), strict=False):
        share_folder(folder, repository, SHARED)


if __name__ == "__main__":
    run(main)
