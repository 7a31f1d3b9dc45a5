"""Images and triplets for `things-vit-tiny`: photographs of Tiny-ImageNet, similarities of their concepts in VICE.

Reads `tiny_imagenet/train_100_per_class.parquet` (columns image, label, uniqueID: the THINGS concept of the class,
empty where there is none), `things/vice_42d_uid_order.npy` and `things/uid_order.csv`. Writes two datasets, `images`
and `triplets`, and `class_vectors.npy`, the same teacher for in-batch triplets. See README.md beside this file for
where the data come from.

    python recipes/things-vit-tiny/prepare.py --data path/to/data
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import Dataset, DatasetDict, Image

from hf_alignet.similarity import triplet_similarities
from hf_alignet.triplets import triplets_from_arrays

NUM_UNSEEN_CLASSES = 30
HELD_OUT_PER_CLASS = 20  # pictures of each class that are only measured on
NUM_BLOCKS = 150  # training steps, if a batch is a block
IMAGES_PER_BLOCK = 48  # of as many different classes
TRIPLETS_PER_BLOCK = 512
NUM_HELD_OUT = 10_000


def split_concepts(concept_of_class: pd.Series, rng: np.random.Generator) -> set[str]:
    """Concepts held out: drawn until they cover NUM_UNSEEN_CLASSES classes; classes of one concept stay together."""
    sizes = concept_of_class.value_counts().sort_index()
    unseen: set[str] = set()
    missing = NUM_UNSEEN_CLASSES
    for concept in rng.permutation(sizes.index.to_numpy()):
        if sizes[concept] <= missing:
            unseen.add(concept)
            missing -= sizes[concept]
    return unseen


def blocks(table: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Triplets in blocks of TRIPLETS_PER_BLOCK rows that share IMAGES_PER_BLOCK pictures of different classes."""
    rows_of_class = [rows.to_numpy() for rows in table.groupby("label").groups.values()]
    triplets = []
    for _ in range(NUM_BLOCKS):
        classes = rng.permutation(len(rows_of_class))[:IMAGES_PER_BLOCK]
        pictures = np.array([rng.choice(rows_of_class[c]) for c in classes])
        triplets += [pictures[rng.permutation(IMAGES_PER_BLOCK)[:3]] for _ in range(TRIPLETS_PER_BLOCK)]
    return np.stack(triplets)


def held_out(table: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Random triplets of three different concepts."""
    rows, concepts = table.index.to_numpy(), table["uniqueID"].to_numpy()
    drawn = rng.integers(len(rows), size=(3 * NUM_HELD_OUT, 3))
    a, b, c = concepts[drawn].T
    return rows[drawn[(a != b) & (a != c) & (b != c)][:NUM_HELD_OUT]]


def with_labels(triplets: np.ndarray, vice: np.ndarray) -> Dataset:
    return triplets_from_arrays(
        triplets, triplet_similarities(torch.from_numpy(vice), torch.from_numpy(triplets)).numpy()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("HF_ALIGNET_DATA")
    parser.add_argument(
        "--data", type=Path, default=data, required=data is None, help="folder with tiny_imagenet/ and things/"
    )
    parser.add_argument("--output_dir", type=Path, default="data/things-vit-tiny", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the draws (%(default)s)")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)

    images = Dataset.from_parquet(str(arguments.data / "tiny_imagenet" / "train_100_per_class.parquet"))
    images = images.cast_column("image", Image(decode=False))
    images = images.filter(lambda concept: bool(concept), input_columns="uniqueID")
    table = images.select_columns(["label", "uniqueID"]).to_pandas()
    order = pd.read_csv(arguments.data / "things" / "uid_order.csv").set_index("uniqueID")["uid_index"]
    vice = np.load(arguments.data / "things" / "vice_42d_uid_order.npy", allow_pickle=False)[order[table["uniqueID"]]]

    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    unseen = table["uniqueID"].isin(split_concepts(table.groupby("label")["uniqueID"].first(), rng))
    is_measured = table.groupby("label").cumcount() < HELD_OUT_PER_CLASS
    splits = {
        "train": blocks(table[~unseen & ~is_measured], rng),
        "seen_classes": held_out(table[~unseen & is_measured], rng),
        "unseen_classes": held_out(table[unseen & is_measured], rng),
    }
    triplets = DatasetDict({name: with_labels(rows, vice) for name, rows in splits.items()})
    class_vectors = np.full((int(table["label"].max()) + 1, vice.shape[1]), np.nan, dtype=np.float32)
    class_vectors[table["label"]] = vice
    np.save(arguments.output_dir / "class_vectors.npy", class_vectors)
    images.cast_column("image", Image()).save_to_disk(arguments.output_dir / "images")
    triplets.save_to_disk(arguments.output_dir / "triplets")
    print(
        f"{table['label'].nunique()} classes, {table['label'][unseen].nunique()} of them unseen; {len(images)} images"
    )
    print("\n".join(f"{name}: {len(rows)} triplets" for name, rows in splits.items()))


if __name__ == "__main__":
    main()
