"""Samples triplets: all triplets that follow a rule, in a random order of which any part can be computed directly.

The i-th triplet depends only on i and the seed. The triplets of a rule are numbered from 0 to N - 1, and a keyed
permutation of these numbers puts them in random order. So no triplet is drawn twice, parts of the order are disjoint,
and any number of processes can share the work. AligNet (Muttenthaler et al. 2025, A.1.2) samples at the boundaries of
k-means clusters. Its authors also released triplets within, between and at the boundaries of classes.
"""

import math
from typing import Literal

import numpy as np
from numba import njit

from hf_alignet.errors import InputError
from hf_alignet.ranges import Seed, checked

Sampling = Literal["cluster_boundary", "class_boundary", "within_class", "between_class", "random"]

WITHIN, BOUNDARY, BETWEEN = range(3)
RULES = {
    "cluster_boundary": BOUNDARY,
    "class_boundary": BOUNDARY,
    "within_class": WITHIN,
    "between_class": BETWEEN,
    "random": WITHIN,  # a single group
}
MAX_TRIPLETS = 2**62  # so that intermediate products stay below 2**64
ROUNDS = 5
ORDERS = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])


class TripletSampler:
    """All triplets of different images that follow a rule, in random order. The images of each have random order too.

    Args:
        sampling: `cluster_boundary` and `class_boundary`: two images of one group, the third of another group.
            `within_class`: all of one group. `between_class`: of three groups. `random`: any three images.
        groups: (n,) integers, the cluster or class of each image. Images with a negative number are not used. `random`
            does not use the groups.
        weight_equally: each group gives the pair (or all three) equally often. Otherwise each triplet has the same
            probability, so a group of twice the size gives four times the pairs.
        seed: seed of the order.

    Raises:
        InputError: there are too few images or groups for a triplet, or too many triplets for 62-bit numbers.

    Attributes:
        num_triplets: number of triplets, at most 2**62. With `weight_equally`, the order ends when the smallest group
            has no more triplets.

    Example:
        >>> sampler = TripletSampler("class_boundary", np.array([7, 7, 4, 4]))
        >>> sampler.num_triplets, sampler.draw(0, 4).shape
        (4, (4, 3))
    """

    @checked
    def __init__(self, sampling: Sampling, groups: np.ndarray, weight_equally: bool = False, seed: Seed = 0):
        groups = np.asarray(groups)
        groups = np.where(groups < 0, -1, 0 if sampling == "random" else groups)
        order = np.argsort(groups, kind="stable")
        order = order[np.searchsorted(groups[order], 0) :]
        starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
        sizes = np.diff(starts, append=len(order))
        _check(sampling, sizes)
        rule = RULES[sampling]
        numbers = [_count(rule, len(order), *group) for group in zip(starts.tolist(), sizes.tolist(), strict=True)]
        if not any(numbers):
            raise InputError(f"no triplet follows {sampling}: groups are too small (the largest has {sizes.max()})")
        if weight_equally:
            if rule == BETWEEN or sampling == "random":
                raise InputError(f"`sampling={sampling}` has no groups: leave out `weight_equally`")
            has_any = np.array(numbers) > 0
            starts, sizes, numbers = starts[has_any], sizes[has_any], [number for number in numbers if number]
        self.num_triplets = len(numbers) * min(numbers) if weight_equally else sum(numbers)
        if (max(numbers) if weight_equally else self.num_triplets) >= MAX_TRIPLETS:
            raise InputError(
                f"{self.num_triplets} triplets of {len(order)} images are more than the limit of 2**62; use fewer "
                "images, or more and smaller groups"
            )
        self.num_triplets = min(self.num_triplets, MAX_TRIPLETS)
        rng = np.random.default_rng(seed)
        self._arguments = (
            *(rule, weight_equally, order.astype(np.int32), starts, sizes),
            np.array(numbers, np.uint64),
            np.cumsum(numbers[:1] if weight_equally else numbers, dtype=np.uint64),  # groups in turn need no sum
            rng.integers(2**64, size=(ROUNDS, 2), dtype=np.uint64) | np.array([1, 0], np.uint64),
        )

    def draw(self, start: int, stop: int) -> np.ndarray:
        """The triplets (stop - start, 3) int32 at these places of the order. Raises an IndexError for other places."""
        if not 0 <= start <= stop <= self.num_triplets:
            raise IndexError(f"there is no part {start} to {stop} of {self.num_triplets} triplets")
        triplets = np.empty((stop - start, 3), np.int32)
        _fill(triplets, np.uint64(start), *self._arguments)
        return triplets


def _check(sampling: Sampling, sizes: np.ndarray) -> None:
    rule, what = RULES[sampling], "clusters" if "cluster" in sampling else "classes"
    if sizes.sum() < 3:
        raise InputError(f"a triplet needs three images, but there are {sizes.sum()}")
    needed = {WITHIN: 1, BOUNDARY: 2, BETWEEN: 3}[rule]
    if len(sizes) < needed:
        raise InputError(f"{sampling} needs images of at least {needed} {what}, but the images have {len(sizes)}")


def _count(rule: int, total: int, start: int, size: int) -> int:
    """Number of triplets that belong to a group: with their pair in it, or all three images, or the middle image."""
    if rule == WITHIN:
        return math.comb(size, 3)
    if rule == BOUNDARY:
        return math.comb(size, 2) * (total - size)
    return start * size * (total - start - size)


@njit(cache=True, nogil=True)
def _bits(size: np.uint64) -> np.uint64:
    """Bits for the numbers below `size`, at least 8: with fewer, a permutation of few rounds is not random."""
    bits = np.uint64(8)
    while size > np.uint64(1) << bits:
        bits += np.uint64(1)
    return bits


@njit(cache=True, nogil=True)
def _scramble(x: np.uint64, mask: np.uint64, shift: np.uint64, keys: np.ndarray, tweak: np.uint64) -> np.uint64:
    """A permutation of the numbers up to `mask` = 2**bits - 1, because each step of a round is invertible."""
    for i in range(ROUNDS):
        key = (tweak ^ keys[i, 1]) * keys[i, 0]
        key ^= key >> np.uint64(32)  # a small mask would keep only the last bits of the tweak
        x = (x * keys[i, 0] + key) & mask
        x ^= x >> shift
    return x


@njit(cache=True, nogil=True)
def _permute(x: np.uint64, size: np.uint64, bits: np.uint64, keys: np.ndarray, tweak: np.uint64) -> np.uint64:
    """A permutation of the numbers below `size`. Each `tweak` gives another one."""
    mask, shift = (np.uint64(1) << bits) - np.uint64(1), (bits + np.uint64(1)) >> np.uint64(1)
    x = _scramble(x, mask, shift, keys, tweak)
    while x >= size:  # follow the cycle until the number is below again
        x = _scramble(x, mask, shift, keys, tweak)
    return x


@njit(cache=True, nogil=True)
def _pair_at(number: np.uint64) -> tuple[np.uint64, np.uint64]:
    """(i, j) with i < j at place C(j, 2) + i. It is exact for groups of up to 47 million images."""
    j = np.uint64((1.0 + math.sqrt(1.0 + 8.0 * np.float64(number))) / 2.0)
    return number - j * (j - np.uint64(1)) // np.uint64(2), j


@njit(cache=True, nogil=True)
def _choose_3(n: np.uint64) -> np.uint64:
    return n * (n - np.uint64(1)) // np.uint64(2) * (n - np.uint64(2)) // np.uint64(3)


@njit(cache=True, nogil=True)
def _triple_at(number: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64]:
    """(i, j, k) with i < j < k at place C(k, 3) + C(j, 2) + i."""
    one = np.uint64(1)
    k = max(np.uint64(np.cbrt(6.0 * np.float64(number))) + one, np.uint64(2))
    while _choose_3(k + one) <= number:
        k += one
    while _choose_3(k) > number:
        k -= one
    i, j = _pair_at(number - _choose_3(k))
    return i, j, k


@njit(cache=True, nogil=True)
def _fill(
    triplets: np.ndarray,
    first: np.uint64,
    rule: int,
    weight_equally: bool,
    order: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    numbers: np.ndarray,
    ends: np.ndarray,
    keys: np.ndarray,
) -> None:
    """Fills `triplets` (m, 3) with the triplets from place `first` on.

    `order` has the images sorted by group. The k groups have their first position in `starts`, their numbers of images
    in `sizes`, their numbers of triplets in `numbers`, and the cumulative sum of these in `ends`. `weight_equally`
    takes the groups in turn, in a new random order each round. `keys` belong to the permutations.
    """
    num_groups, total = np.uint64(len(sizes)), np.uint64(len(order))
    everything, half = ~np.uint64(0), np.uint64(32)
    bits_of_groups, bits_of_all = _bits(num_groups), _bits(ends[-1])
    bits_of_number = np.array([_bits(number) for number in numbers])
    for row in range(len(triplets)):
        place = first + np.uint64(row)
        if weight_equally:
            number = place // num_groups
            group = np.int64(_permute(place - number * num_groups, num_groups, bits_of_groups, keys, number))
            number = _permute(number, numbers[group], bits_of_number[group], keys, np.uint64(group))
        else:
            number = _permute(place, ends[-1], bits_of_all, keys, np.uint64(0))
            group = np.int64(np.searchsorted(ends, number, side="right"))
            number -= ends[group] - numbers[group]
        start, size = np.uint64(starts[group]), np.uint64(sizes[group])
        if rule == WITHIN:
            a, b, c = _triple_at(number)
            a, b, c = start + a, start + b, start + c
        elif rule == BOUNDARY:
            others = total - size
            pair = number // others
            c = number - pair * others
            a, b = _pair_at(pair)
            a, b, c = start + a, start + b, c + size if c >= start else c
        else:
            rest = number // size
            b = start + (number - rest * size)
            c = rest // start
            a, c = rest - c * start, start + size + c
        # One of the six orders, from the top bits of a permutation of all 64-bit numbers
        bits = _scramble(place, everything, half, keys, everything)
        positions = ORDERS[np.int64(((bits >> half) * np.uint64(6)) >> half)]
        triplets[row, positions[0]] = order[a]
        triplets[row, positions[1]] = order[b]
        triplets[row, positions[2]] = order[c]
