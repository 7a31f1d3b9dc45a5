"""Opens image datasets and folders of pictures by their path or Hub id."""

from datasets import Dataset
from datasets import Image as ImageFeature

from hf_alignet.errors import InputError
from hf_alignet.sources import load_splits

IMAGE_COLUMN = "image"


def load_images(path_or_id: str, split: str = "train") -> Dataset:
    """The image dataset at a local path or Hub id (configuration `images` if it has one), pictures left encoded.

    Raises:
        InputError: the dataset, the split or the column `image` does not exist (lists the columns).
    """
    splits = load_splits(path_or_id, config="images")
    if split not in splits:
        raise InputError(f"{path_or_id!r} has no split {split!r}; it has {', '.join(splits)}")
    return as_encoded_images(splits[split])


def as_encoded_images(dataset: Dataset) -> Dataset:
    """The same dataset with an `image` column that gives bytes. We decode them ourselves, so that errors name the row.

    Raises:
        InputError: the dataset has no column `image` (lists the columns), or it holds something else.
    """
    feature = dataset.features.get(IMAGE_COLUMN)
    if feature is None:
        raise InputError(f"the images need a column {IMAGE_COLUMN!r}; there are {', '.join(dataset.column_names)}")
    if not isinstance(feature, ImageFeature):
        raise InputError(f"the column {IMAGE_COLUMN!r} must hold datasets.Image, not {feature}")
    if not feature.decode:
        return dataset  # casting again would change its fingerprint
    return dataset.cast_column(IMAGE_COLUMN, ImageFeature(decode=False))
