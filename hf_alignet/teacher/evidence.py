"""The cross-entropy of choices under an embedding, and its gradient: for all choices at once, or batch by batch."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import scipy
import torch
from torch import Tensor

from hf_alignet.similarity import PAIRS, choice_log_probabilities, odd_of_pair, pairwise_similarities
from hf_alignet.teacher.choice_likelihood import ChoiceLikelihood

MOST_OBJECTS = 4000  # whose matrix of all pairs is made whatever the number of triplets
PAIRS_PER_TRIPLET = 16  # of all pairs, from which on most are named by no triplet
BLOCK = 65_536  # pairs

Slope = Callable[[Tensor], tuple[float, Tensor]]
"""From an embedding (n, d) to the mean cross-entropy of some choices in nats, and its gradient (n, d)."""


class AllChoices:
    """Uses all choices in each step, through the matrix of similarities.

    `pair_counts` (m, 3) says how often people kept each pair of the distinct triplets (m, 3) together.
    """

    def __init__(self, triplets: np.ndarray, pair_counts: np.ndarray, num_objects: int):
        judged = pair_counts.sum(1)
        self.choices = ChoiceLikelihood(triplets, pair_counts / judged[:, None], num_objects, judged.astype(float))

    def slopes(self, generator: torch.Generator) -> Iterator[Slope]:
        """The one step of an epoch."""
        yield self._slope

    def _slope(self, embedding: Tensor) -> tuple[float, Tensor]:
        value, gradient = self.choices.value_and_gradient(embedding @ embedding.T)
        return value, (gradient @ embedding).addmm_(gradient.T, embedding)


class ChoicesOfMany:
    """As `AllChoices`, through the pairs that triplets name alone: of many objects, most pairs are named by none."""

    def __init__(self, triplets: np.ndarray, pair_counts: np.ndarray, num_objects: int):
        self.choices = AllChoices(triplets, pair_counts, num_objects).choices
        self.first, self.second = self.choices.named_pairs()
        rows, columns = torch.cat([self.first, self.second]), torch.cat([self.second, self.first])
        self.order = (rows * num_objects + columns).argsort()  # both sides of each pair, row by row
        self.columns = columns[self.order].numpy()
        self.ends = np.append(0, rows.bincount(minlength=num_objects).cumsum(0).numpy())

    def slopes(self, generator: torch.Generator) -> Iterator[Slope]:
        """The one step of an epoch."""
        yield self._slope

    def _slope(self, embedding: Tensor) -> tuple[float, Tensor]:
        blocks = zip(self.first.split(BLOCK), self.second.split(BLOCK), strict=True)
        similarities = torch.cat([(embedding[i] * embedding[j]).sum(1) for i, j in blocks])
        value, gradient = self.choices.value_and_gradient(similarities)
        both = gradient.repeat(2)[self.order].numpy()
        matrix = scipy.sparse.csr_array((both, self.columns, self.ends), shape=(len(embedding), len(embedding)))
        return value, torch.from_numpy(matrix @ embedding.numpy())


def all_choices(triplets: np.ndarray, pair_counts: np.ndarray, num_objects: int) -> AllChoices | ChoicesOfMany:
    """All choices in each step, by the way that costs less; the results differ in the last digits."""
    is_sparse = num_objects > MOST_OBJECTS and num_objects**2 > PAIRS_PER_TRIPLET * len(triplets)
    return (ChoicesOfMany if is_sparse else AllChoices)(triplets, pair_counts, num_objects)


class ShuffledChoices:
    """Uses `batch_size` choices in each step (fewer in the last one), in a new random order in each epoch."""

    def __init__(self, triplets: np.ndarray, pair_counts: np.ndarray, batch_size: int):
        kept_first = [
            np.repeat(triplets[:, np.array([*pair, odd_of_pair(index)])], pair_counts[:, index], axis=0)
            for index, pair in enumerate(PAIRS)
        ]
        self.rows = torch.from_numpy(np.concatenate(kept_first))  # (number of choices, 3): pair kept, odd one out
        self.batch_size = batch_size

    def slopes(self, generator: torch.Generator) -> Iterator[Slope]:
        """The steps of an epoch. Together they use each choice once."""
        for rows in self.rows[torch.randperm(len(self.rows), generator=generator)].split(self.batch_size):
            yield partial(_slope_of_rows, rows=rows)


def _slope_of_rows(embedding: Tensor, rows: Tensor) -> tuple[float, Tensor]:
    corners = embedding[rows]  # (b, 3, d)
    log_probabilities = choice_log_probabilities(pairwise_similarities(corners))
    slope = log_probabilities.exp()
    slope[:, 0] -= 1
    slope /= len(rows)
    # The gradient of a corner is the sum of the other two corners, each times the slope of their common pair
    joined = slope.new_zeros(len(rows), 3, 3)
    for index, (i, j) in enumerate(PAIRS):
        joined[:, i, j] = joined[:, j, i] = slope[:, index]
    gradient = torch.zeros_like(embedding).index_add_(0, rows.flatten(), (joined @ corners).flatten(0, 1))
    return -log_probabilities[:, 0].mean().item(), gradient
