"""Judged triplets of images, opened and checked."""

from datasets import Dataset, DatasetDict

from hf_alignet.triplets.triplet_dataset import SIMILARITIES, check_triplets, load_triplets


def open_judged(given: str | DatasetDict, images: Dataset) -> tuple[DatasetDict, bool]:
    """Splits of judged triplets of these images, and whether a teacher labelled them.

    Raises:
        InputError: they cannot be opened, or do not fit the images.
    """
    splits = load_triplets(given, images) if isinstance(given, str) else given
    is_labelled = all(SIMILARITIES in data.column_names for data in splits.values())
    for split, data in splits.items():
        check_triplets(data, len(images), SIMILARITIES if is_labelled else None, split)
    return splits, is_labelled
