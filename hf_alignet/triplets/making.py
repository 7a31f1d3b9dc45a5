"""Makes triplets on disk from the teacher's embeddings: held-out images, clusters, shards."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.judgments.index_files import split_of
from hf_alignet.judgments.rows import ODD
from hf_alignet.judgments.splits import random_share
from hf_alignet.processes import this_process
from hf_alignet.ranges import Count, ProperShare, Range, Seed, Share, Whole, check_fields
from hf_alignet.similarity import NO_CHOICE
from hf_alignet.storage import whole_file, write_json, write_table, write_text
from hf_alignet.text_files import load_json
from hf_alignet.triplets.clusters import (
    Clusters,
    check_enough_to_cluster,
    default_num_clusters,
    elbow,
    elbow_curve,
    fit_clusters,
)
from hf_alignet.triplets.filters import Entropy, LabelBounds
from hf_alignet.triplets.official import read_official
from hf_alignet.triplets.partition import class_numbers, hold_out_classes, read_labels
from hf_alignet.triplets.sampling import Sampling, TripletSampler
from hf_alignet.triplets.shards import (
    ROWS_PER_SHARD,
    TooFewTriplets,
    TripletSource,
    shard_files,
    write_shard,
    write_shards,
)

TRIPLETS = "triplets"
# Settings of the triplets alone: the embeddings, which take hours, and the clusters do not depend on them
LATE = {"num_triplets", "num_validation_triplets", "max_per_image"}
LATE |= {"min_margin", "max_margin", "min_entropy", "max_entropy"}
HoldOut = Literal["images", "classes", "nothing"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TripletDesign:
    """The kind and number of triplets.

    Attributes:
        sampling: `cluster_boundary`: two images of one cluster and one of another (as in the paper). `class_boundary`,
            `within_class` and `between_class` use the column `label`. `random`: any three images.
        num_triplets: number of triplets in the split `train`, all different.
        num_validation_triplets: number of triplets in the split `validation`. 0 makes no such split.
        num_clusters: number of clusters of k-means. None means 500, or fewer for a mean size of 20 images or more.
        elbow: select the number of clusters at the elbow of ten fits.
        weight_equally: each cluster or class gives equally many pairs. Otherwise all triplets have the same chance.
        hold_out: only the validation uses some `images`, or all images of some `classes`. With `nothing`, it uses
            the same images in other triplets.
        held_out_share: share of the images or classes to hold out.
        held_out_classes: names or numbers of the classes to hold out, instead of a share.
        min_margin: least difference of the two highest choice probabilities, in [0, 1].
        max_margin: greatest difference of the two highest choice probabilities.
        min_entropy: least entropy of the choice probabilities in nats, up to ln 3 = 1.0986.
        max_entropy: greatest entropy of the choice probabilities.
        max_per_image: greatest number of triplets of a split with the same image. None means no limit.
        seed: seed of the random draws.

    Raises:
        InputError: a value is out of range, or two values exclude each other.
    """

    sampling: Sampling = "cluster_boundary"
    num_triplets: Count = 1_000_000
    num_validation_triplets: Whole = 10_000
    num_clusters: Annotated[int, Range(2)] | None = None
    elbow: bool = False
    weight_equally: bool = False
    hold_out: HoldOut = "images"
    held_out_share: ProperShare = 0.1
    held_out_classes: Sequence[str] = ()
    min_margin: Share | None = None
    max_margin: Share | None = None
    min_entropy: Entropy | None = None
    max_entropy: Entropy | None = None
    max_per_image: Count | None = None
    seed: Seed = 42

    @property
    def bounds(self) -> LabelBounds:
        return LabelBounds(self.min_margin, self.max_margin, self.min_entropy, self.max_entropy)

    @property
    def shares_labelling(self) -> bool:
        """Whether processes share it: each triplet is taken, so that the place of each shard in the order is known."""
        return self.bounds == LabelBounds() and self.max_per_image is None

    @property
    def has_clusters(self) -> bool:
        return self.sampling == "cluster_boundary"

    def __post_init__(self) -> None:
        check_fields(self)
        self.bounds  # noqa: B018 - checks that none is above the other
        if self.held_out_classes and (self.hold_out != "classes" or not self.num_validation_triplets):
            names = ",".join(self.held_out_classes)
            raise InputError(
                f"`held_out_classes={names}` needs `hold_out=classes` and validation triplets, got "
                f"`hold_out={self.hold_out}` and `num_validation_triplets={self.num_validation_triplets}`"
            )
        if (self.elbow or self.num_clusters is not None) and not self.has_clusters:
            raise InputError(f"`sampling={self.sampling}` has no clusters: leave out `num_clusters` and `elbow`")
        if self.elbow and self.num_clusters is not None:
            raise InputError(f"give either `num_clusters={self.num_clusters}`, or `elbow=True` to select it")


@dataclass
class Plan:
    """The images to use, and which of them are held out."""

    rows: np.ndarray  # (m,) rows of the images
    labels: np.ndarray | None  # (m,) their classes, or None if the design needs no classes
    is_held_out: np.ndarray | None  # (m,) whether each is for validation, or None if nothing is held out

    @classmethod
    def of(cls, design: TripletDesign, images: Dataset, rows: np.ndarray) -> "Plan":
        """Selects the held-out images among the `rows` (m,) of the image dataset.

        Raises an InputError if images are too few, classes are missing or unknown, or all images or none would be
        held out.
        """
        if len(rows) < 3:
            raise InputError(f"a triplet needs three images, and there are {len(rows)}")
        hold_out = design.hold_out if design.num_validation_triplets else "nothing"
        labels = is_held_out = None
        if "class" in design.sampling or hold_out == "classes":
            labels = read_labels(images)
        if labels is not None and hold_out == "classes":
            classes = class_numbers(images, labels, design.held_out_classes)
            is_held_out = hold_out_classes(labels[rows], design.held_out_share, design.seed, classes)
        elif hold_out == "images":
            # A validation triplet needs three images; of few images it gets at most half
            share = max(design.held_out_share, min(3, len(rows) // 2) / max(len(rows), 1))
            is_held_out = random_share(len(rows), share, design.seed)
        if is_held_out is not None and not 0 < is_held_out.sum() < len(rows):
            shares = f"{is_held_out.sum()} of {len(rows)} images"
            what = f"held_out_classes={','.join(design.held_out_classes)}"
            what = what if design.held_out_classes else f"held_out_share={design.held_out_share}"
            raise InputError(f"{shares} would be held out by `{what}`: change it")
        return cls(rows, labels[rows] if labels is not None else None, is_held_out)

    def members(self, split: str) -> np.ndarray:
        """(m,) whether each image may be in triplets of a split."""
        if self.is_held_out is None:
            return np.ones(len(self.rows), bool)
        return self.is_held_out == (split == "validation")

    def groups(self, clusters: Clusters | None) -> np.ndarray:
        """The cluster or class of each image, (m,). Negative means that the image has no class and is not used."""
        if clusters is None:
            return np.zeros(len(self.rows), np.int64) if self.labels is None else self.labels
        # An image without a class may belong to a class that is held out
        return clusters.assignments if self.labels is None else np.where(self.labels < 0, -1, clusters.assignments)


def clip_design(design: TripletDesign, plan: Plan, groups: np.ndarray | None = None) -> TripletDesign:
    """The design with numbers that the images allow. Logs each number that gets lower.

    Args:
        design: what was asked for.
        plan: of these images.
        groups: (m,) from `Plan.groups`; None before there are clusters, of which only the greatest number is known
            then.

    Raises:
        InputError: the images allow no triplets for training; or none for validation, which is known at once if the
            groups are classes.
    """
    found: dict[str, int] = {}
    if design.has_clusters and groups is None:
        learned = int(plan.members("train").sum())
        check_enough_to_cluster(learned, design.elbow)
        if design.num_clusters is not None:
            found["num_clusters"] = min(design.num_clusters, learned // 2)
    total = _num_triplets(design, plan, groups, "train")
    most = {"num_triplets": total, "num_validation_triplets": 0}
    if design.num_validation_triplets:
        try:
            most["num_validation_triplets"] = _num_triplets(design, plan, groups, "validation")
        except InputError as error:
            if not design.has_clusters:
                raise
            logger.warning("the split validation gets no triplets: %s", error)  # nobody could know before
    if design.max_per_image is not None:
        limits = [int(plan.members(split).sum()) * design.max_per_image // 3 for split in ("train", "validation")]
        most = {name: min(number, limit) for (name, number), limit in zip(most.items(), limits, strict=True)}
    found |= {name: min(getattr(design, name), number) for name, number in most.items()}
    if plan.is_held_out is None and sum(found[name] for name in most) > total:
        share = design.num_validation_triplets / (design.num_triplets + design.num_validation_triplets)
        found["num_validation_triplets"] = max(1, int(total * share))  # the splits share all triplets
        found["num_triplets"] = total - found["num_validation_triplets"]
    fewer: dict[str, Any] = {name: number for name, number in found.items() if number != getattr(design, name)}
    for name, number in fewer.items():
        logger.warning("`%s` is %d, not %d: the images allow no more", name, number, getattr(design, name))
    if not found["num_triplets"]:
        raise InputError("the images allow no triplets for training: give more images, or hold out fewer")
    if not found["num_validation_triplets"]:
        fewer["held_out_classes"] = ()  # which go with validation triplets; the plan has them
    return replace(design, **fewer)


def _num_triplets(design: TripletDesign, plan: Plan, groups: np.ndarray | None, split: str) -> int:
    """The number of triplets that a split can be drawn from; InputError if the sampler finds none."""
    members = plan.members(split)
    if groups is None and design.has_clusters:
        return math.comb(int(members.sum()), 3)
    allowed = np.where(members, plan.groups(None) if groups is None else groups, -1)
    try:
        return TripletSampler(design.sampling, allowed, design.weight_equally, design.seed).num_triplets
    except InputError as error:
        raise InputError(f"the split {split}: {error}") from error


def make_clusters(
    design: TripletDesign, embeddings: np.ndarray, plan: Plan, directory: Path, progress: bool = True
) -> Clusters | None:
    """Clusters of the teacher's embeddings (m, p), fitted to images that are not held out. None if not needed.

    The directory gets `clusters.npz`, and `elbow.csv` with `elbow`. An existing `clusters.npz` is used. Every process
    must call it.
    """
    if not design.has_clusters:
        return None
    file, state = directory / "clusters.npz", this_process()
    is_made = file.exists()
    state.wait_for_everyone()  # all processes have looked
    if not is_made:
        learned = None if plan.is_held_out is None else np.flatnonzero(~plan.is_held_out)
        number = design.num_clusters or default_num_clusters(len(embeddings) if learned is None else len(learned))
        if design.elbow:
            curve = elbow_curve(embeddings, design.seed, learned, progress)
            if state.is_main_process:
                write_text(directory / "elbow.csv", curve.to_csv(index=False))
            number = elbow(curve)
            logger.info("the elbow is at %d clusters", number)
        clusters = fit_clusters(embeddings, number, design.seed, learned, progress)
        if state.is_main_process:
            with whole_file(file) as temporary, open(temporary, "wb") as opened:
                np.savez(
                    opened, assignments=clusters.assignments, centers=clusters.centers, merged=clusters.num_merged
                )
        state.wait_for_everyone()
    with np.load(file, allow_pickle=False) as arrays:
        return Clusters(arrays["assignments"], arrays["centers"], int(arrays["merged"]))


def make_splits(
    design: TripletDesign,
    embeddings: np.ndarray,
    plan: Plan,
    clusters: Clusters | None,
    directory: Path,
    progress: bool = True,
) -> dict[str, int]:
    """Writes the shards of `train` and `validation`, and returns the number of triplets in each split.

    Every process must call it if the design `shares_labelling`, and else one alone.

    There are fewer than were asked for where the images, or the bounds on labels, allow no more. Raises an InputError
    if they allow none.
    """
    groups = plan.groups(clusters)
    design = clip_design(design, plan, groups)
    splits = {"train": design.num_triplets, "validation": design.num_validation_triplets}
    splits = {split: number for split, number in splits.items() if number}
    written: dict[str, int] = {}
    place = 0
    for split, number in splits.items():
        sampler = TripletSampler(
            design.sampling, np.where(plan.members(split), groups, -1), design.weight_equally, design.seed
        )
        source = TripletSource(sampler, embeddings, plan.rows, design.bounds, design.max_per_image)
        source.check_decided()
        # If nothing is held out, validation continues in the order where training ends
        begin = 0 if plan.is_held_out is not None else place
        try:
            place = write_shards(directory, split, source, number, begin, progress, design.shares_labelling)
        except TooFewTriplets as error:
            follows = plan.is_held_out is None and split == "train" and "validation" in splits
            rest = sum(splits.values()) if follows else number  # that are still to be found in the same order
            fewer = error.found * number // rest
            if not fewer and split == "train":
                raise InputError(f"the split {split}: {error}") from error
            logger.warning("the split %s gets %d triplets, not %d: %s", split, fewer, number, error)
            for file in shard_files(directory, split, number):
                file.unlink(missing_ok=True)
            if not fewer:
                continue
            number, place = fewer, write_shards(directory, split, source, fewer, begin, progress)
        # Counted in the files: a run that was stopped may have written fewer
        odd = [pq.read_table(file, columns=[ODD])[ODD].to_numpy() for file in shard_files(directory, split, number)]
        written[split] = sum(map(len, odd))
        if num_tied := sum(int((part == NO_CHOICE).sum()) for part in odd):
            logger.warning("the teacher is undecided about %d of %d %s triplets", num_tied, written[split], split)
    return written


def make_official_splits(files: Sequence[str], images: Dataset, directory: Path, strict: bool) -> dict[str, int]:
    """Writes the triplets of released files as shards, and returns the number of triplets in each split.

    Raises an InputError if a file cannot be used, its name contains no split, or two files have the same split.
    """
    splits: dict[str, int] = {}
    for file in files:
        split = split_of(file)
        if split is None or split in splits:
            raise InputError(
                f"the name of {file} must contain its split, train or valid, and no other file may have it: rename it"
            )
        triplets = read_official(file, images, strict)
        splits[split] = len(triplets)
        for index, target in enumerate(shard_files(directory, split, len(triplets))):
            part = triplets.with_format("arrow")[index * ROWS_PER_SHARD : (index + 1) * ROWS_PER_SHARD]
            write_shard(part.cast(triplets.features.arrow_schema), target)
    return splits


def write_clusters(clusters: Clusters, plan: Plan, num_images: int, file: Path) -> None:
    """Writes the cluster of each image of the dataset to a parquet file. Images without a cluster get -1."""
    column = np.full(num_images, -1, np.int32)
    column[plan.rows] = clusters.assignments
    write_table(pa.table({"cluster": column}), file)


def keep_settings(file: Path, settings: dict) -> None:
    """Saves the settings of a run. Raises an InputError (with their names) if an unfinished run has other settings."""
    settings = json.loads(json.dumps(settings))  # as in the file: lists, not tuples
    made = {path.name for path in file.parent.iterdir()} - {file.name} if file.exists() else set()
    if made:
        found = load_json(file, "the settings of the unfinished run")
        different = {key for key in settings | found if settings.get(key) != found.get(key)}
        if TRIPLETS not in made:
            different -= LATE
        if different:
            raise InputError(
                f"{file.parent.parent} has an unfinished run with other settings ({', '.join(sorted(different))}): "
                "give another `output_dir`, or delete this one"
            )
    write_json(file, settings)
