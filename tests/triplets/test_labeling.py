"""The teacher's similarities: those of a naive loop, for every type of number and layout of memory."""

import numpy as np
import pytest
import torch

from hf_alignet.errors import InputError
from hf_alignet.similarity import PAIRS, products, triplet_similarities
from hf_alignet.triplets import label_triplets

DTYPES = ["float16", "bfloat16", "float32", "float64"]


def as_dtype(values: np.ndarray, dtype: str) -> np.ndarray:
    """As a teacher stores them: bfloat16 as its bits."""
    if dtype == "bfloat16":
        return torch.from_numpy(values).to(torch.bfloat16).view(torch.uint16).numpy()
    return values.astype(dtype)


def exact(embeddings: np.ndarray) -> np.ndarray:
    """Their numbers as float64."""
    if embeddings.dtype == np.uint16:
        return torch.from_numpy(embeddings.copy()).view(torch.bfloat16).double().numpy()
    return embeddings.astype(np.float64)


def naive(embeddings: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    embeddings, similarities = exact(embeddings), []
    for triplet in triplets.tolist():
        for i, j in PAIRS:
            pairs = zip(embeddings[triplet[i]], embeddings[triplet[j]], strict=True)
            similarities.append(sum(float(x) * float(y) for x, y in pairs))
    return np.array(similarities).reshape(-1, 3)


def drawn(num_images: int, number: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([rng.permutation(num_images)[:3] for _ in range(number)]).astype(np.int32)


@pytest.mark.parametrize("dim", [1, 3, 33, 768])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_a_naive_loop(dtype, dim):
    values = np.random.default_rng(0).normal(size=(20, dim)) + 0.3
    embeddings, triplets = as_dtype(values, dtype), drawn(20, 30)
    found = label_triplets(embeddings, triplets)
    assert found.dtype == np.float32 and found.shape == (30, 3)
    sizes = naive(np.abs(exact(embeddings)), triplets)
    assert (np.abs(found - naive(embeddings, triplets)) <= 2e-6 * sizes).all()


def test_float64_is_summed_in_float64():
    embeddings = np.array([[2.0**20, 1.0, -(2.0**20)], [2.0**20, 1.0, 2.0**20], [2.0**20, 3.0, 2.0**20]])
    assert label_triplets(embeddings, np.array([[0, 1, 2]])).tolist() == [[1.0, 3.0, 2.0**41]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_finite_half_precision_number_is_read_exactly(dtype):
    bits = np.arange(2**16, dtype=np.uint16)
    stored = bits.view(np.float16) if dtype == "float16" else bits
    values = exact(stored)
    is_finite = np.isfinite(values)
    assert is_finite.sum() == (63_488 if dtype == "float16" else 65_280)
    embeddings = np.concatenate([as_dtype(np.array([1.0]), dtype), stored[is_finite]])[:, None]
    rows = np.arange(1, len(embeddings))
    similarities = label_triplets(embeddings, np.stack([rows, 0 * rows, 0 * rows], 1))
    np.testing.assert_array_equal(similarities, np.stack([values[is_finite]] * 2 + [np.ones(len(rows))], 1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_order_of_pairs_is_that_of_similarities(dtype):
    embeddings = as_dtype(np.random.default_rng(0).integers(-4, 5, (12, 6)).astype(float), dtype)  # exact in all
    triplets = drawn(12, 50)
    expected = triplet_similarities(torch.from_numpy(exact(embeddings)), torch.from_numpy(triplets).long())
    np.testing.assert_array_equal(label_triplets(embeddings, triplets), expected)


@pytest.mark.parametrize("layout", ["memory map", "read-only", "fortran", "strided", "reversed", "other int"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_layout_of_memory_makes_no_difference(dtype, layout, tmp_path):
    embeddings = as_dtype(np.random.default_rng(0).integers(-4, 5, (12, 40)).astype(float), dtype)
    triplets = drawn(12, 25)
    expected = label_triplets(embeddings, triplets)
    if layout == "memory map":
        np.save(tmp_path / "embeddings.npy", embeddings)
        embeddings = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    elif layout == "read-only":
        embeddings.setflags(write=False)
        triplets.setflags(write=False)
    elif layout == "fortran":
        embeddings, triplets = np.asfortranarray(embeddings), np.asfortranarray(triplets)
    elif layout == "strided":
        wide = np.full((24, 80), 9, embeddings.dtype)
        wide[::2, ::2] = embeddings
        embeddings = wide[::2, ::2]
    elif layout == "reversed":
        embeddings = embeddings[::-1].copy()[::-1]
    else:
        triplets = triplets.astype(np.int64)
    before = embeddings.copy()
    np.testing.assert_array_equal(label_triplets(embeddings, triplets), expected)
    np.testing.assert_array_equal(embeddings, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_size_of_blocks_makes_no_difference(dtype, monkeypatch):
    embeddings, triplets = as_dtype(np.random.default_rng(0).normal(size=(12, 40)), dtype), drawn(12, 25)
    expected = label_triplets(embeddings, triplets)
    for size in (1, 7):
        monkeypatch.setattr(products, "BLOCK", size)
        np.testing.assert_array_equal(label_triplets(embeddings, triplets), expected)
    embeddings[3] = as_dtype(np.array([np.nan]), dtype)
    with pytest.raises(InputError, match="of image row 3 is not finite"):
        label_triplets(embeddings, np.concatenate([triplets, [[3, 1, 2]]]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_triplets(dtype):
    embeddings = as_dtype(np.ones((3, 2)), dtype)
    assert label_triplets(embeddings, np.empty((0, 3), np.int32)).shape == (0, 3)


# ---- what cannot be labelled


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_embedding_that_is_not_finite_is_named(dtype, column, value):
    values = np.random.default_rng(0).normal(size=(9, 5))
    values[7, column] = value
    embeddings = as_dtype(values, dtype)
    for triplet in ([7, 1, 2], [1, 7, 2], [1, 2, 7]):
        with pytest.raises(InputError, match="of image row 7 is not finite"):
            label_triplets(embeddings, np.array([[0, 1, 2], triplet, [3, 4, 5]]))
    assert np.isfinite(label_triplets(embeddings, np.array([[0, 1, 2]]))).all()  # it is in no triplet


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sound_embedding_is_not_accused_beside_two_that_are_not_finite(dtype):
    values = np.ones((4, 5))
    values[[1, 3], 2] = np.nan, np.inf
    with pytest.raises(InputError, match=r"of image row (1|3) is not finite"):
        label_triplets(as_dtype(values, dtype), np.array([[0, 1, 3]]))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_embedding_too_large_for_products_is_named(dtype):
    values = np.ones((4, 5))
    values[2] = 1e30
    with pytest.raises(InputError, match="of image row 2 is not finite, or too large for dot products"):
        label_triplets(as_dtype(np.concatenate([values, values]), dtype), np.array([[0, 1, 3], [2, 3, 6]]))


def test_no_half_precision_number_is_too_large():
    embeddings = np.full((3, 1000), 65504, np.float16)
    np.testing.assert_allclose(label_triplets(embeddings, np.array([[0, 1, 2]])), 1000 * 65504.0**2, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int64", "int8", "complex64", ">f4", "longdouble", "O"])
def test_other_types_are_refused(dtype):
    with pytest.raises(ValueError, match="must be of a type among float16, uint16, float32, float64"):
        label_triplets(np.ones((3, 2)).astype(dtype), np.array([[0, 1, 2]]))


@pytest.mark.parametrize(("embeddings", "triplets"), [((3,), (1, 3)), ((3, 2), (1, 2)), ((3, 2), (3,))])
def test_other_shapes_are_refused(embeddings, triplets):
    with pytest.raises(ValueError, match=r"expected shapes \(n, p\) and \(m, 3\)"):
        label_triplets(np.ones(embeddings), np.zeros(triplets, int))


@pytest.mark.parametrize("row", [-1, 3, 2**40])
def test_rows_that_are_not_there(row):
    with pytest.raises(InputError, match=f"name rows .*{row}.*, but there are 3 embeddings"):
        label_triplets(np.ones((3, 2)), np.array([[0, 1, 2], [0, 1, row]]))
