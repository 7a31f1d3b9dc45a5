"""Held-out images: the triplets of validation use only these, and the triplets of training none of these."""

import logging
from collections.abc import Sequence

import numpy as np
from datasets import ClassLabel, Dataset

from hf_alignet.errors import InputError
from hf_alignet.judgments.rows import arrow_column

LABEL = "label"

logger = logging.getLogger(__name__)


def read_labels(images: Dataset) -> np.ndarray:
    """The class of each image, (n,) int64, from the column `label`. -1 means that an image has no class.

    Raises an InputError if there is no such column, or it has something else than integers.
    """
    if LABEL not in images.column_names:
        raise InputError(
            f"the images need a column {LABEL!r} of classes; their columns are {', '.join(images.column_names)}"
        )
    labels = arrow_column(images, LABEL).to_pandas().fillna(-1).to_numpy()
    if labels.dtype.kind not in "iuf" or (labels != labels.astype(np.int64)).any():
        raise InputError(f"the column {LABEL!r} must have classes as integers, got {images.features[LABEL]}")
    labels = labels.astype(np.int64)
    if (labels < 0).any():
        logger.warning("%d of %d images have no class, so no triplet uses them", (labels < 0).sum(), len(labels))
    return np.maximum(labels, -1)


def class_numbers(images: Dataset, labels: np.ndarray, names: Sequence[str]) -> list[int]:
    """The numbers of classes with these names (or numbers as text), in images with the `labels` (n,).

    Raises an InputError if a class is unknown.
    """
    feature = images.features[LABEL]
    known = {name: number for number, name in enumerate(feature.names)} if isinstance(feature, ClassLabel) else {}
    known |= {str(number): int(number) for number in np.unique(labels[labels >= 0]) if str(number) not in known}
    unknown = [name for name in names if name not in known]
    if unknown:
        more = " and more" if len(known) > 20 else ""
        raise InputError(f"unknown class {unknown[0]!r}; the images have {', '.join(list(known)[:20])}{more}")
    return [known[name] for name in names]


def hold_out_classes(labels: np.ndarray, share: float, seed: int, classes: Sequence[int] = ()) -> np.ndarray:
    """Holds out all images of some classes, or of a random share of the classes, at least one; returns a mask (n,).

    `labels` (n,) are the classes of the images. Negative means no class.
    """
    if not classes:
        known = np.unique(labels[labels >= 0])
        drawn = np.random.default_rng(seed).permutation(len(known))[: max(1, round(share * len(known)))]
        classes = known[drawn].tolist()
    return np.isin(labels, classes)
