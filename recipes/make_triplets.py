"""Make an AligNet of any images: triplets of them, labelled by a teacher that knows what people find similar.

    python recipes/make_triplets.py --images my-images --teacher facebook/dinov2-base --transform outputs/teacher
        --num_triplets 1000000 --output_dir outputs/triplets

The images are embedded and transformed, clustered by k-means, and triplets are drawn with two images of one cluster
and the third of another; see --sampling for others. Several processes share the embedding: accelerate launch.

The triplets that were released with the paper, matched to images by file name:

    python recipes/make_triplets.py --official alignet_train.npz alignet_valid.npz --images ILSVRC/imagenet-1k

Writes parquet shards of the splits train and validation, the clusters, triplets.json and a card. All of it opens with
load_dataset(output_dir, "triplets"), and `recipes/align.py --triplets output_dir` trains on it. A run that was stopped
goes on where it was.
"""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from datasets import Dataset

from hf_alignet.analysis import elbow_figure
from hf_alignet.cli.arguments.triplets import LabelingArguments, SamplingArguments
from hf_alignet.cli.command import command, parse, run
from hf_alignet.encoder import AffineTransform
from hf_alignet.encoder.model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.hub.cards.triplets_card import write_triplets_card
from hf_alignet.hub.transport.provenance import dataset_commit, model_commit, versions
from hf_alignet.hub.transport.repository import make_repository, share_folder
from hf_alignet.images.opening import load_images
from hf_alignet.images.reader import ImageReader
from hf_alignet.sources import load_matrix, public_name
from hf_alignet.storage import write_dataset, write_json
from hf_alignet.teacher import Teacher
from hf_alignet.triplets.making import (
    Plan,
    keep_settings,
    make_clusters,
    make_official_splits,
    make_splits,
    write_clusters,
)
from hf_alignet.triplets.triplet_dataset import INFO_FILE

SETTINGS = [LabelingArguments, SamplingArguments]
PARTS = ["clusters", "images", "elbow.csv", "elbow.png", "triplets"]
SHARDS = ["clusters/*", "images/*", "triplets/*"]
SHARED = ["README.md", INFO_FILE, "elbow.*", *SHARDS]

logger = logging.getLogger("make_triplets")


def open_teacher(labeling: LabelingArguments) -> Teacher:
    transform = AffineTransform.from_pretrained(labeling.transform) if labeling.transform is not None else None
    if labeling.features is not None:
        return Teacher(features=load_matrix(labeling.features, "features"), transform=transform)
    encoder = VisionEncoder.from_pretrained(str(labeling.teacher), labeling.pooling, labeling.trust_remote_code)
    return Teacher(encoder, transform=transform)


def readable_rows(labeling: LabelingArguments, teacher: Teacher, images: Dataset, progress: bool) -> np.ndarray:
    """Rows of the images that can be decoded; all of them, where one that cannot stops the run."""
    rows = np.arange(len(images))
    if teacher.encoder is None or labeling.on_bad_image == "error":
        return rows
    reader = ImageReader(images, teacher.encoder.preprocessor)
    bad = reader.prepare(rows, labeling.num_workers, progress, skip_bad=True)
    if bad:
        logger.warning("left out %d images that cannot be read; the first: %s", len(bad), next(iter(bad.values())))
    return np.setdiff1d(rows, list(bad))


def label(
    labeling: LabelingArguments, sampling: SamplingArguments, images: Dataset, unfinished: Path
) -> tuple[dict[str, int], dict[str, Any]] | None:
    """Triplets by split, and facts about them, by the main process; others only share the embedding."""
    teacher, progress = open_teacher(labeling), not sampling.disable_tqdm
    rows = readable_rows(labeling, teacher, images, progress)
    plan = Plan.of(sampling, images, rows)  # before embedding takes its time
    options = {"batch_size": labeling.batch_size, "num_workers": labeling.num_workers, "bf16": labeling.bf16}
    features = teacher.embed(images, unfinished / "features", rows=rows, progress=progress, **options)
    if not PartialState().is_main_process:
        return None
    embeddings = teacher.write_embeddings(features, unfinished / "embeddings.npy", labeling.dtype)
    clusters = make_clusters(sampling, embeddings, plan, unfinished)
    num_rows = make_splits(sampling, embeddings, plan, clusters, unfinished / "triplets")
    if clusters is not None:
        write_clusters(clusters, plan, len(images), unfinished / "clusters" / "train-00000-of-00001.parquet")
    names = ("sampling", "weight_equally", "min_margin", "max_margin", "min_entropy", "max_entropy", "max_per_image")
    return num_rows, {
        "teacher": public_name(str(labeling.teacher or labeling.features)),
        "teacher_commit": model_commit(labeling.teacher) if labeling.teacher is not None else None,
        "transform": public_name(labeling.transform) if labeling.transform is not None else None,
        "temperature": 1.0,
        **{name: getattr(sampling, name) for name in names},
        "num_clusters": len(clusters.centers) if clusters is not None else None,
        "num_merged_clusters": clusters.num_merged if clusters is not None else None,
        "hold_out": sampling.hold_out if "validation" in num_rows else None,
        "num_held_out_images": int(plan.is_held_out.sum()) if plan.is_held_out is not None else None,
        "num_skipped_images": len(images) - len(rows),
        "dtype": labeling.dtype,
        "seed": sampling.seed,
    }


def finish(directory: Path, sampling: SamplingArguments, num_rows: dict[str, int], info: dict[str, Any]) -> None:
    """Moves what was made to its place; the card last, as the sign that all is there."""
    unfinished = directory / "unfinished"
    if (unfinished / "elbow.csv").exists():
        elbow_figure(unfinished / "elbow.png", pd.read_csv(unfinished / "elbow.csv"), info["num_clusters"])
    for part in PARTS:
        if (unfinished / part).exists():
            (unfinished / part).replace(directory / part)
    write_json(directory / INFO_FILE, info | {"num_triplets": num_rows})
    write_triplets_card(directory, info, num_rows, sampling.hub_dataset_id if sampling.push_to_hub else None)
    shutil.rmtree(unfinished)
    made = ", ".join(f"{number} {split}" for split, number in num_rows.items())
    logger.info("%s triplets are in %s", made, directory)


def main() -> None:
    labeling, sampling = parse(SETTINGS, description=__doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    state = PartialState(cpu=not torch.accelerator.is_available())
    directory = Path(sampling.output_dir)
    unfinished, images = directory / "unfinished", load_images(str(labeling.images))
    if state.is_main_process:
        there = [part for part in PARTS if (directory / part).exists()]
        if (directory / "README.md").exists() or (there and not unfinished.exists()):
            raise InputError(f"{directory} holds triplets already: remove it, or give another --output_dir")
        settings = vars(labeling) | vars(sampling) | {"images_fingerprint": images._fingerprint}
        keep_settings(unfinished / "settings.json", settings)
        for part in there:  # of a run that was stopped while it finished
            (directory / part).replace(unfinished / part)
        if sampling.push_to_hub:
            make_repository(str(sampling.hub_dataset_id), sampling.hub_private_repo, "dataset")
    state.wait_for_everyone()

    if labeling.official:
        if not state.is_main_process:
            return
        split_rows = make_official_splits(labeling.official, images, unfinished / "triplets", labeling.strict)
        made = split_rows, {"official": ", ".join(Path(file).name for file in labeling.official)}
    else:
        made = label(labeling, sampling, images, unfinished)
    if made is None or not state.is_main_process:
        return
    if sampling.save_images:
        write_dataset(images, unfinished / "images", "train", not sampling.disable_tqdm)
    source = {
        "images": public_name(str(labeling.images)),
        "images_commit": dataset_commit(images),
        "num_images": len(images),
        "images_fingerprint": images._fingerprint,
    }
    provenance = {
        "command": command(
            "recipes/make_triplets.py", SETTINGS, launcher="accelerate launch" if state.num_processes > 1 else "python"
        ),
        "versions": versions(),
    }
    finish(directory, sampling, made[0], source | made[1] | provenance)
    if sampling.push_to_hub:
        share_folder(directory, str(sampling.hub_dataset_id), SHARED, "dataset", replaced=SHARDS)


if __name__ == "__main__":
    run(main)
