"""What a student learns from: images, and triplets of them or the teacher's vectors."""

import logging
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict

from hf_alignet.errors import InputError
from hf_alignet.images.cache import ImageCache
from hf_alignet.images.kept_pixels import keep_if_small
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import Reader, as_reader
from hf_alignet.images.tokens import TextPreprocessor
from hf_alignet.sources import public_name
from hf_alignet.triplets.batches import TeacherVectors, load_teacher
from hf_alignet.triplets.triplet_dataset import TRIPLET, check_triplets, column, read_info

logger = logging.getLogger(__name__)


def open_images(
    images: Dataset,
    triplets: DatasetDict,
    preprocessor: Preprocessor | TextPreprocessor,
    cache_images: str | None = None,
    on_bad_image: str = "error",
    num_workers: int | None = None,
    progress: bool = True,
) -> tuple[Reader, dict[int, str]]:
    """A reader of the images, and for each image that the triplets name and that cannot be read, the reason.

    Args:
        images: the image dataset.
        triplets: all splits.
        preprocessor: of the student.
        cache_images: directory in which to keep resized pictures; None for no cache.
        on_bad_image: `error`, or `skip` to decode all pictures now and to find those that cannot be decoded.
        num_workers: as for `ImageReader.prepare`, like `progress`.
        progress: show a bar.

    Raises:
        InputError: a picture cannot be read, unless such are skipped; the cache fails; or triplets name no images.
    """
    if cache_images and isinstance(preprocessor, TextPreprocessor):
        raise InputError(f"`cache_images={cache_images}` is for pictures, and texts need none: leave it out")
    if cache_images and isinstance(preprocessor, Preprocessor):
        reader: Reader = ImageCache(cache_images, images, preprocessor)
    else:
        reader = keep_if_small(as_reader(images, preprocessor))
    if cache_images is None and on_bad_image == "error":
        return reader, {}
    for split, dataset in triplets.items():
        check_triplets(dataset, len(images), None, split)
    rows = np.unique(np.concatenate([column(dataset, TRIPLET) for dataset in triplets.values()]))
    return reader, reader.prepare(rows, num_workers, progress, skip_bad=on_bad_image == "skip")


def without_images(triplets: DatasetDict, bad: dict[int, str]) -> DatasetDict:
    """The triplets without the bad images of `open_images`. Logs their number; InputError if a split gets empty."""
    if not bad:
        return triplets
    example = next(iter(bad.values()))
    kept = DatasetDict({split: _without(dataset, bad) for split, dataset in triplets.items()})
    for split, number in kept.num_rows.items():
        if number == 0:
            raise InputError(f"every one of the {split!r} triplets names an image that cannot be read: {example}")
    total, left = (sum(splits.num_rows.values()) for splits in (triplets, kept))
    logger.warning(
        "left out %d images that cannot be read, and %d of %d triplets, which name them; the first: %s",
        *(len(bad), total - left, total, example),
    )
    return kept


def _without(triplets: Dataset, bad: dict[int, str]) -> Dataset:
    return triplets.select(np.flatnonzero(~np.isin(column(triplets, TRIPLET), list(bad)).any(1))) if bad else triplets


def learns_in_batch(
    teacher_embeddings: str | np.ndarray | None, class_vectors: str | None, triplet_source: str
) -> bool:
    """Whether each batch is of images, with all triplets among them; InputError if arguments exclude each other."""
    if teacher_embeddings is not None and class_vectors is not None:
        raise InputError(
            "give `teacher_embeddings` or `class_vectors`, not both: got "
            f"{teacher_embeddings if isinstance(teacher_embeddings, str) else 'an array'!r} and {class_vectors!r}"
        )
    has_vectors = teacher_embeddings is not None or class_vectors is not None
    if triplet_source == "batch" and not has_vectors:
        raise InputError("`triplet_source=batch` needs `teacher_embeddings` or `class_vectors`")
    return has_vectors and triplet_source != "separate"


def training_data(
    images: Dataset,
    train: Dataset,
    bad: dict[int, str],
    teacher_embeddings: str | np.ndarray | None = None,
    class_vectors: str | None = None,
    triplet_source: str = "auto",
    seed: int = 0,
) -> Dataset | TeacherVectors:
    """The training triplets, or the teacher's vectors of the images that they name; without the bad images.

    Args:
        images: the image dataset.
        train: the training triplets.
        bad: the images that cannot be read, by row.
        teacher_embeddings: matrix (n, p), or a `.npy` file of one, with the teacher's vector of each image.
        class_vectors: `.npy` file with the teacher's vector of each class of the images' column `label`.
        triplet_source: `batch`: all triplets in each batch of images; `separate`: those of `train`; `auto`: `batch`
            if vectors are given, else `separate`.
        seed: seed of the clusters of the images.

    Raises:
        InputError: arguments exclude each other, or the vectors do not fit the images.
    """
    if not learns_in_batch(teacher_embeddings, class_vectors, triplet_source):
        return _without(train, bad)
    rows = np.setdiff1d(column(train, TRIPLET), list(bad))
    return load_teacher(images, rows, teacher_embeddings, class_vectors, seed)


def training_rows(train: Dataset | TeacherVectors | None) -> np.ndarray:
    """(m,) sorted rows of the images that a student learns from."""
    if train is None:
        return np.zeros(0, dtype=np.int64)
    return np.unique(train.rows if isinstance(train, TeacherVectors) else column(train, TRIPLET)).astype(np.int64)


def describe_teacher(
    triplets: str | None,
    teacher_embeddings: str | np.ndarray | None = None,
    class_vectors: str | None = None,
    triplet_source: str = "auto",
) -> dict[str, Any]:
    """Facts about the teacher for the card. Without a path or Hub id of `triplets`, it is the teacher of the demo."""
    if triplets is None:
        return {"teacher": "simulated raters, nothing here is about people"}
    if learns_in_batch(teacher_embeddings, class_vectors, triplet_source):
        vectors = class_vectors if teacher_embeddings is None else teacher_embeddings
        return {"teacher": public_name(vectors) if isinstance(vectors, str) else None}
    info = {name: fact for name, fact in read_info(triplets).items() if isinstance(fact, str)}
    known = {name: info.get(name) for name in ("teacher", "sampling", "official")}
    # The paper's control has no transform, which is not the same as a dataset that does not say
    return known | {"teacher_transform": info.get("transform", "none") if known["teacher"] else None}
