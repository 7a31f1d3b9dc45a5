"""The triplets of a study with their levels and right answers."""

from dataclasses import dataclass
from typing import Self

import numpy as np

NO_LEVEL = "all"
NO_ODD = -1


@dataclass(frozen=True, eq=False)
class StudyTriplets:
    """Triplets (t, 3) of rows of the images, the level of each (t,), and the right answer (t,), -1 without one."""

    triplets: np.ndarray
    levels: np.ndarray
    odd: np.ndarray

    @classmethod
    def of(cls, triplets: np.ndarray, level: str = NO_LEVEL, odd: np.ndarray | None = None) -> Self:
        """All of one level."""
        numbers = np.full(len(triplets), NO_ODD) if odd is None else odd
        return cls(np.asarray(triplets, np.int64), np.full(len(triplets), level, dtype=object), numbers)

    def __len__(self) -> int:
        return len(self.triplets)

    def __getitem__(self, rows: slice | np.ndarray) -> "StudyTriplets":
        return StudyTriplets(self.triplets[rows], self.levels[rows], self.odd[rows])

    def __add__(self, other: "StudyTriplets") -> "StudyTriplets":
        parts = zip(vars(self).values(), vars(other).values(), strict=True)
        return StudyTriplets(*(np.concatenate(part) for part in parts))
