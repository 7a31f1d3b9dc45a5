"""Pairs of images by their relation, and by their categories: all of them, or a random sample where they are many.

With 85,000 images there are 3.6 billion pairs, nearly all of them different: a sample for each relation tells as much
about each of the four. The relations are those of `hf_alignet.analysis.categories`.
"""

from typing import NamedTuple

import numpy as np

from hf_alignet.analysis.categories import RELATIONS
from hf_alignet.ranges import Count, Seed, checked

PAIRS_PER_RELATION = 200_000
PAIRS_OF_MATRIX = 1_000_000  # of all cells together
BLOCK = 8192  # pairs whose embeddings are compared at once


class PairSample(NamedTuple):
    """m measured pairs in groups, such as relations."""

    pairs: np.ndarray  # (m, 2) rows
    groups: np.ndarray  # (m,) the group of each
    totals: np.ndarray  # (g,) how many pairs there are in each group


@checked
def pairs_by_relation(codes: np.ndarray, most: Count = PAIRS_PER_RELATION, seed: Seed = 0) -> PairSample:
    """Pairs of images of each relation: all, or `most` of them drawn with replacement.

    Args:
        codes: (n, 3) of class, basic and superordinate category, see `Categories`.
        most: greatest number of pairs of a relation.
        seed: seed of the draws.

    Returns:
        The sample, whose groups are positions in `RELATIONS`.
    """
    order = np.lexsort(codes.T)  # images of one category are neighbours, at each level
    starts, ends = _blocks(codes[order])
    rng = np.random.default_rng(seed)
    drawn, totals = [], np.zeros(len(RELATIONS), np.int64)
    for relation in range(len(RELATIONS)):
        # Partners of a place: those of its wider block that are not in the narrower one
        inner, outer = (starts[relation], ends[relation]), (starts[relation + 1], ends[relation + 1])
        partners = (outer[1] - outer[0]) - (inner[1] - inner[0])
        totals[relation] = partners.sum() // 2
        if totals[relation] <= most:
            first = np.repeat(np.arange(len(order)), partners)
            number = np.arange(len(first)) - np.repeat(np.cumsum(partners) - partners, partners)
        else:
            ends_of = np.cumsum(partners)
            place = rng.integers(ends_of[-1], size=most)
            first = np.searchsorted(ends_of, place, side="right")
            number = place - (ends_of - partners)[first]
        second = outer[0][first] + number
        second += np.where(second >= inner[0][first], (inner[1] - inner[0])[first], 0)
        found = np.stack([first, second], 1)
        drawn.append(found[first < second] if totals[relation] <= most else np.sort(found, 1))
    groups = np.repeat(np.arange(len(RELATIONS)), [len(pairs) for pairs in drawn])
    return PairSample(order[np.concatenate(drawn)], groups, totals)


@checked
def pairs_by_category(categories: np.ndarray, most: Count = PAIRS_OF_MATRIX, seed: Seed = 0) -> PairSample:
    """Pairs of images of every two of c categories, also of a category with itself.

    Args:
        categories: (n,) the category of each image, from 0 to c - 1.
        most: greatest number of pairs. A cell of the matrix gets the same share of it, and at least one pair.
        seed: seed of the draws.

    Returns:
        The sample, whose groups are those of `np.triu_indices(c)`, row by row.
    """
    order = np.argsort(categories, kind="stable")
    sizes = np.bincount(categories).astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    one, other = np.triu_indices(len(sizes))
    totals = np.where(one == other, sizes[one] * (sizes[one] - 1) // 2, sizes[one] * sizes[other])
    limit = max(1, most // len(one))
    measured = np.minimum(totals, limit)
    cell = np.repeat(np.arange(len(one)), measured)
    number = np.arange(len(cell)) - np.repeat(np.cumsum(measured) - measured, measured)
    is_drawn = (totals > limit)[cell]
    number[is_drawn] = np.random.default_rng(seed).integers(totals[cell[is_drawn]])
    a, b = one[cell], other[cell]
    # Of one category: the pair (i, j), i < j, at place j (j - 1) / 2 + i; of two: row by row
    j = ((1 + np.sqrt(1 + 8 * number)) / 2).astype(np.int64)
    first = np.where(a == b, number - j * (j - 1) // 2, number // sizes[b])
    second = np.where(a == b, j, number % sizes[b])
    return PairSample(np.stack([order[starts[a] + first], order[starts[b] + second]], 1), cell, totals)


def distances(embeddings: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Euclidean distances (m,) float64 of pairs (m, 2) of rows of embeddings (n, d)."""
    found = np.empty(len(pairs))
    for start in range(0, len(pairs), BLOCK):
        first, second = pairs[start : start + BLOCK].T
        between = np.asarray(embeddings[first], np.float32) - np.asarray(embeddings[second], np.float32)
        found[start : start + BLOCK] = np.sqrt(np.einsum("ij,ij->i", between, between))
    return found


def _blocks(codes: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """First and last place, exclusive, of the block that each of n sorted places is in: itself, its three categories,
    and all."""
    n = len(codes)
    starts, ends = [np.arange(n)], [np.arange(1, n + 1)]
    for level in range(codes.shape[1]):
        is_new = np.diff(codes[:, level], prepend=-1) != 0
        first = np.flatnonzero(is_new)
        block = np.cumsum(is_new) - 1
        starts.append(first[block])
        ends.append(np.append(first[1:], n)[block])
    return [*starts, np.zeros(n, np.int64)], [*ends, np.full(n, n)]
