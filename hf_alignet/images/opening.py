"""Images in: rows of a Dataset become RGB pictures, and pictures become the tensors that a model wants.

The image processor of a checkpoint does the resizing and cropping, so that pixels are those the model was trained on,
but rescaling and normalising happen in torch on the stacked uint8 batch, where they cost almost nothing.
"""

from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset
from datasets import Image as ImageFeature
from datasets.table import embed_table_storage
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.sources import load_splits

IMAGE_COLUMN = "image"
ROWS_PER_FILE, ROWS_PER_GROUP = 10_000, 100  # of saved images; a group is what a reader takes into memory


def load_images(path_or_id: str, split: str = "train") -> Dataset:
    """The image dataset at a local path or Hub id (configuration `images` if it has one), pictures left encoded.

    Raises:
        InputError: no such dataset or split, or no `image` column (the message lists the columns).
    """
    splits = load_splits(path_or_id, config="images")
    if split not in splits:
        raise InputError(f"{path_or_id!r} has no split {split!r}; it has {', '.join(splits)}")
    return as_encoded_images(splits[split])


def as_encoded_images(dataset: Dataset) -> Dataset:
    """The same dataset with an `image` column that yields bytes instead of decoding, so that we can name a bad row."""
    feature = dataset.features.get(IMAGE_COLUMN)
    if feature is None:
        raise InputError(f"the images need a column {IMAGE_COLUMN!r}; there are {', '.join(dataset.column_names)}")
    if not isinstance(feature, ImageFeature):
        raise InputError(f"the column {IMAGE_COLUMN!r} must hold datasets.Image, not {feature}")
    if not feature.decode:
        return dataset  # casting again would change its fingerprint
    return dataset.cast_column(IMAGE_COLUMN, ImageFeature(decode=False))


def write_images(dataset: Dataset, directory: Path, progress: bool = True) -> None:
    """Writes an image dataset, pictures that lie in files of their own included, as parquet files of `train`."""
    directory.mkdir(parents=True, exist_ok=True)
    number = -(-len(dataset) // ROWS_PER_FILE)
    for index in tqdm(range(number), desc="saving images", unit="file", disable=not progress):
        part = dataset.select(range(index * ROWS_PER_FILE, min((index + 1) * ROWS_PER_FILE, len(dataset))))
        part = part.cast_column(IMAGE_COLUMN, ImageFeature())
        table = embed_table_storage(part.with_format("arrow")[:].cast(part.features.arrow_schema))
        pq.write_table(table, directory / f"train-{index:05d}-of-{number:05d}.parquet", row_group_size=ROWS_PER_GROUP)
