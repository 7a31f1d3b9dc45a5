"""Stimuli and soft choices for `tiny-imagenet`, from what `recipes/things-vit-tiny/prepare.py` wrote.

Takes the photographs of classes that are not held out, without those only measured on. Writes `images`, all
of them, to make triplets of; `stimuli`, some of each class, to fit the teacher to; `vice`, the vectors of their
concepts as a VICE that is sure of them; and `judgments`, choices about random stimuli of three classes, drawn
from the probabilities of that VICE.

    python recipes/tiny-imagenet/prepare.py
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict

from hf_alignet.images.opening import load_images
from hf_alignet.judgments import make_judgments
from hf_alignet.similarity import odd_of_pair
from hf_alignet.teacher import Vice
from hf_alignet.triplets import load_triplets

HELD_OUT_PER_CLASS = 20  # pictures of each class that are only measured on, as in things-vit-tiny
STIMULI_PER_CLASS = 20
NUM_TRAIN, NUM_TEST = 100_000, 10_000


def training_rows(images: Dataset, unseen: Dataset) -> np.ndarray:
    """Rows of the photographs that nothing is measured on."""
    labels = np.asarray(images["label"][:])
    is_measured = pd.Series(labels).groupby(labels).cumcount().to_numpy() < HELD_OUT_PER_CLASS
    return np.flatnonzero(~is_measured & ~np.isin(labels, labels[np.unique(unseen["triplet"][:])]))


def draw_choices(vice: Vice, labels: np.ndarray, number: int, rng: np.random.Generator) -> Dataset:
    """Judgments of random stimuli of three different classes."""
    triplets = rng.integers(len(labels), size=(2 * number, 3))
    a, b, c = labels[triplets].T
    triplets = triplets[(a != b) & (a != c) & (b != c)][:number]
    probabilities = vice.choice_probabilities(triplets)
    pairs = (rng.random((number, 1)) > probabilities.cumsum(1)).sum(1).clip(max=2)
    return make_judgments(triplets, odd=odd_of_pair(pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default="data/things-vit-tiny", help="(%(default)s)")
    parser.add_argument("--output_dir", type=Path, default="data/tiny-imagenet", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (%(default)s)")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)

    images = load_images(str(arguments.data))
    images = images.select(training_rows(images, load_triplets(str(arguments.data))["unseen_classes"]))
    labels = np.asarray(images["label"][:])
    stimuli = np.flatnonzero(pd.Series(labels).groupby(labels).cumcount() < STIMULI_PER_CLASS)
    table = np.load(arguments.data / "class_vectors.npy", allow_pickle=False)
    vice = Vice.from_embedding(table[labels[stimuli]])  # the published one comes without variances
    judgments = draw_choices(vice, labels[stimuli], NUM_TRAIN + NUM_TEST, rng)
    splits = DatasetDict(
        train=judgments.select(range(NUM_TRAIN)), test=judgments.select(range(NUM_TRAIN, NUM_TRAIN + NUM_TEST))
    )
    images.save_to_disk(arguments.output_dir / "images")
    images.select(stimuli).save_to_disk(arguments.output_dir / "stimuli")
    vice.save_pretrained(arguments.output_dir / "vice")
    splits.save_to_disk(arguments.output_dir / "judgments")
    print(f"{len(images)} photographs of {len(np.unique(labels))} classes, {len(stimuli)} of them stimuli")


if __name__ == "__main__":
    main()
