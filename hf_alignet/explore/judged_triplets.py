"""What people, or a teacher, chose: found by the three pictures, in whatever order they are shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.judgments import aggregate
from hf_alignet.judgments.judgment_dataset import COUNTS, LEVEL
from hf_alignet.judgments.rows import TRIPLET, arrow_column, column
from hf_alignet.similarity import PAIRS, choice_log_probabilities, odd_of_pair
from hf_alignet.triplets.triplet_dataset import SIMILARITIES

POSITIONS = np.arange(len(PAIRS))


@dataclass(frozen=True, eq=False)
class JudgedTriplets:
    """m triplets.

    Attributes:
        triplets: (m, 3) rows of pictures.
        counts: (m, 3) how often each picture was the odd one out; of a teacher, with which probability.
        levels: (m,) what each triplet tests, such as `coarse`, or the name of its split.
        judge: who chose, for headings: `people`, `teacher`, `simulated raters`.
    """

    triplets: np.ndarray
    counts: np.ndarray
    levels: np.ndarray
    judge: str = "people"

    @property
    def odd(self) -> np.ndarray:
        """(m,) the position that is chosen most, -1 where two are."""
        is_unique = (self.counts == self.counts.max(1, keepdims=True)).sum(1) == 1
        return np.where(is_unique, self.counts.argmax(1), -1)

    @cached_property
    def _places(self) -> dict[tuple[int, ...], int]:
        rows = map(tuple, np.sort(self.triplets, axis=1).tolist())
        places: dict[tuple[int, ...], int] = {}
        for place, triplet in enumerate(rows):
            places.setdefault(triplet, place)
        return places

    def answer(self, rows: Sequence[int]) -> np.ndarray | None:
        """(3,) counts for the pictures in this order; None if nobody judged these three."""
        place = self._places.get(tuple(sorted(rows)))
        if place is None:
            return None
        of_row = dict(zip(self.triplets[place].tolist(), self.counts[place].tolist(), strict=True))
        return np.array([of_row[row] for row in rows])


def judged_triplets(splits: Mapping[str, Dataset], judge: str | None = None) -> JudgedTriplets:
    """From labelled triplets or choices of people by split, which `load_triplets` opens.

    The level of a triplet is that of the column `level`, or else its split. Triplets without a choice are left out.

    Args:
        splits: checked by `check_triplets`, or choices.
        judge: see `JudgedTriplets`; by default `teacher` for labelled triplets, else `people`.
    """
    are_labelled = all(SIMILARITIES in data.column_names for data in splits.values())
    parts = [(_labelled if are_labelled else _chosen)(name, data) for name, data in splits.items()]
    triplets, counts, levels = (np.concatenate(part) for part in zip(*parts, strict=True))
    kept = counts.sum(1) > 0
    judge = judge or ("teacher" if are_labelled else "people")
    return JudgedTriplets(triplets[kept], counts[kept], levels[kept], judge)


def _labelled(name: str, data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    of_pairs = choice_log_probabilities(torch.from_numpy(column(data, SIMILARITIES)).double()).exp().numpy()
    return column(data, TRIPLET), of_pairs[:, odd_of_pair(POSITIONS)], np.full(len(data), name, object)


def _chosen(name: str, data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    counted = aggregate(data)
    levels = np.full(len(counted), name, object)
    if LEVEL in counted.column_names:
        known = arrow_column(counted, LEVEL).fill_null(name)
        levels = np.array(known.to_pylist(), object)
    return column(counted, TRIPLET), column(counted, COUNTS).astype(np.float64), levels
