"""Categories of images at three levels: the class, its basic category, and the superordinate category above both.

A Siamese cat is of the class of that name, of the basic category cats, and of the superordinate category animals. The
levels come from columns of the images, from a table, or from WordNet ids through the published hierarchy of BREEDS.
Two images have one of four relations, by the lowest category that they have in common: see `RELATIONS`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa

from hf_alignet.errors import InputError
from hf_alignet.evaluation.downstream.hierarchy import ENTITY, Breed, Hierarchy

LEVELS = ("class", "basic", "superordinate")
RELATIONS = ("same class", "same basic category", "same superordinate category", "different")
DIFFERENT = 3  # position in RELATIONS
# Levels of the hierarchy of BREEDS below its root: animal, apparel, conveyance, food …; dog, snake, car, ball …
BREEDS_SUPERORDINATE, BREEDS_BASIC = 2, 5
FEWEST_SUPERORDINATE = 2


@dataclass(frozen=True, eq=False)
class Categories:
    """The categories of n images, those of a dataset that have one at each level.

    Attributes:
        rows: (n,) their rows in the dataset, ascending.
        codes: (n, 3) positions in `names`, of class, basic and superordinate category.
        names: of each level, sorted.
    """

    rows: np.ndarray
    codes: np.ndarray
    names: tuple[list[str], list[str], list[str]]

    @classmethod
    def of_names(cls, names: Sequence[Sequence[str | None]]) -> Self:
        """From the names of the three categories of each image; an image without one of them is left out.

        Raises:
            InputError: a category lies in two of the next level, or there are fewer than two superordinate ones.
        """
        table = pd.DataFrame(list(names), columns=list(LEVELS)).dropna().astype(str)
        for low, high in zip(LEVELS, LEVELS[1:], strict=False):
            of_low = table[[low, high]].drop_duplicates()
            twice = of_low[of_low[low].duplicated()]
            if len(twice):
                name = twice[low].iloc[0]
                both = ", ".join(sorted(of_low[high][of_low[low] == name]))
                raise InputError(
                    f"the {low} category {name!r} is in two {high} categories, {both}: rename one of them"
                )
        if table.superordinate.nunique() < FEWEST_SUPERORDINATE:
            found = ", ".join(table.superordinate.unique()) or "none"
            raise InputError(f"the images need two superordinate categories or more, and have {found}")
        coded = [np.unique(table[level].to_numpy(str), return_inverse=True) for level in LEVELS]
        first, second, third = (names.tolist() for names, _ in coded)
        return cls(table.index.to_numpy(), np.stack([codes for _, codes in coded], 1), (first, second, third))

    @property
    def parents(self) -> tuple[np.ndarray, np.ndarray]:
        """The basic category of each class, and the superordinate category of each basic one."""
        found = []
        for level in (0, 1):
            of_name = np.zeros(len(self.names[level]), np.int64)
            of_name[self.codes[:, level]] = self.codes[:, level + 1]
            found.append(of_name)
        return found[0], found[1]


def categories_of_columns(columns: Sequence[Sequence[str | None]]) -> Categories:
    """From three columns of n names each: classes, basic and superordinate categories; see `Categories.of_names`."""
    return Categories.of_names(list(zip(*columns, strict=True)))


def categories_of_table(labels: Sequence[str | None], table: Mapping[str, tuple[str, str]]) -> Categories:
    """From the class of each image, and the basic and superordinate category of each class; see `read_table`."""
    known = [(label, *table.get(str(label), (None, None))) for label in labels]
    _check_some(known, labels, "the table of categories")
    return Categories.of_names(known)


def categories_of_breeds(labels: Sequence[str | None], hierarchy: Hierarchy) -> Categories:
    """From the WordNet id of each image's class, by the hierarchy of BREEDS.

    Superordinate categories are its nodes two levels below the root (animal, conveyance …), basic categories those
    five levels below it (dog, car …); a class that lies higher is a basic category of its own.
    """
    wnids = {str(label) for label in labels}
    basic = _above(hierarchy, BREEDS_BASIC, wnids)
    superordinate = _above(hierarchy, BREEDS_SUPERORDINATE, wnids)
    named = {w: _named(hierarchy, (w, basic.get(w, w), superordinate[w])) for w in wnids & superordinate.keys()}
    known = [named.get(str(label), (str(label), None, None)) for label in labels]
    _check_some(known, labels, "the hierarchy of BREEDS, whose classes are WordNet ids such as n01440764")
    return Categories.of_names(known)


def read_table(file: str | Path) -> dict[str, tuple[str, str]]:
    """Basic and superordinate category by class, from a CSV file with the columns class, basic and superordinate.

    Raises:
        InputError: the file cannot be read, lacks a column or a cell, or tells of a class twice.
    """
    try:
        table = pd.read_csv(Path(file).expanduser(), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the table of categories {file}: {error}") from error
    missing = [level for level in LEVELS if level not in table.columns]
    if missing:
        raise InputError(f"{file} lacks the column {' and '.join(missing)}; it has {', '.join(table.columns)}")
    cells = table[list(LEVELS)].apply(lambda column: column.str.strip())
    empty, twice = (cells == "").any(axis=1), cells["class"].duplicated()
    for is_bad, what in ((empty, "has an empty cell"), (twice, "tells of a class again")):
        if is_bad.any():
            raise InputError(f"line {is_bad.argmax() + 2} of {file} {what}: {','.join(cells[is_bad].iloc[0])}")
    return {name: (basic, above) for name, basic, above in cells.itertuples(index=False)}


def relations(codes: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Positions in `RELATIONS` (m,) of pairs of rows (m,) of codes (n, 3): at how many levels the two differ."""
    return (codes[first] != codes[second]).sum(1)


def text_column(table: pa.Table, name: str) -> list[str | None]:
    """A column of a table of images as text; None where a cell is empty."""
    return [None if value is None else str(value) for value in table[name].to_pylist()]


def _above(hierarchy: Hierarchy, level: int, wnids: set[str]) -> dict[str, str]:
    """The node at a level that each class is, or lies below."""
    nodes = hierarchy.superclasses(Breed(ENTITY, level, 0), wnids)
    return {wnid: node for node, classes in nodes.items() for wnid in classes}


def _named(hierarchy: Hierarchy, nodes: tuple[str, str, str]) -> tuple[str, str, str]:
    """The class by its first name and its id, the categories by their first names, where two have the same by both."""
    first, *others = nodes
    short = {node: hierarchy.names.get(node, node).split(",")[0] for node in nodes}
    basic, above = (short[node] for node in others)
    return f"{short[first]} ({first})", f"{basic} ({others[0]})" if _is_shared(hierarchy, basic) else basic, above


def _is_shared(hierarchy: Hierarchy, name: str) -> bool:
    return sum(other.split(",")[0] == name for other in hierarchy.names.values()) > 1


def _check_some(known: Sequence[tuple], labels: Sequence[str | None], where: str) -> None:
    if all(superordinate is None for *_, superordinate in known):
        raise InputError(f"none of the classes of the images, such as {labels[0]!r}, is in {where}")
