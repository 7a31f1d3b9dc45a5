"""From a teacher's embeddings of images to triplets on disk: who is held out, the clusters, the shards."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.judgments.index_files import split_of
from hf_alignet.storage import whole_file, write_json, write_table
from hf_alignet.triplets.clusters import Clusters, default_num_clusters, elbow, elbow_curve, fit_clusters
from hf_alignet.triplets.filters import LabelBounds
from hf_alignet.triplets.official import read_official
from hf_alignet.triplets.partition import class_numbers, hold_out_classes, hold_out_images, read_labels
from hf_alignet.triplets.sampling import Sampling, TripletSampler
from hf_alignet.triplets.shards import ROWS_PER_SHARD, TripletSource, shard_files, write_shard, write_shards

TRIPLETS, NUMBERS = "triplets", {"num_triplets", "num_validation_triplets"}
HoldOut = Literal["images", "classes", "nothing"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TripletDesign:
    """Which triplets are drawn, and how many.

    Attributes:
        sampling: `cluster_boundary`, two images of one cluster and one of another (the paper's); `class_boundary`,
            `within_class` and `between_class`, by the column `label`; `random`, any three images.
        num_triplets: of the split `train`, all different.
        num_validation_triplets: of the split `validation`; 0 for none.
        num_clusters: of k-means; None for 500, or less where a cluster would have under 20 images.
        elbow: choose the number of clusters by the elbow of ten fits.
        weight_equally: every cluster or class gives as many pairs; otherwise every triplet is as likely.
        hold_out: what only validation triplets are made of: some `images`, all images of some `classes`, or `nothing`:
            the same images, but other triplets.
        held_out_share: of the images or classes, in (0, 1).
        held_out_classes: names or numbers of the classes to hold out, in place of a share.
        min_margin: least difference between the two highest choice probabilities, in [0, 1].
        max_margin: greatest such difference.
        min_entropy: least entropy of the choice probabilities, in nats, up to ln 3 = 1.0986.
        max_entropy: greatest such entropy.
        max_per_image: most triplets of a split that name the same image; None for any number.
        seed: of all random draws.

    Raises:
        InputError: a value is out of range, or two exclude each other.
    """

    sampling: Sampling = "cluster_boundary"
    num_triplets: int = 1_000_000
    num_validation_triplets: int = 10_000
    num_clusters: int | None = None
    elbow: bool = False
    weight_equally: bool = False
    hold_out: HoldOut = "images"
    held_out_share: float = 0.1
    held_out_classes: Sequence[str] = ()
    min_margin: float | None = None
    max_margin: float | None = None
    min_entropy: float | None = None
    max_entropy: float | None = None
    max_per_image: int | None = None
    seed: int = 42

    @property
    def bounds(self) -> LabelBounds:
        return LabelBounds(self.min_margin, self.max_margin, self.min_entropy, self.max_entropy)

    @property
    def has_clusters(self) -> bool:
        return self.sampling == "cluster_boundary"

    def __post_init__(self) -> None:
        for name, kind in (("sampling", Sampling), ("hold_out", HoldOut)):
            if getattr(self, name) not in get_args(kind):
                raise InputError(f"`{name}` must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        self.bounds  # noqa: B018 - refuses what is out of range
        least = {"num_triplets": 1, "num_validation_triplets": 0, "max_per_image": 1, "num_clusters": 2}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise InputError(f"`{name}` must be at least {lowest}, got {value}")
        if not 0 < self.held_out_share < 1:
            raise InputError(f"`held_out_share` must be in (0, 1), got {self.held_out_share}")
        if self.held_out_classes and (self.hold_out != "classes" or not self.num_validation_triplets):
            raise InputError("`held_out_classes` needs `hold_out=classes`, and validation triplets")
        if (self.elbow or self.num_clusters is not None) and not self.has_clusters:
            raise InputError(f"`sampling={self.sampling}` has no clusters: leave out `num_clusters` and `elbow`")
        if self.elbow and self.num_clusters is not None:
            raise InputError("give either `num_clusters`, or `elbow=True` to choose it")


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
    def of(cls, design: TripletDesign, images: Dataset, rows: np.ndarray) -> "Plan":
        """Draws who is held out.

        Args:
            design: which triplets are drawn.
            images: the image dataset.
            rows: (m,) images that can be read.

        Raises:
            InputError: classes are missing or unknown, or all images or none would be held out.
        """
        holds_classes = design.hold_out == "classes" and design.num_validation_triplets > 0
        labels = is_held_out = None
        if "class" in design.sampling or holds_classes:
            labels = read_labels(images)
        if holds_classes:
            assert labels is not None
            classes = class_numbers(images, labels, design.held_out_classes)
            is_held_out = hold_out_classes(labels[rows], design.held_out_share, design.seed, classes)
        elif design.num_validation_triplets and design.hold_out == "images":
            is_held_out = hold_out_images(len(rows), design.held_out_share, design.seed)
        if is_held_out is not None and not 0 < is_held_out.sum() < len(rows):
            raise InputError(
                f"{is_held_out.sum()} of {len(rows)} images would be held out; change `held_out_share` or "
                "`held_out_classes`"
            )
        return cls(rows, labels[rows] if labels is not None else None, is_held_out)

    def groups(self, clusters: Clusters | None) -> np.ndarray:
        """(m,) cluster or class of each image; negative for one that has no class where classes matter."""
        if clusters is None:
            return np.zeros(len(self.rows), np.int64) if self.labels is None else self.labels
        # Without a class it may be of one that is held out
        return clusters.assignments if self.labels is None else np.where(self.labels < 0, -1, clusters.assignments)


def make_clusters(
    design: TripletDesign, embeddings: np.ndarray, plan: Plan, directory: Path, progress: bool = True
) -> Clusters | None:
    """Clusters for the sampling, if it has any, learned from images that are not held out; kept in a directory.

    Args:
        design: which triplets are drawn.
        embeddings: (m, p) the teacher's.
        plan: whom they are of.
        directory: for `clusters.npz` and, with the elbow criterion, `elbow.csv`; what is there is taken.
    """
    if not design.has_clusters:
        return None
    file = directory / "clusters.npz"
    if not file.exists():
        learned = None if plan.is_held_out is None else np.flatnonzero(~plan.is_held_out)
        number = design.num_clusters or default_num_clusters(len(embeddings) if learned is None else len(learned))
        if design.elbow:
            curve = elbow_curve(embeddings, design.seed, learned, progress)
            with whole_file(directory / "elbow.csv") as temporary:
                curve.to_csv(temporary, index=False)
            number = elbow(curve)
            logger.info("the elbow is at %d clusters", number)
        clusters = fit_clusters(embeddings, number, design.seed, learned, progress)
        with whole_file(file) as temporary, open(temporary, "wb") as opened:
            np.savez(opened, assignments=clusters.assignments, centers=clusters.centers, merged=clusters.num_merged)
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
    """Writes the shards of `train` and `validation`.

    Returns:
        Triplets by split.

    Raises:
        InputError: there are not so many triplets.
    """
    groups = plan.groups(clusters)
    splits = {"train": design.num_triplets, "validation": design.num_validation_triplets}
    splits = {split: number for split, number in splits.items() if number}
    sources = {}
    for split in splits:
        allowed = groups
        if plan.is_held_out is not None:
            allowed = np.where(plan.is_held_out == (split == "validation"), groups, -1)
        try:
            sampler = TripletSampler(design.sampling, allowed, design.weight_equally, design.seed)
            sources[split] = TripletSource(sampler, embeddings, plan.rows, design.bounds, design.max_per_image)
            # Where nothing is held out, validation goes on in the order where training ends
            follows = plan.is_held_out is None and split == "validation"
            sources[split].check(splits[split], splits["train"] if follows else 0)
        except InputError as error:
            raise InputError(f"the split {split}: {error}") from error
    place = 0
    for split, number in splits.items():
        place = 0 if plan.is_held_out is not None else place
        place = write_shards(directory, split, sources[split], number, place, progress)
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
    settings = json.loads(json.dumps(settings))  # as the file has them: lists, not tuples
    made = {path.name for path in file.parent.iterdir()} - {file.name} if file.exists() else set()
    if made:
        found = json.loads(file.read_text(encoding="utf-8"))
        different = {key for key in settings | found if settings.get(key) != found.get(key)}
        if TRIPLETS not in made:  # the embeddings, which take hours, are the same whatever their number
            different -= NUMBERS
        if different:
            raise InputError(
                f"{file.parent.parent} has an unfinished run with other settings ({', '.join(sorted(different))}); "
                "give another `output_dir`, or delete it"
            )
    write_json(file, settings)
