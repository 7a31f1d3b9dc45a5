"""The teacher's similarities of triplets: dot products of its embeddings.

Embeddings may lie in a file that is memory-mapped. Their rows are read in small blocks that stay in the processor's
cache, and half precision is widened to float32 there. A million triplets of 768 numbers take 1 to 2 seconds on one
core. To embed 100,000 images before that takes minutes even on a large GPU, so faster products would not show.
"""

import numpy as np
import torch
from numba import njit

from hf_alignet.errors import InputError
from hf_alignet.ranges import row_numbers
from hf_alignet.similarity import PAIRS

(A0, B0), (A1, B1), (A2, B2) = PAIRS
DTYPES = tuple(map(np.dtype, ("float16", "uint16", "float32", "float64")))  # uint16: the bits of bfloat16
BLOCK = 2**20  # bytes of embeddings


def label_triplets(embeddings: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    """The teacher's similarities of the pairs of triplets.

    Args:
        embeddings: (n, p) float16, float32 or float64, or the bits of bfloat16 as uint16
            (`tensor.view(torch.uint16).numpy()`). A memory map is not read as a whole.
        triplets: (m, 3) rows of `embeddings`.

    Returns:
        (m, 3) float32 dot products in pair order, summed in float32 (float64 for float64).

    Raises:
        InputError: an embedding of a triplet is not finite, or so large that a product is not (names its row), or a
            triplet points outside the embeddings.
        ValueError: the shapes or types are not as above.

    Example:
        >>> label_triplets(np.eye(3, dtype=np.float16) + 1, np.array([[0, 1, 2]]))
        array([[5., 5., 5.]], dtype=float32)
    """
    if embeddings.ndim != 2 or triplets.ndim != 2 or triplets.shape[1] != 3:
        raise ValueError(f"expected shapes (n, p) and (m, 3), got {embeddings.shape} and {triplets.shape}")
    triplets = row_numbers(triplets, len(embeddings), "the triplets", "embeddings")
    if embeddings.dtype not in DTYPES:
        known = ", ".join(map(str, DTYPES))
        raise ValueError(f"embeddings must be of a type among {known} (the bits of bfloat16), got {embeddings.dtype}")
    similarities = _products(embeddings, triplets)
    is_bad = ~np.isfinite(similarities).all(1)
    if is_bad.any():
        images = triplets[is_bad.argmax()]
        squares = _products(embeddings, np.repeat(images, 3).reshape(3, 3))
        # If a product is not finite, the product of one of its images with itself is not finite either
        image = images[(~np.isfinite(squares[:, 0])).argmax()]
        raise InputError(f"the teacher's embedding of image row {image} is not finite, or too large for dot products")
    return similarities


def _products(embeddings: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    similarities = np.empty(triplets.shape, np.float32)
    size = max(1, BLOCK // max(1, 3 * embeddings.shape[1] * embeddings.itemsize))  # triplets
    for start in range(0, len(triplets), size):
        rows = torch.from_numpy(np.asarray(embeddings)[triplets[start : start + size]])
        if rows.dtype == torch.uint16:
            rows = rows.view(torch.bfloat16)
        rows = rows if rows.dtype == torch.float64 else rows.float()
        _multiply(rows.numpy(), similarities[start : start + size])
    return similarities


# The order of the sums is free, so that the compiler can use vector instructions
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _multiply(rows: np.ndarray, similarities: np.ndarray) -> None:
    """Dot products of the pairs of triplets, given as their embeddings (m, 3, p), into (m, 3)."""
    for t in range(len(rows)):
        first, second, third = rows[t, 0], rows[t, 1], rows[t, 2]
        s0 = s1 = s2 = 0 * first[0]
        for i in range(rows.shape[2]):
            x = first[i], second[i], third[i]
            s0 += x[A0] * x[B0]
            s1 += x[A1] * x[B1]
            s2 += x[A2] * x[B2]
        similarities[t] = s0, s1, s2
