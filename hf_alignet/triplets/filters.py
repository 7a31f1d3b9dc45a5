"""Selects labelled triplets: by the certainty of the teacher, and by the number of uses of each image."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numba import njit

from hf_alignet.errors import InputError
from hf_alignet.ranges import Range, Share, check_fields
from hf_alignet.similarity import choice_log_probabilities, entropy

Entropy = Annotated[float, Range(0, math.log(3))]


@dataclass(frozen=True)
class LabelBounds:
    """Bounds on the choice probabilities of the teacher, `softmax(similarities)`. None means no bound.

    Raises an InputError if a bound is out of range, or above its upper bound.
    """

    min_margin: Share | None = None  # difference of the two highest probabilities
    max_margin: Share | None = None
    min_entropy: Entropy | None = None  # in nats
    max_entropy: Entropy | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("margin", "entropy"):
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low is not None and high is not None and low > high:
                raise InputError(f"`min_{name}` must not be above `max_{name}`, got {low} and {high}")

    def admit(self, similarities: np.ndarray) -> np.ndarray:
        """Whether the similarities (m, 3) of each triplet are within the bounds, (m,).

        Example:
            >>> LabelBounds(min_margin=0.5).admit(np.array([[3.0, 0.0, 0.0], [1.0, 1.0, 0.0]]))
            array([ True, False])
        """
        is_admitted = np.ones(len(similarities), bool)
        if self == LabelBounds():
            return is_admitted
        log_probabilities = choice_log_probabilities(torch.from_numpy(similarities))
        highest = log_probabilities.exp().topk(2, dim=-1).values
        measures = {"margin": highest[:, 0] - highest[:, 1], "entropy": entropy(log_probabilities)}
        for name, values in measures.items():
            low, high = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if low is not None:
                is_admitted &= values.numpy() >= low
            if high is not None:
                is_admitted &= values.numpy() <= high
        return is_admitted


@njit(cache=True, nogil=True)
def take_triplets(
    triplets: np.ndarray, is_admitted: np.ndarray, uses: np.ndarray, max_uses: int, number: int
) -> tuple[np.ndarray, int]:
    """Takes the first `number` admitted triplets in which no image has been used `max_uses` times.

    It adds to `uses` (n,), the number of uses of each image. It returns the positions of the taken triplets in
    ascending order, and the number of triplets that were checked.
    """
    taken = np.empty(min(number, len(triplets)), np.int64)
    count = 0
    for t in range(len(triplets)):
        if count == number:
            return taken, t
        a, b, c = triplets[t]
        if is_admitted[t] and uses[a] < max_uses and uses[b] < max_uses and uses[c] < max_uses:
            uses[a] += 1
            uses[b] += 1
            uses[c] += 1
            taken[count] = t
            count += 1
    return taken[:count], len(triplets)
