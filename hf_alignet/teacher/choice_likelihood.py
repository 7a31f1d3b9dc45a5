"""Cross-entropy of choices and its gradient, by way of the matrix of all pairwise similarities.

Every similarity of a triplet is an entry of one object-by-object matrix. Computing that matrix costs the same whatever
the number of triplets; what is left to do per triplet is three look-ups, a softmax and three additions.
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
        columns = triplets.astype(np.int64).T
        pairs = np.stack(
            [np.maximum(columns[i], columns[j]) * num_objects + np.minimum(columns[i], columns[j]) for i, j in PAIRS]
        )
        order = pairs[0].argsort(kind="stable")  # so that one of three look-ups walks through memory
        self.num_objects = num_objects
        self.pairs = torch.from_numpy(pairs[:, order].ravel())  # (3 m,) flat positions in the matrix, pair after pair
        self.probabilities = torch.from_numpy(np.ascontiguousarray(probabilities[order].T)).float()  # (3, m)
        self.weights = torch.from_numpy(weights[order] / weights.sum()).float()  # (m,), summing to 1

    def to(self, dtype: torch.dtype) -> Self:
        self.probabilities, self.weights = self.probabilities.to(dtype), self.weights.to(dtype)
        return self

    def value(self, similarities: Tensor) -> float:
        """The first part of `value_and_gradient`, in half of its time."""
        return self._cross_entropy(self._log_probabilities(similarities))

    def value_and_gradient(self, similarities: Tensor) -> tuple[float, Tensor]:
        """Weighted mean cross-entropy in nats, and its gradient with respect to the matrix.

        Args:
            similarities: (n, n) symmetric; only what lies below the diagonal is looked at.

        Returns:
            -sum_t w_t sum_p P_tp log softmax(s_t)_p, and its (n, n) gradient G, all of it below the diagonal. For a
            matrix Z Z' the gradient with respect to Z is (G + G') Z.
        """
        log_probabilities = self._log_probabilities(similarities)
        value = self._cross_entropy(log_probabilities)
        slope = log_probabilities.exp_().sub_(self.probabilities).mul_(self.weights)
        # bincount adds in one order whatever the number of threads, and faster than the ways to scatter
        gradient = torch.bincount(self.pairs, slope.flatten(), self.num_objects**2)
        return value, gradient.view(self.num_objects, self.num_objects)

    def _log_probabilities(self, similarities: Tensor) -> Tensor:
        """(3, m): as `similarity.choice_log_probabilities`, which is slower because it runs along short rows."""
        chosen = at_least_float32(similarities).reshape(-1).index_select(0, self.pairs)
        return chosen.view(3, -1).log_softmax(dim=0)

    def _cross_entropy(self, log_probabilities: Tensor) -> float:
        of_triplets = (self.probabilities * log_probabilities).sum(0).mul_(self.weights)
        return -of_triplets.sum(dtype=torch.float64).item()


def pair_counts(judgments: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Distinct triplets (u, 3) and how often people kept each of their pairs together, (u, 3) in pair order.

    Args:
        judgments: see `hf_alignet.judgments`.

    Raises:
        InputError: there is no choice.
    """
    triplets, counts = choice_counts(judgments)
    judged = counts.any(1)
    if not judged.any():
        raise InputError("the judgments hold no choice")
    return triplets[judged], counts[judged][:, odd_of_pair(np.arange(len(PAIRS)))]


def observed_choices(judgments: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What people chose, as targets: the cross-entropy to these is the mean negative log-likelihood of all choices.

    Args:
        judgments: see `hf_alignet.judgments`.

    Returns:
        (u, 3) distinct triplets; (u, 3) shares of the choices in pair order; (u,) number of choices.

    Raises:
        InputError: there is no choice.
    """
    triplets, counts = pair_counts(judgments)
    weights = counts.sum(1).astype(np.float64)
    return triplets, counts / weights[:, None], weights
