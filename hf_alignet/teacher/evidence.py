"""What choices say about an embedding: their cross-entropy and its slope, all choices at once or batch by batch."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hf_alignet.similarity import PAIRS, choice_log_probabilities, odd_of_pair, pairwise_similarities
from hf_alignet.teacher.choice_likelihood import ChoiceLikelihood


class Evidence(Protocol):
    """The choices that an embedding has to explain, given out over the steps of one epoch."""

    def slopes(self, generator: torch.Generator) -> "Iterator[Slope]":
        """One function a step; those of an epoch cover every choice once."""


class Slope(Protocol):
    """Mean cross-entropy in nats of some choices under an embedding (n, d), and its gradient (n, d)."""

    def __call__(self, embedding: Tensor) -> tuple[float, Tensor]: ...


class AllChoices:
    """Every choice at every step, through the matrix of similarities.

    Args:
        triplets: (m, 3) distinct triplets of n objects.
        pair_counts: (m, 3) how often each pair was kept together.
        num_objects: n.
    """

    def __init__(self, triplets: np.ndarray, pair_counts: np.ndarray, num_objects: int):
        judged = pair_counts.sum(1)
        self.choices = ChoiceLikelihood(triplets, pair_counts / judged[:, None], num_objects, judged.astype(float))

    def slopes(self, generator: torch.Generator) -> Iterator[Slope]:
        yield self._slope

    def _slope(self, embedding: Tensor) -> tuple[float, Tensor]:
        value, gradient = self.choices.value_and_gradient(embedding @ embedding.T)
        return value, (gradient @ embedding).addmm_(gradient.T, embedding)


class ShuffledChoices:
    """A few choices a step, shuffled anew for every epoch; arguments as for `AllChoices`.

    Args:
        batch_size: choices a step; the last step of an epoch may have fewer.
    """

    def __init__(self, triplets: np.ndarray, pair_counts: np.ndarray, batch_size: int):
        kept_first = [
            np.repeat(triplets[:, np.array([*pair, odd_of_pair(index)])], pair_counts[:, index], axis=0)
            for index, pair in enumerate(PAIRS)
        ]
        self.rows = torch.from_numpy(np.concatenate(kept_first))  # (number of choices, 3): pair kept, odd one out
        self.batch_size = batch_size

    def slopes(self, generator: torch.Generator) -> Iterator[Slope]:
        for rows in self.rows[torch.randperm(len(self.rows), generator=generator)].split(self.batch_size):
            yield lambda embedding, rows=rows: _slope_of_rows(embedding, rows)


def _slope_of_rows(embedding: Tensor, rows: Tensor) -> tuple[float, Tensor]:
    corners = embedding[rows]  # (b, 3, d)
    log_probabilities = choice_log_probabilities(pairwise_similarities(corners))
    slope = log_probabilities.exp()
    slope[:, 0] -= 1
    slope /= len(rows)
    # A corner's gradient is the sum of the other two, each by the slope of the pair that joins them
    joined = slope.new_zeros(len(rows), 3, 3)
    for index, (i, j) in enumerate(PAIRS):
        joined[:, i, j] = joined[:, j, i] = slope[:, index]
    gradient = torch.zeros_like(embedding).index_add_(0, rows.flatten(), (joined @ corners).flatten(0, 1))
    return -log_probabilities[:, 0].mean().item(), gradient
