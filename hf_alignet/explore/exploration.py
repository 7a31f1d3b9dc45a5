"""What the page shows, as tables: models, pictures and what people chose, without anything of a browser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import RLock
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset

from hf_alignet.analysis.disagreements import disagreements
from hf_alignet.analysis.neighbours import NAMED_BY, most_moved, picture_labels
from hf_alignet.analysis.projections import (
    FEWEST_FOR_TRIMAP,
    comparable_places,
    component_places,
    has_trimap,
    principal_components,
    trimap_places,
)
from hf_alignet.errors import InputError
from hf_alignet.explore.judged_triplets import JudgedTriplets
from hf_alignet.explore.level_table import level_table
from hf_alignet.explore.nearest import nearest_table, unit_rows
from hf_alignet.explore.odd_ones import Temperatures, choice_temperatures, odd_one_table

PAGE = 24  # pictures to choose from at once
MAPPED = 10_000  # pictures on the map, drawn at random
COMPARED = 1000  # pictures among which those are looked for that moved most
MOVED = 24
COLOURED_BY = ("group", "superordinate", *NAMED_BY)  # columns, the first that has few enough categories
MOST_COLOURS = 8
TRIMAP = "TriMap"


@dataclass(eq=False)
class Exploration:
    """n pictures, and what one or two models find similar in them.

    Attributes:
        images: from `load_images`.
        embeddings: (n, d) by model, the base model first.
        judged: triplets of the pictures that people, or a teacher, judged.
        seed: of all draws.

    Raises:
        InputError: there are fewer than three pictures.
    """

    images: Dataset
    embeddings: Mapping[str, np.ndarray]
    judged: JudgedTriplets | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.images) < 3:
            raise InputError(f"an odd one out needs three pictures or more, and there are {len(self.images)}")
        self.named_by, self.labels = picture_labels(self.images, np.arange(len(self.images)))
        self._lock = RLock()  # several visitors ask at once, and each table is made once
        self._maps: dict[str, Any] = {}

    @property
    def models(self) -> list[str]:
        return list(self.embeddings)

    def name(self, row: int) -> str:
        """What to call a picture."""
        return f"{self.labels[row]} (row {row})" if self.named_by else self.labels[row]

    def find(self, text: str, page: int = 0) -> tuple[np.ndarray, int]:
        """Rows of a page of pictures whose label has this text, or whose row is this number; and how many there are.

        Args:
            text: in any case; all pictures without one.
            page: from 0.
        """
        wanted = text.strip().casefold()
        found = np.array([row for row, label in enumerate(self._folded) if wanted in label], np.int64)
        if wanted.isdigit() and int(wanted) < len(self.images):
            row = int(wanted)
            found = np.concatenate([[row], found[found != row]])
        return found[page * PAGE : (page + 1) * PAGE], len(found)

    def three(self, number: int) -> list[int]:
        """Rows of three pictures at random, others for each number."""
        rows = np.random.default_rng([self.seed, number]).choice(len(self.images), 3, replace=False)
        return [int(row) for row in rows]

    def judged_three(self, number: int) -> list[int]:
        """Rows of a judged triplet at random."""
        assert self.judged is not None
        place = np.random.default_rng([self.seed, number]).integers(len(self.judged.triplets))
        return [int(row) for row in self.judged.triplets[place]]

    def disputed_three(self, number: int) -> list[int] | None:
        """Rows of a triplet that one model answers as people do and the other does not, the surest first; or None."""
        table = self._disputed
        if not len(table):
            return None
        found = table.iloc[number % len(table)]
        return [int(found[position]) for position in ("first", "second", "third")]

    def odd_one_out(self, rows: Sequence[int | None], vectors: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """See `odd_one_table`.

        Args:
            rows: of the three pictures; None for one that is not in the dataset.
            vectors: (3, d) by model.
        """
        known = [row for row in rows if row is not None]
        is_judged = self.judged is not None and len(known) == 3
        answer = self.judged.answer(known) if is_judged and self.judged is not None else None
        judge = self.judged.judge if self.judged is not None else ""
        return odd_one_table(vectors, self.temperatures.values, answer, judge)

    def neighbours(self, row: int) -> pd.DataFrame:
        """See `nearest_table`."""
        return nearest_table(self._unit, row)

    @property
    def temperatures(self) -> Temperatures:
        with self._lock:
            return self._temperatures

    @property
    def levels(self) -> pd.DataFrame | None:
        """See `level_table`; None if nobody judged."""
        with self._lock:
            return self._levels

    @property
    def moved(self) -> list[int]:
        """Rows of the pictures whose nearest ones changed most between the two models."""
        with self._lock:
            return self._moved

    @cached_property
    def axes(self) -> list[str]:
        """The projections that `places` knows."""
        width = min(min(of_model.shape[1] for of_model in self.embeddings.values()), len(self.images) - 1)
        found = [f"components {first + 1} and {first + 2}" for first in (0, 2) if width >= first + 2]
        return found + ([TRIMAP] if has_trimap() and len(self.mapped) >= FEWEST_FOR_TRIMAP else [])

    @cached_property
    def mapped(self) -> np.ndarray:
        """Rows of the pictures on the map."""
        order = np.random.default_rng(self.seed).permutation(len(self.images))
        return np.sort(order[:MAPPED])

    def places(self, axes: str) -> Mapping[str, np.ndarray]:
        """Places (m, 2) of the mapped pictures by model, turned to those of the first (see `comparable_places`)."""
        with self._lock:
            if TRIMAP == axes and TRIMAP not in self._maps:
                raw = {name: trimap_places(of_model[self.mapped]) for name, of_model in self.embeddings.items()}
                self._maps |= comparable_places({TRIMAP: raw}, {})
            elif axes not in self._maps:
                found = {name: principal_components(of_model, 4) for name, of_model in self.embeddings.items()}
                self._maps |= comparable_places(component_places(found, self.mapped), {})
            return self._maps[axes]

    @cached_property
    def colours(self) -> tuple[list[str], np.ndarray]:
        """Names of the categories that the map colours, and the category (n,) of each picture; one without any."""
        for column in COLOURED_BY:
            if column in self.images.column_names:
                _, labels = picture_labels(
                    self.images.select_columns(column).rename_column(column, NAMED_BY[0]), np.arange(len(self.images))
                )
                names, codes = np.unique(labels, return_inverse=True)
                if 1 < len(names) <= MOST_COLOURS:
                    return names.tolist(), codes
        return ["pictures"], np.zeros(len(self.images), np.int64)

    @cached_property
    def _folded(self) -> list[str]:
        return [label.casefold() for label in self.labels]

    @cached_property
    def _unit(self) -> dict[str, np.ndarray]:
        return {name: unit_rows(of_model) for name, of_model in self.embeddings.items()}

    @cached_property
    def _temperatures(self) -> Temperatures:
        return choice_temperatures(self.embeddings, self.judged, self.seed)

    @cached_property
    def _levels(self) -> pd.DataFrame | None:
        return level_table(self.embeddings, self.judged) if self.judged is not None else None

    @cached_property
    def _moved(self) -> list[int]:
        if len(self.embeddings) < 2:
            return []
        rows = np.sort(np.random.default_rng(self.seed).permutation(len(self.images))[:COMPARED])
        base, aligned = (of_model[rows] for of_model in self.embeddings.values())
        return rows[most_moved(base, aligned, MOVED).pictures].tolist()

    @cached_property
    def _disputed(self) -> pd.DataFrame:
        if self.judged is None or len(self.embeddings) < 2:
            return pd.DataFrame()
        base, aligned = self.embeddings.values()
        return disagreements(base, aligned, self.judged.triplets, self.judged.odd)
