"""From a teacher's embeddings of images to triplets on disk: who is held out, the clusters, the shards."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset

from hf_alignet.cli.arguments.triplets import SamplingArguments
from hf_alignet.errors import InputError
from hf_alignet.judgments.index_files import split_of
from hf_alignet.storage import whole_file, write_json, write_table
from hf_alignet.triplets.clusters import Clusters, default_num_clusters, elbow, elbow_curve, fit_clusters
from hf_alignet.triplets.official import read_official
from hf_alignet.triplets.partition import class_numbers, hold_out_classes, hold_out_images, read_labels
from hf_alignet.triplets.sampling import TripletSampler
from hf_alignet.triplets.shards import ROWS_PER_SHARD, TripletSource, shard_files, write_shard, write_shards

WITHOUT_EFFECT = {
    *("output_dir", "batch_size", "num_workers", "disable_tqdm", "save_images"),
    *("push_to_hub", "hub_dataset_id", "hub_private_repo", "i_have_the_right_to_share_images"),
}  # settings that a run may go on without
TRIPLETS, NUMBERS = "triplets", {"num_triplets", "num_validation_triplets"}

logger = logging.getLogger(__name__)


@dataclass
class Plan:
    """What is drawn from: who takes part, and who is held out.

    Attributes:
        rows: (m,) images that take part.
        labels: (m,) their classes, where they matter.
        is_held_out: (m,) whether each is for validation; None if nothing is held out.
    """

    rows: np.ndarray
    labels: np.ndarray | None
    is_held_out: np.ndarray | None

    @classmethod
    def of(cls, arguments: SamplingArguments, images: Dataset, rows: np.ndarray) -> "Plan":
        """Draws who is held out.

        Args:
            arguments: the settings.
            images: the image dataset.
            rows: (m,) images that can be read.

        Raises:
            InputError: classes are missing or unknown, or all images or none would be held out.
        """
        holds_classes = arguments.hold_out == "classes" and arguments.num_validation_triplets > 0
        labels = is_held_out = None
        if "class" in arguments.sampling or holds_classes:
            labels = read_labels(images)
        if holds_classes:
            assert labels is not None
            classes = class_numbers(images, labels, arguments.held_out_classes)
            is_held_out = hold_out_classes(labels[rows], arguments.held_out_share, arguments.seed, classes)
        elif arguments.num_validation_triplets and arguments.hold_out == "images":
            is_held_out = hold_out_images(len(rows), arguments.held_out_share, arguments.seed)
        if is_held_out is not None and not 0 < is_held_out.sum() < len(rows):
            raise InputError(
                f"{is_held_out.sum()} of {len(rows)} images would be held out; set --held_out_share or "
                "--held_out_classes otherwise"
            )
        return cls(rows, labels[rows] if labels is not None else None, is_held_out)

    def groups(self, clusters: Clusters | None) -> np.ndarray:
        """(m,) cluster or class of each image; negative for one that has no class where classes matter."""
        if clusters is None:
            return np.zeros(len(self.rows), np.int64) if self.labels is None else self.labels
        # Without a class it may be of one that is held out
        return clusters.assignments if self.labels is None else np.where(self.labels < 0, -1, clusters.assignments)


def make_clusters(
    arguments: SamplingArguments, embeddings: np.ndarray, plan: Plan, directory: Path
) -> Clusters | None:
    """Clusters for the sampling, if it has any, learned from images that are not held out; kept in a directory.

    Args:
        arguments: the settings.
        embeddings: (m, p) the teacher's.
        plan: whom they are of.
        directory: for `clusters.npz` and, with the elbow criterion, `elbow.csv`; what is there is taken.
    """
    if arguments.sampling != "cluster_boundary":
        return None
    file = directory / "clusters.npz"
    if not file.exists():
        learned = None if plan.is_held_out is None else np.flatnonzero(~plan.is_held_out)
        progress = not arguments.disable_tqdm
        number = arguments.num_clusters or default_num_clusters(len(embeddings) if learned is None else len(learned))
        if arguments.elbow:
            curve = elbow_curve(embeddings, arguments.seed, learned, progress)
            with whole_file(directory / "elbow.csv") as temporary:
                curve.to_csv(temporary, index=False)
            number = elbow(curve)
            logger.info("the elbow is at %d clusters", number)
        clusters = fit_clusters(embeddings, number, arguments.seed, learned, progress)
        with whole_file(file) as temporary, open(temporary, "wb") as opened:
            np.savez(opened, assignments=clusters.assignments, centers=clusters.centers, merged=clusters.num_merged)
    with np.load(file, allow_pickle=False) as arrays:
        return Clusters(arrays["assignments"], arrays["centers"], int(arrays["merged"]))


def make_splits(
    arguments: SamplingArguments, embeddings: np.ndarray, plan: Plan, clusters: Clusters | None, directory: Path
) -> dict[str, int]:
    """Writes the shards of `train` and `validation`.

    Returns:
        Triplets by split.

    Raises:
        InputError: there are not so many triplets.
    """
    groups = plan.groups(clusters)
    splits = {"train": arguments.num_triplets, "validation": arguments.num_validation_triplets}
    splits = {split: number for split, number in splits.items() if number}
    sources = {}
    for split in splits:
        theirs = groups
        if plan.is_held_out is not None:
            theirs = np.where(plan.is_held_out == (split == "validation"), groups, -1)
        try:
            sampler = TripletSampler(arguments.sampling, theirs, arguments.weight_equally, arguments.seed)
            sources[split] = TripletSource(sampler, embeddings, plan.rows, arguments.bounds, arguments.max_per_image)
            # Where nothing is held out, validation goes on in the order where training ends
            follows = plan.is_held_out is None and split == "validation"
            sources[split].check(splits[split], splits["train"] if follows else 0)
        except InputError as error:
            raise InputError(f"the split {split}: {error}") from error
    place = 0
    for split, number in splits.items():
        place = 0 if plan.is_held_out is not None else place
        place = write_shards(directory, split, sources[split], number, place, not arguments.disable_tqdm)
    return splits


def make_official_splits(files: Sequence[str], images: Dataset, directory: Path, strict: bool) -> dict[str, int]:
    """Writes the triplets of released files as shards; the name of a file tells its split.

    Returns:
        Triplets by split.

    Raises:
        InputError: a file cannot be used, or its name tells no split, or that of another file.
    """
    splits: dict[str, int] = {}
    for file in files:
        split = split_of(file)
        if split is None or split in splits:
            raise InputError(
                f"the name of {file} must tell its split, train or valid, and no other file may have it; rename it"
            )
        triplets = read_official(file, images, strict)
        splits[split] = len(triplets)
        for index, target in enumerate(shard_files(directory, split, len(triplets))):
            part = triplets.with_format("arrow")[index * ROWS_PER_SHARD : (index + 1) * ROWS_PER_SHARD]
            write_shard(part.cast(triplets.features.arrow_schema), target)
    return splits


def write_clusters(clusters: Clusters, plan: Plan, num_images: int, file: Path) -> None:
    """The cluster of every image of the dataset, -1 for those that take no part, as a parquet file."""
    column = np.full(num_images, -1, np.int32)
    column[plan.rows] = clusters.assignments
    write_table(pa.table({"cluster": column}), file)


def keep_settings(file: Path, settings: dict) -> None:
    """Notes the settings of a run that may be stopped, and refuses to go on with others that change what is made.

    Raises:
        InputError: names the settings that differ.
    """
    settings = {name: value for name, value in settings.items() if name not in WITHOUT_EFFECT}
    made = {path.name for path in file.parent.iterdir()} - {file.name} if file.exists() else set()
    if made:
        found = json.loads(file.read_text(encoding="utf-8"))
        different = {key for key in settings | found if settings.get(key) != found.get(key)}
        if TRIPLETS not in made:  # the embeddings, which take hours, are the same whatever their number
            different -= NUMBERS
        if different:
            raise InputError(
                f"{file.parent.parent} has an unfinished run with other settings ({', '.join(sorted(different))}); "
                "give another --output_dir, or delete it"
            )
    write_json(file, settings)
