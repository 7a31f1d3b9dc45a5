"""What a student learns from: images, and triplets of them or the teacher's vectors."""

import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict

from hf_alignet.errors import InputError
from hf_alignet.images.cache import ImageCache
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import ImageReader
from hf_alignet.sources import public_name
from hf_alignet.triplets.batches import TeacherVectors, load_teacher
from hf_alignet.triplets.triplet_dataset import TRIPLET, check_triplets, column, read_info

logger = logging.getLogger(__name__)


@dataclass
class DataArguments:
    """The data: images and triplets, which are rows of the images, or neither for the demo.

    Raises:
        InputError: settings that exclude each other.
    """

    images: str | None = field(
        default=None,
        metadata={"help": "Path or Hub id of a dataset with a column `image`. Default: the embedded demo (emoji)."},
    )
    triplets: str | None = field(
        default=None,
        metadata={
            "help": "Path or Hub id of triplets: columns `triplet` (three rows of the images) and `similarities` (the "
            "teacher's, in the order 01, 02, 12). Every split but train is held out and measured. Default: the demo's."
        },
    )
    teacher_embeddings: str | None = field(
        default=None,
        metadata={
            "help": "Matrix (.npy) with the teacher's vector of every image. With it, training labels all triplets in "
            "each batch of images, of those that the train split names."
        },
    )
    class_vectors: str | None = field(
        default=None, metadata={"help": "The same, with a vector of every class of the images' column `label`."}
    )
    triplet_source: str = field(
        default="auto",
        metadata={
            "help": "batch: all triplets in a batch of images. separate: those of the train split. auto: batch where "
            "there are teacher's vectors.",
            "choices": ["auto", "batch", "separate"],
        },
    )
    cache_images: str | None = field(
        default=None,
        metadata={
            "help": "Directory in which to keep the resized pictures, so that they are decoded once, not in every "
            "epoch and run. Takes 3 bytes a pixel: 150 kB an image at 224 x 224, 150 GB a million."
        },
    )
    on_bad_image: str = field(
        default="error",
        metadata={
            "help": "What a picture that cannot be decoded does. error: stops the run when it is read. skip: all "
            "pictures are decoded before the run, and triplets that name such a one are left out.",
            "choices": ["error", "skip"],
        },
    )
    i_have_the_right_to_share_images: bool = field(
        default=False,
        metadata={
            "help": "Show small pictures in before_after.png, which is shared with the model. Default: dots, since "
            "ImageNet, for one, forbids to pass its images on; the demo's may be."
        },
    )

    def __post_init__(self) -> None:
        if (self.images is None) != (self.triplets is None):
            raise InputError(
                "give both --images and --triplets, which are rows of the images, or neither for the demo"
            )
        vectors = [name for name in (self.teacher_embeddings, self.class_vectors) if name is not None]
        if self.triplet_source == "batch" and not vectors:
            raise InputError("--triplet_source batch needs --teacher_embeddings or --class_vectors")
        if len(vectors) > 1:
            raise InputError("give --teacher_embeddings or --class_vectors, not both")
        if vectors and self.images is None:
            raise InputError("the teacher's vectors belong to --images, which are missing")


def open_images(
    data: DataArguments,
    images: Dataset,
    triplets: DatasetDict,
    preprocessor: Preprocessor,
    num_workers: int = 0,
    progress: bool = True,
) -> tuple[ImageReader, dict[int, str]]:
    """The images as the run reads them, cached if asked for, and why some that the triplets name cannot be read.

    Args:
        data: settings.
        images: the image dataset.
        triplets: all splits.
        preprocessor: of the student.
        num_workers: processes that decode before the run; 0 does it in this one.
        progress: show a bar meanwhile.

    Raises:
        InputError: a picture cannot be read, unless such are skipped; the images cannot be cached; or, before any is
            visited, triplets name no images.
    """
    reader = (
        ImageCache(data.cache_images, images, preprocessor) if data.cache_images else ImageReader(images, preprocessor)
    )
    if data.cache_images is None and data.on_bad_image == "error":
        return reader, {}
    for split, dataset in triplets.items():
        check_triplets(dataset, len(images), None, split)
    rows = np.unique(np.concatenate([column(dataset, TRIPLET) for dataset in triplets.values()]))
    return reader, reader.prepare(rows, num_workers, progress, skip_bad=data.on_bad_image == "skip")


def without_images(triplets: DatasetDict, bad: dict[int, str]) -> DatasetDict:
    """The triplets that name none of the bad images; says how many are left out.

    Raises:
        InputError: a split has no other triplets.
    """
    if not bad:
        return triplets
    example = next(iter(bad.values()))
    kept = DatasetDict()
    for split, dataset in triplets.items():
        kept[split] = _without(dataset, bad)
        if len(kept[split]) == 0:
            raise InputError(f"every one of the {split!r} triplets names an image that cannot be read: {example}")
    total, left = (sum(splits.num_rows.values()) for splits in (triplets, kept))
    logger.warning(
        "left out %d images that cannot be read, and %d of %d triplets, which name them; the first: %s",
        *(len(bad), total - left, total, example),
    )
    return kept


def _without(triplets: Dataset, bad: dict[int, str]) -> Dataset:
    return triplets.select(np.flatnonzero(~np.isin(column(triplets, TRIPLET), list(bad)).any(1))) if bad else triplets


def training_data(
    data: DataArguments, images: Dataset, train: Dataset, bad: dict[int, str], seed: int
) -> Dataset | TeacherVectors:
    """The training triplets, or the teacher's vectors of the images that they name; without the bad images."""
    if data.triplet_source == "separate" or not (data.teacher_embeddings or data.class_vectors):
        return _without(train, bad)
    rows = np.setdiff1d(column(train, TRIPLET), list(bad))
    return load_teacher(images, rows, data.teacher_embeddings, data.class_vectors, seed)


def describe_teacher(data: DataArguments) -> dict[str, Any]:
    """Facts of who labelled the training triplets, as far as they are known, for the card."""
    if data.triplets is None:
        return {"teacher": "simulated raters, nothing here is about people"}
    vectors = data.teacher_embeddings or data.class_vectors
    if vectors and data.triplet_source != "separate":
        return {"teacher": public_name(vectors)}
    info = {name: fact for name, fact in read_info(data.triplets).items() if isinstance(fact, str)}
    known = {name: info.get(name) for name in ("teacher", "sampling", "official")}
    # The paper's control has no transform, which is not the same as a dataset that does not say
    return known | {"teacher_transform": info.get("transform", "none") if known["teacher"] else None}
