"""In-batch triplets: how batches are drawn, and what the teacher says of all triplets in them."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.triplets import TeacherVectors, class_vectors, load_teacher, triplets_from_arrays
from hf_alignet.triplets.batches import (
    ClusterSampler,
    TripletRows,
    fewest_per_cluster,
    sample_in_batch,
    triplets_at,
    triplets_of_batch,
)

CLUSTERS = np.repeat(np.arange(6), [10, 9, 8, 3, 12, 6])


def batches(sampler, size):
    return np.array(list(sampler)).reshape(-1, size)


def test_batches_are_clusters_times_images():
    drawn = batches(ClusterSampler(CLUSTERS, 12, 4, seed=0), 12)
    assert drawn.shape == (4, 12)  # as many as fit into 48 images
    for batch in drawn:
        assert len(np.unique(batch)) == 12
        clusters, counts = np.unique(CLUSTERS[batch], return_counts=True)
        assert len(clusters) == 3 and (counts == 4).all()
    assert 3 not in CLUSTERS[drawn]  # it has too few images


def test_order_depends_on_seed_and_epoch_alone():
    first, again, other = (ClusterSampler(CLUSTERS, 12, 4, seed) for seed in (0, 0, 1))
    assert list(first) == list(first) == list(again) != list(other)
    before = list(first)
    first.set_epoch(1)
    assert list(first) != before and len(first) == len(before)
    first.set_epoch(0)
    assert list(first) == before


def test_every_cluster_is_drawn_as_often():
    drawn = np.concatenate([batches(ClusterSampler(CLUSTERS, 8, 2, seed), 8).ravel() for seed in range(300)])
    share = np.bincount(CLUSTERS[drawn]) / len(drawn)
    np.testing.assert_allclose(share, 1 / 6, atol=0.01)


@pytest.mark.parametrize(
    ("batch", "per_cluster", "message"),
    [
        (2, 1, "`per_device_train_batch_size` must be at least 3, a triplet, got 2"),
        (12, 5, "a multiple of `images_per_cluster`, got 12 and 5"),
        (12, 0, r"`images_per_cluster` must be an integer \(at least 1\), got 0"),
        (30, 5, "5 clusters have 5 images or more, and a batch of 30 needs 6"),
    ],
)
def test_batches_that_cannot_be(batch, per_cluster, message):
    with pytest.raises(InputError, match=message):
        ClusterSampler(CLUSTERS, batch, per_cluster, seed=0)


@pytest.mark.parametrize(
    ("sizes", "batch", "fewest"),
    [([3] * 8, 8, 1), ([3] * 7, 8, 2), ([9] * 3, 8, 4), ([1] * 5 + [6, 6], 12, 6), ([1, 7], 6, 6), ([2, 2], 6, 6)],
)
def test_fewest_images_of_a_cluster_that_fill_a_batch(sizes, batch, fewest):
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    assert fewest_per_cluster(clusters, batch) == fewest
    if max(sizes) >= fewest:
        assert len(list(ClusterSampler(clusters, batch, fewest, seed=0))) >= batch


def test_all_triplets_with_the_similarities_of_a_loop():
    vectors = torch.randn(7, 5)
    triplets, similarities = triplets_of_batch(vectors, None, np.random.default_rng(0))
    expected = list(combinations(range(7), 3))
    assert triplets.tolist() == [list(t) for t in expected]
    for (i, j, k), row in zip(expected, similarities, strict=True):
        pairs = torch.stack([vectors[i] @ vectors[j], vectors[i] @ vectors[k], vectors[j] @ vectors[k]])
        torch.testing.assert_close(row, pairs)


def test_random_subset_has_no_triplet_twice():
    vectors = torch.randn(9, 4)
    whole = triplets_of_batch(vectors, None, np.random.default_rng(0))[0].tolist()
    some, similarities = triplets_of_batch(vectors, 20, np.random.default_rng(0))
    assert len(similarities) == 20 == len({tuple(t) for t in some.tolist()})
    assert all(triplet in whole for triplet in some.tolist())
    assert not torch.equal(some, triplets_of_batch(vectors, 20, np.random.default_rng(1))[0])


def test_sample_points_into_the_images():
    rows, vectors = np.arange(100, 148), np.random.default_rng(0).normal(size=(48, 5))
    dataset, rng = TeacherVectors(rows, vectors, CLUSTERS), np.random.default_rng(0)
    sample = sample_in_batch(dataset, np.array([[0, 1, 2, 3], [7, 20, 40, 47]]), 9, rng)
    assert len(sample) == 8  # four of each batch
    triplet, similarities = sample[5]["triplet"], sample[5]["similarities"]
    a, b, c = vectors[np.array(triplet) - 100]
    np.testing.assert_allclose(similarities, [a @ b, a @ c, b @ c], rtol=1e-5)


def test_vectors_that_are_not_finite_or_do_not_match():
    vectors = np.ones((3, 2))
    with pytest.raises(InputError, match="3 images, 3 vectors and 2 clusters are not equally many"):
        TeacherVectors(np.arange(3), vectors, np.zeros(2))
    vectors[1, 0] = np.inf
    with pytest.raises(InputError, match="of image row 11 is not finite"):
        TeacherVectors(np.array([10, 11, 12]), vectors, np.zeros(3))


def test_class_without_a_vector_is_named():
    table = np.eye(4)
    np.testing.assert_array_equal(class_vectors(np.array([2, 0]), table), table[[2, 0]])
    with pytest.raises(InputError, match="lacks class 5: it has 4 rows"):
        class_vectors(np.array([2, 5]), table)
    table[2] = np.nan
    with pytest.raises(InputError, match="lacks class 2"):
        class_vectors(np.array([2, 0]), table)


def test_teacher_is_read_from_files(tmp_path):
    rng = np.random.default_rng(0)
    images = Dataset.from_dict({"label": rng.integers(0, 3, 60).tolist()})
    np.save(tmp_path / "table.npy", rng.normal(size=(3, 4)))
    rows = np.arange(0, 60, 2)
    teacher = load_teacher(images, rows, class_table=str(tmp_path / "table.npy"))
    labels = np.array(images["label"][:])[rows]
    np.testing.assert_array_equal(teacher.clusters, labels)
    np.testing.assert_allclose(teacher[4][1], np.load(tmp_path / "table.npy")[labels[4]], rtol=1e-6)
    assert teacher[4][0] == 8
    np.save(tmp_path / "all.npy", np.eye(3)[np.arange(60) % 3] + rng.normal(scale=0.01, size=(60, 3)))
    with pytest.raises(InputError, match="lack|has 60 rows"):
        load_teacher(images.select(range(50)), rows[:20], embeddings=str(tmp_path / "all.npy"))
    assert len(load_teacher(images, rows, embeddings=str(tmp_path / "all.npy"))) == 30
    with pytest.raises(InputError, match="cannot read the teacher's vectors"):
        load_teacher(images, rows, embeddings=str(tmp_path / "none.npy"))
    with pytest.raises(InputError, match="the images need a column 'label'"):
        load_teacher(images.rename_column("label", "kind"), rows, class_table=str(tmp_path / "table.npy"))


def test_triplets_by_rank_are_all_triplets_once():
    drawn = triplets_at(np.arange(math.comb(9, 3)))
    assert sorted(map(tuple, drawn.tolist())) == list(combinations(range(9), 3))
    last = math.comb(2000, 3) - 1
    assert triplets_at(np.array([0, last - 1, last])).tolist() == [[0, 1, 2], [1996, 1998, 1999], [1997, 1998, 1999]]
    assert triplets_at(np.array([], dtype=int)).shape == (0, 3)


def test_subset_of_a_large_batch_is_uniform():
    rng = np.random.default_rng(0)
    triplets, _ = triplets_of_batch(torch.zeros(1000, 1), 30_000, rng)
    assert len({tuple(triplet) for triplet in triplets.tolist()}) == 30_000
    i, j, k = triplets.T
    assert (0 <= i).all() and (i < j).all() and (j < k).all() and (k < 1000).all()
    np.testing.assert_allclose(triplets.double().mean(0) / 1000, [0.25, 0.5, 0.75], atol=0.01)


def test_rows_in_memory_are_those_of_the_dataset():
    rng = np.random.default_rng(0)
    triplets = triplets_from_arrays(rng.permuted(np.tile(np.arange(9), (20, 1)), axis=1)[:, :3], rng.random((20, 3)))
    rows, drawn = TripletRows(triplets), [7, 0, 19]
    assert len(rows) == 20
    for one, many, number in zip([rows[i] for i in drawn], rows.__getitems__(drawn), drawn, strict=True):
        for row in (one, many):
            assert {name: np.asarray(value).tolist() for name, value in row.items()} == triplets[number]
