"""Embeddings of labelled images, and draws of a few of each class to learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.similarity import check_finite

FEWEST_CLASSES = 2
SHOWN = 5  # classes in a message


@dataclass(frozen=True, eq=False)
class Labelled:
    """n images of c classes.

    Attributes:
        embeddings: (n, d) numbers that are finite.
        labels: (n,) positions in `classes`.
        classes: c names, in any order.

    Raises:
        InputError: the numbers differ, there are fewer than two classes, or an embedding is not finite.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.embeddings) != len(self.labels):
            raise InputError(f"there are {len(self.labels)} labels for {len(self.embeddings)} embeddings")
        if len(self.classes) < FEWEST_CLASSES:
            raise InputError(f"there is only the class {', '.join(self.classes)}: at least two are needed")
        check_finite(self.embeddings)

    @property
    def chance(self) -> float:
        """The accuracy of guessing among the classes."""
        return 1 / len(self.classes)

    @property
    def sizes(self) -> np.ndarray:
        """(c,) number of images of each class."""
        return np.bincount(self.labels, minlength=len(self.classes))

    def select(self, rows: np.ndarray) -> "Labelled":
        """Some of the images, of the same classes."""
        return Labelled(self.embeddings[rows], self.labels[rows], self.classes)

    def halves(self, seed: int) -> tuple["Labelled", "Labelled"]:
        """To learn from and to test on, where nobody has divided them: of each class every second image at random."""
        rank = ranks_in_classes(self.labels, seed)
        return self.select(np.flatnonzero(rank % 2 == 0)), self.select(np.flatnonzero(rank % 2 == 1))


def only_in(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Up to five classes of the first list that the second lacks."""
    return sorted(set(first) - set(second))[:SHOWN]


def ranks_in_classes(labels: np.ndarray, seed: int | np.random.Generator) -> np.ndarray:
    """(n,) the place of each image among those of its class, which are in random order."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
    return ranks


def draw_shots(images: Labelled, shots: int, num_draws: int, seed: int) -> list[np.ndarray]:
    """Rows of `shots` images of each class, for up to `num_draws` draws that have no image in common.

    Draws without common images are independent, so that they tell how much accuracy varies with what is learned from.
    They depend on the labels and the seed alone: every model learns from the same images.

    Raises:
        InputError: a class has fewer images than shots.
    """
    fewest = int(images.sizes.argmin())
    if images.sizes[fewest] < shots:
        raise InputError(
            f"the class {images.classes[fewest]!r} has {images.sizes[fewest]} images to learn from, fewer than "
            f"{shots} shots: give fewer shots, or leave the class out"
        )
    ranks = ranks_in_classes(images.labels, seed)
    number = min(num_draws, int(images.sizes[fewest]) // shots)
    return [np.flatnonzero(ranks // shots == draw) for draw in range(number)]
