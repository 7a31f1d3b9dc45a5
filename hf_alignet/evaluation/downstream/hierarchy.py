"""The class hierarchy of BREEDS (Santurkar, Tsipras & Madry 2021): superclasses of WordNet ids.

The folder holds the published `class_hierarchy.txt`, one parent and child in each line, and `node_names.txt`, an id
and its name in each line, of the repository MadryLab/BREEDS-Benchmarks.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from hf_alignet.errors import InputError

ENTITY, LIVING, NONLIVING = "n00001740", "n00004258", "n00021939"


class Breed(NamedTuple):
    """What a benchmark takes from the hierarchy."""

    ancestor: str  # whose descendants count
    level: int  # of the superclasses below the root
    num_subclasses: int  # of each superclass, half of them source and half target


BREEDS = {
    "entity13": Breed(ENTITY, 3, 20),
    "entity30": Breed(ENTITY, 4, 8),
    "living17": Breed(LIVING, 5, 4),
    "nonliving26": Breed(NONLIVING, 5, 4),
}


@dataclass(frozen=True)
class Hierarchy:
    """Classes and what lies above them.

    Attributes:
        children: ids of the children of each node.
        names: names of nodes.
    """

    children: dict[str, list[str]]
    names: dict[str, str]

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads the published files. Raises an InputError if they cannot be read."""
        folder = Path(folder).expanduser()
        children: dict[str, list[str]] = defaultdict(list)
        for parent, child in _pairs(folder / "class_hierarchy.txt", " "):
            children[parent].append(child)
        return cls(dict(children), dict(_pairs(folder / "node_names.txt", "\t")))

    def superclasses(self, breed: Breed, known: set[str]) -> dict[str, list[str]]:
        """The sorted ids of `known` classes below each node at the level, below the ancestor; nodes without are left
        out."""
        inside = set(self._below(breed.ancestor))
        nodes = {ENTITY}
        for _ in range(breed.level):
            nodes = {child for node in nodes for child in self.children.get(node, ())}
        found = {node: sorted(set(self._below(node)) & known) for node in sorted(nodes & inside)}
        return {node: classes for node, classes in found.items() if classes}

    def _below(self, node: str) -> list[str]:
        """The node and all nodes under it."""
        found, left = [], [node]
        while left:
            found.append(left.pop())
            left += self.children.get(found[-1], ())
        return found


def _pairs(file: Path, separator: str) -> list[tuple[str, str]]:
    try:
        lines = [line.strip().partition(separator) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the hierarchy of BREEDS {file}: {error}") from error
    if not all(first and second for first, _, second in lines):
        raise InputError(f"{file} must have two words in each line, as BREEDS publishes it")
    return [(first, second.strip()) for first, _, second in lines]
