"""Ratings of pairs in long form: one row a rating, with the two stimuli, the rating and, if known, who gave it."""

from collections.abc import Callable, Sequence

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.judgments.column_names import NAMES, STEMS, plain
from hf_alignet.judgments.judgment_dataset import PARTICIPANT
from hf_alignet.judgments.similarity_matrices import MatrixKind

PLACES = (("a", "b"), ("1", "2"), ("left", "right"), ("i", "j"), ("x", "y"))
ENDS = ("", "name", "filename", "file")
KINDS: dict[str, MatrixKind | None] = {
    **dict.fromkeys(("similarity", "sim"), "similarity"),
    **dict.fromkeys(("dissimilarity", "dissim", "distance", "dist"), "dissimilarity"),
    **dict.fromkeys(("rating", "judgment", "judgement", "score", "value", "response"), None),
}

Pairs = tuple[int, int, int, int | None]  # columns of the two stimuli, the rating and the participant


def find_pairs(header: Sequence[str]) -> Pairs | None:
    """The columns of a table in long form; None if it is no such table.

    Example:
        >>> find_pairs(["subject", "Image A", "Image B", "rating"])
        (1, 2, 3, 0)
    """
    names = [plain(name) for name in header]
    ratings = [names.index(name) for name in KINDS if name in names]
    pairs = [
        (names.index(stem + first + end), names.index(stem + second + end))
        for stem in STEMS
        for first, second in PLACES
        for end in ENDS
        if {stem + first + end, stem + second + end} <= set(names)
    ]
    if not ratings or not pairs:
        return None
    return *pairs[0], ratings[0], next((names.index(name) for name in NAMES[PARTICIPANT] if name in names), None)


def read_pairs(
    rows: Sequence[Sequence[str]], pairs: Pairs, number: Callable[[str], float | None], source: str
) -> tuple[np.ndarray, list[str], MatrixKind | None]:
    """The matrix of a table in long form.

    A pair that was rated several times, in whatever order, gets the mean of its ratings.

    Args:
        rows: the header and the rows.
        pairs: its columns, as `find_pairs` says.
        number: the number in a cell; NaN for no rating, None for other text.
        source: name of the table, for messages.

    Returns:
        (n, n), or (p, n, n) for p participants, NaN for pairs without a rating; the names of the stimuli in the order
        in which they first appear; and the kind, if the name of the column says it.

    Raises:
        InputError: a rating is no number, or a stimulus has no name.
    """
    first, second, rating, person = pairs
    values = [number(row[rating]) for row in rows[1:]]
    if None in values:
        line = values.index(None)
        raise InputError(f"row {line + 2} of {source} has the rating {rows[line + 1][rating]!r}, which is no number")
    unnamed = next((k for k, row in enumerate(rows[1:]) if not (row[first] and row[second])), None)
    if unnamed is not None:
        raise InputError(f"row {unnamed + 2} of {source} has a rating, but not the names of two stimuli")
    ratings = np.array(values, np.float64)
    names = list(dict.fromkeys(name for row in rows[1:] for name in (row[first], row[second])))
    people = list(dict.fromkeys("" if person is None else row[person] for row in rows[1:]))
    places = {name: place for place, name in enumerate(names)}, {name: place for place, name in enumerate(people)}
    i, j = (np.array([places[0][row[column]] for row in rows[1:]]) for column in (first, second))
    p = np.array([places[1]["" if person is None else row[person]] for row in rows[1:]])
    sums, counts = (np.zeros((len(people), len(names), len(names))) for _ in range(2))
    is_rated = ~np.isnan(ratings)
    for one, other in ((i, j), (j, i)):
        np.add.at(sums, (p[is_rated], one[is_rated], other[is_rated]), ratings[is_rated])
        np.add.at(counts, (p[is_rated], one[is_rated], other[is_rated]), 1)
    matrices = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return matrices if len(people) > 1 else matrices[0], names, KINDS[plain(rows[0][rating])]
