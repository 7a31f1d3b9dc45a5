import math

import numpy as np
import pytest
import torch

from hf_alignet.similarity import (
    NO_CHOICE,
    PAIRS,
    choice_log_probabilities,
    entropy,
    is_correct,
    odd_of_pair,
    odd_one_out,
    of_chosen_pair,
    pairwise_similarities,
    triplet_similarities,
)

KINDS = ["dot", "cosine", "pearson"]


def naive(a, b, kind):
    if kind == "pearson":
        return np.corrcoef(a, b)[0, 1]
    return a @ b / (1 if kind == "dot" else np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize("kind", KINDS)
def test_pairwise_similarities_equal_a_loop(kind):
    embeddings = np.random.default_rng(0).normal(size=(4, 5, 3, 7))
    ours = pairwise_similarities(torch.from_numpy(embeddings), kind)
    assert ours.shape == (4, 5, 3) and ours.dtype == torch.float64
    for index in np.ndindex(4, 5):
        for pair, (i, j) in enumerate(PAIRS):
            assert ours[index][pair].item() == pytest.approx(naive(*embeddings[index][[i, j]], kind), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_triplets", [3, 500])  # gathers pairs, multiplies all by all
def test_triplet_similarities_equal_pairwise(kind, num_triplets):
    rng = np.random.default_rng(0)
    table = torch.from_numpy(rng.normal(size=(20, 6)))
    triplets = torch.from_numpy(np.stack([rng.permutation(20)[:3] for _ in range(num_triplets)]))
    expected = pairwise_similarities(table[triplets], kind)
    torch.testing.assert_close(triplet_similarities(table, triplets, kind), expected)


@pytest.mark.parametrize("num_triplets", [3, 500])
def test_triplet_similarities_are_float32_under_autocast(num_triplets):
    rng = np.random.default_rng(0)
    table = torch.from_numpy(rng.normal(size=(20, 6))).float()
    triplets = torch.from_numpy(np.stack([rng.permutation(20)[:3] for _ in range(num_triplets)]))
    exact = triplet_similarities(table, triplets)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = triplet_similarities(table, triplets)
    assert under_autocast.dtype == torch.float32
    torch.testing.assert_close(under_autocast, exact, rtol=1e-6, atol=1e-6)


def test_permuting_images_permutes_pairs_and_odd_one_out():
    embeddings = torch.randn(50, 3, 8, generator=torch.Generator().manual_seed(1))
    odd = odd_one_out(pairwise_similarities(embeddings))
    for order in ([0, 2, 1], [2, 1, 0], [1, 2, 0]):
        permuted = odd_one_out(pairwise_similarities(embeddings[:, order]))
        assert torch.equal(torch.tensor(order)[permuted], odd)


def test_zero_vector_has_no_similarity_in_direction():
    embeddings = torch.stack([torch.zeros(4), torch.ones(4), torch.arange(4.0)])
    for kind in ("cosine", "pearson"):
        similarities = pairwise_similarities(embeddings, kind)
        assert similarities[0] == similarities[1] == 0 and similarities.isfinite().all()


def test_odd_one_out_is_the_image_outside_the_most_similar_pair():
    assert odd_one_out(torch.eye(3)).tolist() == [2, 1, 0]
    for pair, members in enumerate(PAIRS):
        assert {int(odd_of_pair(torch.tensor(pair))), *members} == {0, 1, 2}


@pytest.mark.parametrize(
    "similarities", [[1.0, 1.0, 1.0], [2.0, 2.0, 1.0], [1.0, 2.0, 2.0], [math.nan, 1.0, 0.0], [math.nan] * 3]
)
def test_ties_and_nan_are_no_choice_and_never_correct(similarities):
    choice = odd_one_out(torch.tensor(similarities))
    assert choice == NO_CHOICE
    for label in (0, 1, 2, NO_CHOICE):
        assert not is_correct(choice, torch.tensor(label))


def test_choice_probabilities_and_entropy():
    similarities = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [1e5, -1e5, 0.0]], dtype=torch.float64)
    log_p = choice_log_probabilities(similarities, 2.0)
    weights = np.exp(similarities[0].numpy() / 2)
    np.testing.assert_allclose(log_p[0].exp(), weights / weights.sum(), rtol=1e-12)
    entropies = entropy(log_p)
    p = weights / weights.sum()
    np.testing.assert_allclose(entropies, [-(p * np.log(p)).sum(), math.log(3), 0.0], atol=1e-12)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_bad_temperature(temperature):
    with pytest.raises(ValueError, match=r"`temperature` must be a finite number \(above 0\), got"):
        choice_log_probabilities(torch.zeros(3), temperature)


def test_half_precision_is_raised():
    embeddings = torch.full((3, 512), 8.0, dtype=torch.float16)  # the dot product 32768 + 1 is not a float16
    embeddings[0, 0] = 8.125
    assert pairwise_similarities(embeddings).tolist() == [32769.0, 32769.0, 32768.0]


def test_wrong_shape_and_kind():
    with pytest.raises(ValueError, match=r"shape \(..., 3, d\), got \(4, 2\)"):
        pairwise_similarities(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="got 'euclidean'"):
        pairwise_similarities(torch.zeros(3, 2), "euclidean")


def test_of_chosen_pair_equals_a_loop_and_ties_count_nothing():
    rng = np.random.default_rng(0)
    similarities, counts = rng.integers(0, 4, (300, 3)), rng.integers(0, 9, (300, 3))
    expected = [c[s.argmax()] if (s == s.max()).sum() == 1 else 0 for s, c in zip(similarities, counts, strict=True)]
    found = of_chosen_pair(torch.from_numpy(similarities), torch.from_numpy(counts))
    assert found.tolist() == expected and found.dtype == torch.int64
