"""The teacher's similarities of triplets: dot products of its embeddings, which may lie in a memory-mapped file."""

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.ranges import row_numbers
from hf_alignet.similarity.products import DTYPES, products_of_triplets


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
    similarities = products_of_triplets(embeddings, triplets).astype(np.float32, copy=False)
    is_bad = ~np.isfinite(similarities).all(1)
    if is_bad.any():
        images = triplets[is_bad.argmax()]
        squares = products_of_triplets(embeddings, np.repeat(images, 3).reshape(3, 3))
        # If a product is not finite, the product of one of its images with itself is not finite either
        image = images[(~np.isfinite(squares[:, 0])).argmax()]
        raise InputError(f"the teacher's embedding of image row {image} is not finite, or too large for dot products")
    return similarities
