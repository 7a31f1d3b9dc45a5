"""Labelled images for `downstream`: CIFAR-100, UC Merced, PACS and Tiny-ImageNet, as datasets with train and test.

Reads `cifar100_50_20_per_class.parquet` (columns image, split, name), `uc_merced.parquet` (image, name) and
`pacs_60_per_class.parquet` (image, domain, name) in the folder `downstream`, and
`tiny_imagenet/train_100_per_class.parquet` (image, wnid, label). Writes one dataset of each, with the class in the
column `label`. The splits of PACS are its domains. The test images of Tiny-ImageNet are those that
`recipes/things-vit-tiny` and `recipes/tiny-imagenet` train nothing on.

    python recipes/downstream/prepare.py --data path/to/data
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict, Image

HELD_OUT_PER_CLASS = 20  # pictures of each class that are only measured on, as in things-vit-tiny
TRAIN_PER_CLASS = 20


def read(file: Path, label: str) -> Dataset:
    """The pictures of a parquet file, with their classes in the column `label`."""
    images = Dataset.from_parquet(str(file)).cast_column("image", Image(decode=False))
    if label != "label":
        images = images.select_columns([name for name in images.column_names if name != "label"])
        images = images.rename_column(label, "label")
    return images


def by_value(images: Dataset, column: str) -> DatasetDict:
    """A split for each value of the column."""
    values = np.asarray(images[column][:])
    parts = {str(value): images.select(np.flatnonzero(values == value)) for value in dict.fromkeys(values)}
    return DatasetDict({name: part.select_columns(["image", "label"]) for name, part in parts.items()})


def held_out(images: Dataset) -> DatasetDict:
    """The first pictures of each class to test on, the next to learn from."""
    rank = pd.Series(images["label"][:]).groupby(images["label"][:]).cumcount().to_numpy()
    images = images.select_columns(["image", "label"])
    is_train = (rank >= HELD_OUT_PER_CLASS) & (rank < HELD_OUT_PER_CLASS + TRAIN_PER_CLASS)
    parts = {"train": is_train, "test": rank < HELD_OUT_PER_CLASS}
    return DatasetDict({name: images.select(np.flatnonzero(rows)) for name, rows in parts.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("HF_ALIGNET_DATA")
    parser.add_argument(
        "--data", type=Path, default=data, required=data is None, help="folder with downstream/ and tiny_imagenet/"
    )
    parser.add_argument("--output_dir", type=Path, default="data/downstream", help="(%(default)s)")
    arguments = parser.parse_args()
    folder = arguments.data / "downstream"
    sets = {
        "cifar100": by_value(read(folder / "cifar100_50_20_per_class.parquet", "name"), "split"),
        "uc_merced": DatasetDict(train=read(folder / "uc_merced.parquet", "name").select_columns(["image", "label"])),
        "pacs": by_value(read(folder / "pacs_60_per_class.parquet", "name"), "domain"),
        "tiny_imagenet": held_out(read(arguments.data / "tiny_imagenet" / "train_100_per_class.parquet", "wnid")),
    }
    for name, splits in sets.items():
        splits.cast_column("image", Image()).save_to_disk(arguments.output_dir / name)
        print(f"{name}: " + ", ".join(f"{split} {len(part)}" for split, part in splits.items()))


if __name__ == "__main__":
    main()
