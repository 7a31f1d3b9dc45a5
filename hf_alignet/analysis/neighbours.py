"""What alignment moved: the pictures whose nearest pictures changed most, and what to call them."""

from dataclasses import dataclass

import numpy as np
from datasets import ClassLabel, Dataset

from hf_alignet.ranges import Count, checked

NAMED_BY = ("label", "concept")  # columns; a file name may be nobody's business
NUM_NEIGHBOURS, NUM_MOVED = 3, 6


@dataclass(frozen=True)
class Moved:
    """The m pictures that moved most. All numbers are positions among the n pictures that were compared."""

    pictures: np.ndarray  # (m,) the one that moved most first
    before: np.ndarray  # (m, k) the pictures nearest to each, the nearest first
    after: np.ndarray  # (m, k)


@checked
def most_moved(base: np.ndarray, aligned: np.ndarray, number: Count = NUM_MOVED) -> Moved:
    """Finds the pictures that lost or gained neighbours over the longest way, by cosine similarity.

    A picture moved as far as the ranks say that its k nearest pictures have on the other side.

    Args:
        base: (n, d) embeddings before.
        aligned: (n, d) after.
        number: how many pictures to give; fewer if there are fewer.
    """
    orders = [np.argsort(_distances(embeddings), axis=1, kind="stable") for embeddings in (base, aligned)]  # (n, n)
    ranks = [np.argsort(order, axis=1) for order in orders]
    before, after = (order[:, : min(NUM_NEIGHBOURS, len(base) - 1)] for order in orders)
    way = np.take_along_axis(ranks[1], before, 1).sum(1) + np.take_along_axis(ranks[0], after, 1).sum(1)
    pictures = np.argsort(-way, kind="stable")[:number]
    return Moved(pictures, before[pictures], after[pictures])


def _distances(embeddings: np.ndarray) -> np.ndarray:
    """(n, n) cosine distances; each picture is furthest from itself."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.where(lengths == 0, 1, lengths)
    distances = 1 - unit @ unit.T
    np.fill_diagonal(distances, np.inf)
    return distances


def picture_labels(images: Dataset, rows: np.ndarray) -> tuple[str | None, list[str]]:
    """What to call pictures: by their class or concept, or else by their row; never by their file.

    Returns:
        The column that the labels come from, None for rows; and a label for each of the `rows` (m,).
    """
    for column in NAMED_BY:
        if column not in images.column_names:
            continue
        feature, values = images.features[column], images.select_columns(column)[rows.tolist()][column]
        if isinstance(feature, ClassLabel):
            return column, [feature.int2str(value) if value is not None and value >= 0 else "none" for value in values]
        if all(isinstance(value, str) for value in values):
            return column, values
        if all(isinstance(value, int) for value in values):
            return column, [f"class {value}" for value in values]
    return None, [f"row {row}" for row in rows]
