"""The answer that most people give to a triplet."""

from typing import NamedTuple

import numpy as np
from datasets import Dataset

from hf_alignet.judgments.judgment_dataset import choice_counts


class Majority(NamedTuple):
    """Triplets (u, 3) with the position (u,) that most people chose, and how many others were left out.

    Attributes:
        num_tied: triplets without a position that more people chose than any other.
        num_few: triplets with too few choices, whatever they are.
    """

    triplets: np.ndarray
    odd: np.ndarray
    num_tied: int
    num_few: int


def majority(judgments: Dataset, min_raters: int = 1) -> Majority:
    """The majority's odd one out of every triplet that has one.

    Args:
        judgments: rows of choices or of counts; checks of attention are left out.
        min_raters: how many choices a triplet needs.

    Example:
        >>> judgments = Dataset.from_dict({"triplet": [[0, 1, 2], [3, 4, 5]], "counts": [[4, 1, 0], [2, 2, 1]]})
        >>> majority(judgments).odd.tolist(), majority(judgments).num_tied
        ([0], 1)
    """
    triplets, counts = choice_counts(judgments)
    is_few = counts.sum(1) < max(min_raters, 1)
    is_tied = (counts == counts.max(axis=1, keepdims=True)).sum(1) > 1
    is_decided = ~is_few & ~is_tied
    return Majority(
        triplets[is_decided], counts[is_decided].argmax(1), int((is_tied & ~is_few).sum()), int(is_few.sum())
    )
