"""Where a model is right: accuracy per level, per category of concepts, per dimension of human similarity."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pandas as pd

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.odd_one_out import odd_positions
from hf_alignet.evaluation.statistics.intervals import share_correct
from hf_alignet.metric import Metric
from hf_alignet.ranges import Range, checked, row_numbers
from hf_alignet.similarity import PAIRS, odd_of_pair
from hf_alignet.similarity.products import measured_similarities


def accuracy_by_group(
    correct: np.ndarray,
    groups: Sequence[str | None] | np.ndarray,
    triplets: np.ndarray | None = None,
) -> dict[str, Metric]:
    """Share of right triplets in each group that has any, sorted by the name of the group.

    Args:
        correct: (m,) bool.
        groups: (m,) group of each triplet, such as its level; a triplet with None or NaN is in no group.
        triplets: (m, 3) rows of the objects, for intervals over objects.

    Raises:
        InputError: the numbers of groups and triplets differ.
    """
    if len(groups) != len(correct):
        raise InputError(f"there are {len(groups)} groups for {len(correct)} triplets; give one for each")
    codes, names = pd.factorize(np.asarray(groups, dtype=object), sort=True)
    return {str(name): _of(codes == code, correct, triplets) for code, name in enumerate(names)}


@checked
def accuracy_by_category(
    correct: np.ndarray,
    triplets: np.ndarray,
    categories: pd.DataFrame,
    at_least: Annotated[int, Range(1, 3)] = 1,
) -> dict[str, Metric]:
    """Share of right triplets of each category of concepts that has any; a triplet may count in several.

    Args:
        correct: (m,) bool.
        triplets: (m, 3) rows of `categories`.
        categories: one row a concept, one column a category, true or 1 where the concept belongs to it.
        at_least: how many of a triplet's three objects belong to a category in which it counts.

    Raises:
        InputError: `at_least` is not 1, 2 or 3, or a triplet points outside the concepts.
    """
    triplets = row_numbers(triplets, len(categories), "the triplets", "concepts")
    found = {}
    for name in categories.columns:
        is_member = categories[name].to_numpy().astype(bool)
        is_in = is_member[triplets].sum(1) >= at_least
        if is_in.any():
            found[str(name)] = _of(is_in, correct, triplets)
    return found


def leading_dimensions(human: np.ndarray, triplets: np.ndarray, odd: np.ndarray | None = None) -> np.ndarray:
    """The dimension of human similarity that matters most in each triplet, (m,) int64.

    It is the largest dimension of the mean embedding of the two most similar objects (gLocal's analysis of failures).

    Args:
        human: (n, k) embedding, such as VICE's or SPoSE's.
        triplets: (m, 3) rows of it.
        odd: (m,) positions that people chose; the other two objects are the most similar ones. None takes the pair
            with the largest dot product in `human`, and the first of several such pairs.

    Raises:
        InputError: a triplet points outside the embedding.
    """
    triplets = row_numbers(triplets, len(human), "the triplets", "rows of the human embedding")
    if odd is None:
        pair = measured_similarities(np.asarray(human), triplets).argmax(-1)
    else:
        pair = odd_of_pair(odd_positions(odd, triplets))
    kept = np.take_along_axis(triplets, np.array(PAIRS)[pair], axis=1)
    return (human[kept[:, 0]] + human[kept[:, 1]]).argmax(1)


def _of(is_in: np.ndarray, correct: np.ndarray, triplets: np.ndarray | None) -> Metric:
    return share_correct(correct[is_in], None if triplets is None else triplets[is_in])
