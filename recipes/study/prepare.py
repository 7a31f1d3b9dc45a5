"""Data for `study`: emoji with the similarities of their concepts in VICE, and labelled images for few shots.

Reads `mappings/emoji_to_things.csv` (columns codepoints, uniqueID: the THINGS object that an emoji shows),
`things/vice_42d_uid_order.npy`, `things/uid_order.csv`, and from `downstream` the files `uc_merced.parquet` (columns
image, name) and `cifar100_50_20_per_class.parquet` (image, split, name). The emoji and the small encoder come with the
package. A third of the concepts is held out: agreement with people is measured on them alone. Writes

- `images`, emoji of the other concepts, and `vice.npy` and `base.npy`, vectors of each as a teacher has them;
- `triplets/{people,shuffled,reversed,control}`: blocks of 512 triplets among 48 pictures of different concepts, with
  the similarities of VICE, of VICE whose concepts were shuffled, of VICE with the other sign, and of the base model;
- `judgments`: choices about the same triplets, drawn from the probabilities of VICE;
- `human`: of the concepts held out, pictures and a similarity matrix for each group, and for all;
- `photos`: `emoji_groups`, `emoji_concepts`, `uc_merced` and `cifar100`, to learn from and to test on. The
  concepts are what the base was trained to tell apart; they are tested in a style that it never saw.

    python recipes/study/prepare.py --data path/to/data
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Image

from hf_alignet.demo import ENCODER_DIRECTORY, HELD_OUT_STYLE, demo_images
from hf_alignet.encoder import VisionEncoder
from hf_alignet.judgments import make_judgments
from hf_alignet.similarity import choice_log_probabilities, odd_of_pair, triplet_similarities
from hf_alignet.triplets import triplets_from_arrays

HELD_OUT = 3  # every third concept
NUM_BLOCKS, IMAGES_PER_BLOCK, TRIPLETS_PER_BLOCK, NUM_VALIDATION = 1200, 48, 512, 2000
STYLE = "noto"  # of the pictures that people's similarities are compared on: it has all concepts
TEST_PER_CLASS = 20  # photographs of UC Merced


def blocks(concepts: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Triplets (m, 3) of rows; TRIPLETS_PER_BLOCK in a row share IMAGES_PER_BLOCK pictures of different concepts."""
    rows_of = [np.flatnonzero(concepts == concept) for concept in np.unique(concepts)]
    found = []
    for _ in range(number):
        drawn = rng.permutation(len(rows_of))[:IMAGES_PER_BLOCK]
        pictures = np.array([rng.choice(rows_of[concept]) for concept in drawn])
        found.append(pictures[np.argsort(rng.random((TRIPLETS_PER_BLOCK, IMAGES_PER_BLOCK)), axis=1)[:, :3]])
    return np.concatenate(found)


def similarities(vectors: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    return triplet_similarities(torch.from_numpy(vectors), torch.from_numpy(triplets)).numpy()


def shuffled(vice: np.ndarray, concepts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every concept gets the vector of another one."""
    _, first, inverse = np.unique(concepts, return_index=True, return_inverse=True)
    return vice[first][rng.permutation(len(first))][inverse]


def choices(triplets: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Dataset:
    probabilities = choice_log_probabilities(torch.from_numpy(labels)).exp().numpy()
    pairs = (rng.random((len(labels), 1)) > probabilities.cumsum(1)).sum(1).clip(max=2)
    return make_judgments(triplets, odd=odd_of_pair(pairs))


def write_human(images: Dataset, vice: np.ndarray, folder: Path) -> None:
    """Pictures and similarities of each group, and of all together."""
    groups = np.asarray(images["group"][:])
    for name in [*np.unique(groups), "all"]:
        rows = np.flatnonzero((groups == name) | (name == "all"))
        place = folder / name.split(" ")[0].lower()
        images.select(rows).select_columns(["image"]).save_to_disk(place / "images")
        np.save(place / f"{place.name}.npy", vice[rows] @ vice[rows].T)
        print(f"{place.name}: {len(rows)} concepts")


def write_photos(emoji: Dataset, is_unseen: np.ndarray, data: Path, folder: Path) -> None:
    groups = emoji.rename_column("group", "label").select_columns(["image", "label"])
    is_new_style = np.asarray(emoji["style"][:]) == HELD_OUT_STYLE
    drawn_so = np.isin(emoji["concept"][:], np.asarray(emoji["concept"][:])[is_new_style])
    concepts = emoji.rename_column("concept", "label")
    merced = Dataset.from_parquet(str(data / "uc_merced.parquet")).rename_column("name", "label")
    rank = pd.Series(merced["label"][:]).groupby(merced["label"][:]).cumcount().to_numpy()
    cifar = Dataset.from_parquet(str(data / "cifar100_50_20_per_class.parquet"))
    cifar = cifar.remove_columns([name for name in ("label",) if name in cifar.column_names])
    cifar = cifar.rename_column("name", "label")
    parts = {
        "emoji_groups": (groups, ~is_unseen, is_unseen),
        "emoji_concepts": (concepts, drawn_so & ~is_new_style, is_new_style),
        "uc_merced": (merced, rank >= TEST_PER_CLASS, rank < TEST_PER_CLASS),
        "cifar100": (cifar, *(np.asarray(cifar["split"][:]) == split for split in ("train", "test"))),
    }
    for name, (images, *masks) in parts.items():
        images = images.select_columns(["image", "label"]).cast_column("image", Image())
        splits = {s: images.select(np.flatnonzero(m)) for s, m in zip(("train", "test"), masks, strict=True)}
        DatasetDict(splits).save_to_disk(folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("HF_ALIGNET_DATA")
    parser.add_argument(
        "--data", type=Path, default=data, required=data is None, help="folder with mappings/, things/, downstream/"
    )
    parser.add_argument("--output_dir", type=Path, default="data/study", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the split and the draws (%(default)s)")
    arguments = parser.parse_args()
    folder, rng = arguments.output_dir, np.random.default_rng(arguments.seed)

    mapping = pd.read_csv(arguments.data / "mappings" / "emoji_to_things.csv").drop_duplicates("codepoints")
    objects = mapping.set_index("codepoints")["uniqueID"]
    order = pd.read_csv(arguments.data / "things" / "uid_order.csv").set_index("uniqueID")["uid_index"]
    table = np.load(arguments.data / "things" / "vice_42d_uid_order.npy", allow_pickle=False).astype(np.float32)
    emoji = demo_images()
    emoji = emoji.select(np.flatnonzero(np.isin(emoji["codepoints"][:], objects.index)))
    concepts = np.asarray(emoji["concept"][:])
    vice = table[order[objects[emoji["codepoints"][:]]]]
    held_out = rng.permutation(np.unique(concepts))[::HELD_OUT]
    is_unseen = np.isin(concepts, held_out)

    subgroups = sorted(set(emoji["subgroup"][:]))
    images = emoji.select(np.flatnonzero(~is_unseen)).rename_column("subgroup", "label")
    images = images.cast_column("label", ClassLabel(names=subgroups)).select_columns(["image", "label", "concept"])
    images.save_to_disk(folder / "images")
    concepts, vice_seen = concepts[~is_unseen], vice[~is_unseen]
    base = VisionEncoder.from_pretrained(str(ENCODER_DIRECTORY)).embed(images)

    drawn = {"train": blocks(concepts, NUM_BLOCKS, rng)}
    drawn["validation"] = blocks(concepts, 1 + NUM_VALIDATION // TRIPLETS_PER_BLOCK, rng)[:NUM_VALIDATION]
    people = similarities(vice_seen, drawn["train"])
    of_base = similarities(base - base.mean(0), drawn["train"])
    # As sure of its answers as VICE: the spread of similarities in a triplet is the same
    base = (base - base.mean(0)) * np.sqrt(people.std(1).mean() / of_base.std(1).mean())
    wrong = shuffled(vice_seen, concepts, rng)
    labelled = {"people": (vice_seen, 1), "shuffled": (wrong, 1), "reversed": (vice_seen, -1), "control": (base, 1)}
    for name, (vectors, sign) in labelled.items():
        splits = {split: triplets_from_arrays(t, sign * similarities(vectors, t)) for split, t in drawn.items()}
        DatasetDict(splits).save_to_disk(folder / "triplets" / name)
    answered = {split: choices(t, similarities(vice_seen, t), rng) for split, t in drawn.items()}
    DatasetDict(answered).save_to_disk(folder / "judgments")
    np.save(folder / "vice.npy", vice_seen)
    np.save(folder / "base.npy", base.astype(np.float32))

    is_measured = is_unseen & (np.asarray(emoji["style"][:]) == STYLE)
    write_human(emoji.select(np.flatnonzero(is_measured)), vice[is_measured], folder / "human")
    write_photos(emoji, is_unseen, arguments.data / "downstream", folder / "photos")
    print(f"{len(np.unique(concepts))} concepts to learn from in {len(images)} pictures, {len(held_out)} held out")


if __name__ == "__main__":
    main()
