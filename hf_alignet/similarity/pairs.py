"""The maths that all rooms share: pair order, similarities of a triplet, choice probabilities, odd one out, entropy.

This is the only module that knows the pair order. A triplet of images (0, 1, 2) has the pairs `PAIRS` = 01, 02, 12,
and everything indexed by pair follows it: similarities are `[s01, s02, s12]`, choice probabilities likewise. Choosing
the most similar pair leaves one image over, the odd one out: pair 01 -> 2, pair 02 -> 1, pair 12 -> 0.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hf_alignet.errors import InputError
from hf_alignet.ranges import Positive, checked

PAIRS = ((0, 1), (0, 2), (1, 2))
NO_CHOICE = -1
CHANCE = 1 / 3
BLOCK = 16_384  # triplets

SimilarityKind = Literal["dot", "cosine", "pearson"]
TripletSimilarity: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From embeddings (n, d) and triplets (m, 3) of their rows to similarities (m, 3), where context counts."""
Index = TypeVar("Index", int, np.ndarray, Tensor)


def pairwise_similarities(embeddings: Tensor, kind: SimilarityKind = "dot") -> Tensor:
    """Similarities of the three pairs of each triplet.

    Args:
        embeddings: (..., 3, d), any float type; half precision is raised to float32.
        kind: `dot` (the paper's choice), `cosine`, or `pearson` (cosine of the embeddings centred over d). A zero
            vector has cosine and Pearson similarity 0 to everything.

    Returns:
        (..., 3) float32 (float64 for float64 input) in the order `[s01, s02, s12]`.

    Example:
        >>> pairwise_similarities(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]]))
        tensor([1., 0., 2.])
    """
    if embeddings.ndim < 2 or embeddings.shape[-2] != 3:
        raise ValueError(f"embeddings must have shape (..., 3, d), got {tuple(embeddings.shape)}")
    embeddings = prepare_embeddings(embeddings, kind)
    first = embeddings[..., [0, 0, 1], :]
    second = embeddings[..., [1, 2, 2], :]
    return (first * second).sum(-1)


def triplet_similarities(embeddings: Tensor, triplets: Tensor, kind: SimilarityKind = "dot") -> Tensor:
    """Similarities of the pairs of triplets that are given as rows of an embedding table.

    Args:
        embeddings: (n, d), one row an image.
        triplets: (m, 3) integers in [0, n).
        kind: see `pairwise_similarities`.

    Returns:
        (m, 3) float32 (float64 for float64 input) in the order `[s01, s02, s12]`.

    Without a gradient, `hf_alignet.similarity.products` is faster on the CPU.
    """
    embeddings = prepare_embeddings(embeddings, kind)
    # Many triplets of few images: one matrix product is cheaper than gathering every pair, forward and backward.
    if len(embeddings) ** 2 <= 16 * len(triplets):
        # Autocast would run the product in half precision.
        with torch.autocast(embeddings.device.type, enabled=False):
            matrix = embeddings @ embeddings.T
        columns = [matrix[triplets[:, i], triplets[:, j]] for i, j in PAIRS]
    else:
        columns = [_products(embeddings, triplets[:, i], triplets[:, j]) for i, j in PAIRS]
    return torch.stack(columns, dim=-1)


def _products(embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(m,) dot products of rows; without a gradient, in blocks, as the rows of many triplets need gigabytes."""
    size = len(first) if embeddings.requires_grad and torch.is_grad_enabled() else BLOCK
    parts = zip(first.split(max(1, size)), second.split(max(1, size)), strict=True)
    return torch.cat([(embeddings[i] * embeddings[j]).sum(-1) for i, j in parts])


@checked
def prepare_embeddings(embeddings: Tensor, kind: SimilarityKind) -> Tensor:
    """Embeddings (..., d) whose plain dot products are the similarities of that kind, in at least float32."""
    embeddings = at_least_float32(embeddings)
    if kind == "pearson":
        embeddings = embeddings - embeddings.mean(-1, keepdim=True)
    if kind != "dot":
        embeddings = F.normalize(embeddings, dim=-1, eps=torch.finfo(embeddings.dtype).tiny)
    return embeddings


@checked
def choice_log_probabilities(similarities: Tensor, temperature: Positive = 1.0) -> Tensor:
    """Log-probability that each pair is chosen as the most similar: `log_softmax(similarities / temperature)`.

    Args:
        similarities: (..., 3) in pair order.
        temperature: in units of the similarities.

    Returns:
        (..., 3) natural logarithms, float32 (float64 for float64 input).
    """
    return F.log_softmax(at_least_float32(similarities) / temperature, dim=-1)


def odd_one_out(similarities: Tensor) -> Tensor:
    """Index (0, 1, 2) of the image that is not in the most similar pair.

    Without a unique most similar pair there is no choice: ties and NaN give `NO_CHOICE` (-1), which equals no label,
    so that a collapsed model scores 0, not 100 %.

    Args:
        similarities: (..., 3) in pair order.

    Returns:
        (...) int64.

    Example:
        >>> odd_one_out(torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0]]))
        tensor([ 2, -1])
    """
    largest, pair = similarities.max(dim=-1)
    is_unique = (similarities == largest.unsqueeze(-1)).sum(-1) == 1
    return torch.where(is_unique, odd_of_pair(pair), NO_CHOICE)


def odd_of_pair(pair: Index) -> Index:
    """The image left over by a pair, and, being its own inverse, the pair left by an odd one out."""
    return 2 - pair


def of_chosen_pair(similarities: Tensor, values: Tensor) -> Tensor:
    """What belongs to the most similar pair, such as how many people keep it together; 0 without a choice.

    Args:
        similarities: (..., 3) in pair order, or anything that grows with them.
        values: (..., 3) in pair order.

    Returns:
        (...) of the type of `values`.

    Example:
        >>> of_chosen_pair(torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0]]), torch.tensor([[5, 2, 1], [4, 4, 0]]))
        tensor([5, 0])
    """
    odd = odd_one_out(similarities)
    pair = odd_of_pair(odd).clamp(max=2)
    return torch.where(odd == NO_CHOICE, 0, values.gather(-1, pair.unsqueeze(-1)).squeeze(-1))


def entropy(log_probabilities: Tensor) -> Tensor:
    """Shannon entropy in nats of each row, (..., 3) -> (...), in [0, ln 3]; p = 0 counts as 0."""
    return torch.special.entr(log_probabilities.exp()).sum(-1)


def check_vectors(vectors: np.ndarray, what: str = "embeddings") -> None:
    """Raises an InputError unless they are numbers of shape (n, d), d > 0."""
    if vectors.ndim != 2 or vectors.shape[1] == 0 or vectors.dtype.kind not in "fiu":
        raise InputError(f"the {what} must be numbers of shape (n, d), got {vectors.dtype} of shape {vectors.shape}")


def check_finite(vectors: np.ndarray, what: str = "embeddings") -> None:
    """Raises an InputError that names the first of the vectors (n, d) that is not finite; see `check_vectors`."""
    check_vectors(vectors, what)
    is_bad = ~np.isfinite(vectors).all(1)
    if is_bad.any():
        raise InputError(f"row {is_bad.argmax()} of the {what} is not finite")


def at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def is_correct(choice: Tensor, odd: Tensor) -> Tensor:
    """Whether a choice equals the odd one out, (...) bool; without a choice on either side it does not."""
    return (choice == odd) & (odd != NO_CHOICE)
