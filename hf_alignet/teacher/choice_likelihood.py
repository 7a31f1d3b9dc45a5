"""Cross-entropy of choices and its gradient, through the matrix of all pairwise similarities.

Each similarity of a triplet is an entry of one object-by-object matrix. The cost of that matrix does not depend on the
number of triplets. Each triplet then needs only three look-ups, a softmax and three additions.
"""

from typing import Self

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor

from hf_alignet.errors import InputError
from hf_alignet.judgments import choice_counts
from hf_alignet.similarity import PAIRS, at_least_float32, odd_of_pair


class ChoiceLikelihood:
    """Triplets of n objects, with the probability that people, or a model of people, choose each pair.

    Args:
        triplets: (m, 3) integers in [0, n).
        probabilities: (m, 3) in pair order. Each row sums to 1. A single choice is one-hot.
        num_objects: n.
        weights: (m,) 0 or more, such as the number of people who judged the triplet. Default: 1 for each.
    """

    def __init__(
        self, triplets: np.ndarray, probabilities: np.ndarray, num_objects: int, weights: np.ndarray | None = None
    ):
        weights = np.ones(len(triplets)) if weights is None else weights
        columns = triplets.astype(np.int64).T
        pairs = np.stack(
            [np.maximum(columns[i], columns[j]) * num_objects + np.minimum(columns[i], columns[j]) for i, j in PAIRS]
        )
        order = pairs[0].argsort(kind="stable")  # then one of the three look-ups reads the memory in order
        self.num_objects = num_objects
        self.pairs = torch.from_numpy(pairs[:, order].ravel())  # (3 m,) flat positions in the matrix, pair by pair
        self.probabilities = torch.from_numpy(np.ascontiguousarray(probabilities[order].T)).float()  # (3, m)
        self.weights = torch.from_numpy(weights[order] / weights.sum()).float()  # (m,), the sum is 1

    def to(self, dtype: torch.dtype) -> Self:
        self.probabilities, self.weights = self.probabilities.to(dtype), self.weights.to(dtype)
        return self

    def value(self, similarities: Tensor) -> float:
        """The value of `value_and_gradient` alone, in half of the time."""
        return self._cross_entropy(self._log_probabilities(similarities))

    def value_and_gradient(self, similarities: Tensor) -> tuple[float, Tensor]:
        """Weighted mean cross-entropy in nats, and its gradient with respect to the matrix.

        Args:
            similarities: (n, n) symmetric. Only the entries below the diagonal are used.

        Returns:
            -sum_t w_t sum_p P_tp log softmax(s_t)_p, and its (n, n) gradient G, which is 0 on and above the diagonal.
            If the matrix is Z Z', the gradient with respect to Z is (G + G') Z.
        """
        log_probabilities = self._log_probabilities(similarities)
        value = self._cross_entropy(log_probabilities)
        slope = log_probabilities.exp_().sub_(self.probabilities).mul_(self.weights)
        # bincount adds in the same order with any number of threads, and is faster than the scatter functions
        return value, torch.bincount(self.pairs, slope.flatten(), similarities.numel()).view(similarities.shape)

    def named_pairs(self) -> tuple[Tensor, Tensor]:
        """The distinct pairs (u,), the larger object first; from now on similarities and gradients are those, (u,)."""
        distinct, self.pairs = torch.unique(self.pairs, return_inverse=True)
        return distinct // self.num_objects, distinct % self.num_objects

    def _log_probabilities(self, similarities: Tensor) -> Tensor:
        """(3, m), like `similarity.choice_log_probabilities`, which is slower because its rows are short."""
        chosen = at_least_float32(similarities).reshape(-1).index_select(0, self.pairs)
        return chosen.view(3, -1).log_softmax(dim=0)

    def _cross_entropy(self, log_probabilities: Tensor) -> float:
        of_triplets = (self.probabilities * log_probabilities).sum(0).mul_(self.weights)
        return -of_triplets.sum(dtype=torch.float64).item()


def pair_counts(judgments: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Distinct triplets (u, 3), and how often people kept each pair together, (u, 3) in pair order.

    Raises an InputError if the judgments contain no choice.
    """
    triplets, counts = choice_counts(judgments)
    judged = counts.any(1)
    if not judged.any():
        raise InputError("the judgments contain no choice")
    return triplets[judged], counts[judged][:, odd_of_pair(np.arange(len(PAIRS)))]


def observed_choices(judgments: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People's choices as targets. Their cross-entropy is the mean negative log-likelihood of all choices.

    Returns (u, 3) distinct triplets, (u, 3) shares of the choices in pair order, and (u,) numbers of choices. Raises
    an InputError if the judgments contain no choice.
    """
    triplets, counts = pair_counts(judgments)
    weights = counts.sum(1).astype(np.float64)
    return triplets, counts / weights[:, None], weights
