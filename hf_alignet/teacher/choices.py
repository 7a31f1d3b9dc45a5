"""Cross-entropy of choices and its gradient, by way of the matrix of all pairwise similarities.

Every similarity of a triplet is an entry of one object-by-object matrix. Computing that matrix costs the same whatever
the number of triplets; what is left to do per triplet is three look-ups, a softmax and three additions.
"""

from typing import Self

import numpy as np
import torch
from torch import Tensor

from hf_alignet.similarity import PAIRS, choice_log_probabilities


class Choices:
    """Triplets of n objects with the probabilities that people, or a model of them, choose each pair.

    Args:
        triplets: (m, 3) integers in [0, n).
        probabilities: (m, 3) in pair order, each row summing to 1; one-hot for single choices.
        weights: (m,) non-negative, such as the number of people who judged the triplet; 1 each by default.
        num_objects: n.
    """

    def __init__(
        self, triplets: np.ndarray, probabilities: np.ndarray, num_objects: int, weights: np.ndarray | None = None
    ):
        weights = np.ones(len(triplets)) if weights is None else weights
        # In the order of their first pair, two of three look-ups stay within a few rows of the matrix
        order = np.lexsort((triplets[:, 1], triplets[:, 0]))
        pairs = np.stack([triplets[order, i].astype(np.int64) * num_objects + triplets[order, j] for i, j in PAIRS])
        self.num_objects = num_objects
        self.pairs = torch.from_numpy(pairs.ravel())  # (3 m,) flat positions in the matrix, pair after pair
        self.probabilities = torch.from_numpy(np.ascontiguousarray(probabilities[order].T)).float()  # (3, m)
        self.weights = torch.from_numpy(weights[order] / weights.sum()).float()  # (m,), summing to 1

    def to(self, dtype: torch.dtype) -> Self:
        self.probabilities, self.weights = self.probabilities.to(dtype), self.weights.to(dtype)
        return self

    def value_and_gradient(self, similarities: Tensor) -> tuple[float, Tensor]:
        """Weighted mean cross-entropy in nats, and its gradient with respect to the matrix.

        Args:
            similarities: (n, n); of two entries of a pair, the one that a triplet's order of objects names is used.

        Returns:
            -sum_t w_t sum_p P_tp log softmax(s_t)_p, and the (n, n) gradient G. For a matrix Z Z' the gradient with
            respect to Z is (G + G') Z.
        """
        log_probabilities = choice_log_probabilities(self._look_up(similarities).T).T
        value = -((self.probabilities * log_probabilities).sum(0) * self.weights).sum(dtype=torch.float64)
        slope = (log_probabilities.exp() - self.probabilities) * self.weights
        gradient = slope.new_zeros(self.num_objects**2).scatter_add_(0, self.pairs, slope.flatten())
        return value.item(), gradient.view(self.num_objects, self.num_objects)

    def _look_up(self, similarities: Tensor) -> Tensor:
        return similarities.reshape(-1).index_select(0, self.pairs).view(3, -1)
