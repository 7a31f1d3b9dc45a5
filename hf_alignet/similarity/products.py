"""Similarities of triplets without gradients, in memory that does not grow with their number.

Embeddings may lie in a file that is memory-mapped. A triplet's three rows are read where they lie, once, and half
precision is widened to float32 on the way, so that the cost is that of reading rows in random places. The kernel
releases Python's lock, and several threads share the triplets; as each is summed alone, their number changes nothing.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit

from hf_alignet.similarity.pairs import PAIRS, SimilarityKind, prepare_embeddings

(A0, B0), (A1, B1), (A2, B2) = PAIRS
DTYPES = tuple(map(np.dtype, ("float16", "uint16", "float32", "float64")))  # uint16: the bits of bfloat16
BLOCK = 8192  # triplets that a thread takes at once
ROWS = 4096  # whose means and norms are found at once
PAIRS_PER_TRIPLET = 4  # of all images, whose one matrix product costs less than the triplets one by one
MOST_IMAGES = 5000  # whose matrix of all pairs has at most 100 MB
BITS = np.dtype("uint16")


def products_of_triplets(embeddings: np.ndarray, triplets: np.ndarray, kind: SimilarityKind = "dot") -> np.ndarray:
    """Similarities of the pairs of triplets, each from its own three rows alone.

    Args:
        embeddings: (n, p) of a type in `DTYPES`. A memory map is not read as a whole, unless its rows are strided.
        triplets: (m, 3) integers in [0, n).
        kind: see `pairwise_similarities`.

    Returns:
        (m, 3) float32 (float64 for float64) in pair order. Equal rows have bitwise equal similarities to a third one.

    Example:
        >>> products_of_triplets(np.eye(3, dtype=np.float16) + 1, np.array([[0, 1, 2]]))
        array([[5., 5., 5.]], dtype=float32)
    """
    table = np.ascontiguousarray(embeddings)[:]
    is_half = table.dtype == np.float16
    table = table.view(BITS) if is_half else table
    table.flags.writeable = False  # one compiled form serves arrays and read-only maps
    similarities = np.empty((len(triplets), 3), np.float64 if table.dtype == np.float64 else np.float32)
    shifts = None if kind == "dot" else _shifts_and_scales(embeddings, kind)

    def fill(start: int) -> None:
        end = start + BLOCK
        _multiply(table, np.ascontiguousarray(triplets[start:end], np.int64), shifts, is_half, similarities[start:end])

    starts = range(0, len(triplets), BLOCK)
    with ThreadPoolExecutor(min(torch.get_num_threads(), max(1, len(starts)))) as pool:
        for _ in pool.map(fill, starts):
            pass
    return similarities


def measured_similarities(embeddings: np.ndarray, triplets: np.ndarray, kind: SimilarityKind = "dot") -> np.ndarray:
    """As `products_of_triplets`, but by one product of all images with all where these are few beside the triplets.

    The order of the most similar pairs is that of `products_of_triplets` all the same: where two pairs are closer than
    the rounding of sums, the triplet is computed alone. Embeddings may have any type of number.
    """
    if embeddings.dtype not in DTYPES:
        embeddings = embeddings.astype(np.float32)
    number, dim = embeddings.shape
    is_few = number <= MOST_IMAGES and number**2 <= PAIRS_PER_TRIPLET * len(triplets)
    if not is_few or embeddings.dtype == BITS:
        return products_of_triplets(embeddings, triplets, kind)
    table = prepare_embeddings(torch.from_numpy(np.ascontiguousarray(embeddings)), kind)
    matrix = table @ table.T
    rows = torch.from_numpy(np.asarray(triplets, np.int64))
    flat = matrix.flatten()
    similarities = torch.stack([flat.index_select(0, rows[:, i] * number + rows[:, j]) for i, j in PAIRS], -1)
    # Twice the bound of the error of two sums of `dim` products (Higham 2002, section 3.1), for either way
    rounding = 2 * (dim + 8) * torch.finfo(table.dtype).eps * float(matrix.diagonal().max())
    highest = similarities.max(-1).values
    is_close = ((highest.unsqueeze(-1) - similarities) <= rounding).sum(-1).numpy() > 1
    values = similarities.numpy()
    values[is_close] = products_of_triplets(embeddings, np.asarray(triplets)[is_close], kind)
    return values


def _shifts_and_scales(embeddings: np.ndarray, kind: SimilarityKind) -> np.ndarray:
    """(n, 2): what is taken from each row, and by what it is then multiplied, to have products of that kind."""
    found = []
    for block in _blocks(embeddings):
        shift = block.mean(-1, keepdim=True) if kind == "pearson" else torch.zeros(len(block), 1, dtype=block.dtype)
        norm = torch.linalg.vector_norm(block - shift, dim=-1, keepdim=True)
        found.append(torch.cat([shift, 1 / norm.clamp(min=torch.finfo(block.dtype).tiny)], dim=-1))
    return torch.cat(found).numpy() if found else np.empty((0, 2), np.float32)


def _blocks(embeddings: np.ndarray) -> Iterator[torch.Tensor]:
    for start in range(0, len(embeddings), ROWS):
        block = torch.from_numpy(np.array(embeddings[start : start + ROWS]))
        block = block.view(torch.bfloat16) if block.dtype == torch.uint16 else block
        yield block if block.dtype == torch.float64 else block.float()


# Half precision is read by its bits, as Numba knows no such number. Those of bfloat16 are the upper half of float32.
@njit
def _number(value, is_half):  # type: ignore[no-untyped-def]
    if not isinstance(value, np.uint16):
        return value
    bits = np.uint32(value)
    if not is_half:
        return np.uint32(bits << np.uint32(16)).view(np.float32)
    size = (bits & np.uint32(0x7FFF)) << np.uint32(13)  # exponent and fraction at their places in float32
    number = np.uint32(size | ((bits & np.uint32(0x8000)) << np.uint32(16))).view(np.float32)
    # 2^112: the exponents are counted from -15 and -127; this also makes subnormal numbers right
    return np.float32(np.nan) if size >= np.uint32(0x0F800000) else number * np.float32(5.192296858534828e33)


# The order of the sums is free, so that the compiler can use vector instructions
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _multiply(table, triplets, shifts, is_half, similarities):  # type: ignore[no-untyped-def]
    """Dot products of the pairs of triplets (m, 3), rows of a table (n, p), into (m, 3)."""
    for t in range(len(triplets)):
        a, b, c = triplets[t]
        first, second, third = table[a], table[b], table[c]
        s0 = s1 = s2 = similarities.dtype.type(0)
        for i in range(table.shape[1]):
            x = _number(first[i], is_half), _number(second[i], is_half), _number(third[i], is_half)
            if shifts is not None:
                x = (
                    (x[0] - shifts[a, 0]) * shifts[a, 1],
                    (x[1] - shifts[b, 0]) * shifts[b, 1],
                    (x[2] - shifts[c, 0]) * shifts[c, 1],
                )
            s0 += x[A0] * x[B0]
            s1 += x[A1] * x[B1]
            s2 += x[A2] * x[B2]
        similarities[t] = s0, s1, s2
