"""Finds the pictures of triplets again: a picture that was added to a folder moves the rows of all others."""

import logging

import numpy as np
from datasets import Dataset, DatasetDict

from hf_alignet.errors import InputError
from hf_alignet.images.picture_files import content_fingerprint
from hf_alignet.images.picture_record import ABSENT, RECORD_FILE, PictureRecord
from hf_alignet.judgments.rows import TRIPLET, check_rows, column, with_triplets
from hf_alignet.sources import public_name
from hf_alignet.triplets.triplet_dataset import file_beside, read_info

logger = logging.getLogger(__name__)


def match_images(triplets: DatasetDict, path_or_id: str, images: Dataset, progress: bool = True) -> DatasetDict:
    """The triplets with the rows that their pictures have in the images at hand.

    Pictures may have been added, moved or renamed since the triplets were made. What is known of the pictures lies
    beside the triplets: of triplets of version 0.2 their number, of a user's own triplets nothing.

    Args:
        triplets: all splits.
        path_or_id: where they come from.
        images: the image dataset at hand.
        progress: show a bar while the images are read.

    Raises:
        InputError: a picture of a triplet is not among the images at hand, or has changed (names it).
    """
    info = read_info(path_or_id)
    if info.get("images_fingerprint") == content_fingerprint(images):
        return triplets
    what, advice = (
        f"the triplets {public_name(path_or_id)!r}",
        "give the images that they were made of, or make them again",
    )
    file = file_beside(path_or_id, RECORD_FILE)
    recorded = PictureRecord.load(file.parent) if file is not None else None
    if recorded is None:
        number = info.get("num_images")
        if number not in (None, len(images)):
            raise InputError(f"{what} are rows of {number} images, and `images` has {len(images)}: {advice}")
        return triplets
    there = PictureRecord.of(images, progress)
    rows = recorded.rows_in(there)
    if np.array_equal(rows, np.arange(len(there))):
        return triplets
    named = {split: column(dataset, TRIPLET) for split, dataset in triplets.items()}
    for split, numbers in named.items():
        check_rows(numbers, len(recorded), f"{split!r} triplets")
    used = np.unique(np.concatenate(list(named.values())))
    lost = used[rows[used] == ABSENT]
    if len(lost):
        raise InputError(f"{what} were made of other images than `images`: {recorded.lost(lost, there)}; {advice}")
    logger.info(
        "%s were made of %d images, and `images` has %d (%s): each picture was found by its content, and the triplets "
        "follow it to its row", what, len(recorded), len(there), there.added(rows) or "none is new",
    )  # fmt: skip
    return DatasetDict({split: with_triplets(triplets[split], rows[numbers]) for split, numbers in named.items()})
