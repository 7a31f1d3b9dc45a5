"""Products of triplets without gradients: each by its own rows, in any kind, number of threads and memory."""

import numpy as np
import pytest
import torch

from hf_alignet.similarity import NO_CHOICE, odd_one_out, pairwise_similarities, products
from hf_alignet.similarity.products import measured_similarities, products_of_triplets

KINDS = ["dot", "cosine", "pearson"]


def make(num_images: int, dim: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    triplets = np.stack([rng.permutation(num_images)[:3] for _ in range(number)])
    return rng.normal(size=(num_images, dim)) + 0.5, triplets


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", [products_of_triplets, measured_similarities])
def test_equals_similarities_with_gradients(way, kind):
    embeddings, triplets = make(20, 33, 300)
    embeddings[3] = 0
    expected = pairwise_similarities(torch.from_numpy(embeddings[triplets]), kind)
    found = way(embeddings, triplets, kind)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(way(embeddings.astype(np.float32), triplets, kind), expected, atol=1e-5)
    half = embeddings.astype(np.float16)
    expected = pairwise_similarities(torch.from_numpy(half.astype(np.float32)[triplets]), kind)
    np.testing.assert_allclose(way(half, triplets, kind), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_choices_of_few_images_are_those_of_the_rows_alone(kind):
    embeddings, triplets = make(40, 33, 2000)
    embeddings = embeddings.astype(np.float32)
    embeddings[20:] = embeddings[0]
    embeddings[30:] += np.float32(1e-7)  # nearly the same
    alone, together = (
        odd_one_out(torch.from_numpy(way(embeddings, triplets, kind)))
        for way in (products_of_triplets, measured_similarities)
    )
    assert torch.equal(alone, together) and (alone == NO_CHOICE).any()


@pytest.mark.parametrize("way", [products_of_triplets, measured_similarities])
def test_equal_rows_are_ties(way):
    embeddings, triplets = make(30, 61, 500)
    embeddings = embeddings.astype(np.float32)
    embeddings[10:] = embeddings[10]
    is_tied = (triplets >= 10).all(1)
    choices = odd_one_out(torch.from_numpy(way(embeddings, triplets)))
    assert is_tied.any() and (choices[is_tied] == NO_CHOICE).all()


def test_number_of_threads_makes_no_difference(monkeypatch):
    embeddings, triplets = make(30, 61, 500)
    expected = products_of_triplets(embeddings, triplets)
    monkeypatch.setattr(products, "BLOCK", 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    np.testing.assert_array_equal(products_of_triplets(embeddings, triplets), expected)


def test_numbers_that_are_no_floats_are_read():
    embeddings = np.arange(12).reshape(4, 3)
    expected = measured_similarities(embeddings.astype(float), np.array([[0, 1, 2]]))
    assert (measured_similarities(embeddings, np.array([[0, 1, 2]])) == expected).all()
