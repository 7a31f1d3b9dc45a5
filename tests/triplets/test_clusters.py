"""Clusters: planted ones are found again, with the same result wherever and however it is computed."""

import logging

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from hf_alignet.errors import InputError
from hf_alignet.triplets import clusters as module
from hf_alignet.triplets import kmeans
from hf_alignet.triplets.clusters import default_num_clusters, elbow, elbow_curve, fit_clusters


def blobs(num_blobs: int = 6, size: int = 60, seed: int = 0, spread: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings around distant centres, in random order, and which each belongs to."""
    rng = np.random.default_rng(seed)
    planted = rng.permutation(np.repeat(np.arange(num_blobs), size))
    centers = 5 * rng.normal(size=(num_blobs, 8))
    return (centers[planted] + spread * rng.normal(size=(len(planted), 8))).astype(np.float32), planted


def fit(embeddings, num_clusters, **options):
    return fit_clusters(embeddings, num_clusters, progress=False, **options)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_planted_clusters_are_found(dtype):
    embeddings, planted = blobs()
    found = fit(embeddings.astype(dtype), 6)
    assert adjusted_rand_score(planted, found.assignments) == 1.0
    assert found.assignments.dtype == np.int32 and found.centers.dtype == np.float32
    assert found.sizes.tolist() == [60] * 6 and found.num_merged == 0
    for cluster in range(6):
        mean = embeddings[found.assignments == cluster].mean(0)
        np.testing.assert_allclose(found.centers[cluster], mean, atol=0.02)


def test_every_image_is_with_the_nearest_centre(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 100)  # several blocks, the last of another length
    embeddings = np.random.default_rng(0).normal(size=(431, 5)).astype(np.float32)
    found = fit(embeddings, 12)
    distances = ((embeddings[:, None] - found.centers) ** 2).sum(-1)
    np.testing.assert_array_equal(found.assignments, distances.argmin(1))
    assert (found.sizes >= 2).all() and found.sizes.sum() == 431


def test_a_sample_finds_them_too_and_the_seed_decides(monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_PER_CLUSTER", 8)
    embeddings, planted = blobs(size=200)
    found = fit(embeddings, 6, seed=1)
    assert adjusted_rand_score(planted, found.assignments) == 1.0
    again, other = fit(embeddings, 6, seed=1), fit(embeddings, 6, seed=2)
    np.testing.assert_array_equal(found.assignments, again.assignments)
    np.testing.assert_array_equal(found.centers, again.centers)
    assert (found.centers != other.centers).any()


def test_number_of_threads_makes_no_difference():
    embeddings = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32)
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            clusters = fit(embeddings, 30)
            curve = elbow_curve(embeddings[:500], progress=False)
        found.append((clusters.assignments.tobytes(), clusters.centers.tobytes(), curve.inertia.tolist()))
    assert found[0] == found[1] == found[2]


def test_memory_map(tmp_path):
    embeddings, _ = blobs()
    np.save(tmp_path / "embeddings.npy", embeddings)
    mapped = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
    np.testing.assert_array_equal(fit(mapped, 6).assignments, fit(embeddings, 6).assignments)


def test_centres_are_learned_from_the_rows_alone():
    embeddings, planted = blobs()
    learned = np.flatnonzero(planted < 4)
    found = fit(embeddings, 4, rows=learned)
    assert adjusted_rand_score(planted[learned], found.assignments[learned]) == 1.0
    assert len(found.assignments) == len(embeddings)  # the others are with the nearest
    embeddings[planted >= 4] += 100
    again = fit(embeddings, 4, rows=learned)
    np.testing.assert_array_equal(again.centers, found.centers)
    curve = elbow_curve(embeddings, rows=learned, progress=False)
    assert curve.equals(elbow_curve(embeddings[learned], progress=False))


@pytest.mark.parametrize("num_outliers", [1, 3])
def test_clusters_of_one_image_are_merged_counted_and_said(num_outliers, caplog):
    embeddings, planted = blobs(num_blobs=3)
    outliers = 1000 * np.eye(8, dtype=np.float32)[:num_outliers]
    embeddings = np.concatenate([embeddings, outliers])
    with caplog.at_level(logging.WARNING):
        found = fit(embeddings, 3 + num_outliers)
    assert found.num_merged == num_outliers and len(found.centers) == 3
    assert (found.sizes >= 2).all() and found.sizes.sum() == len(embeddings)
    assert adjusted_rand_score(planted, found.assignments[: len(planted)]) == 1.0
    distances = ((outliers[:, None] - found.centers) ** 2).sum(-1)
    np.testing.assert_array_equal(found.assignments[len(planted) :], distances.argmin(1))
    message = f"{num_outliers} of {3 + num_outliers} clusters had fewer than two images"
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [message]


def test_nothing_is_said_where_nothing_is_merged(caplog):
    fit(blobs()[0], 6)
    assert not caplog.records


@pytest.mark.parametrize("planted", [4, 8])
def test_elbow_is_at_the_planted_number(planted):
    embeddings, _ = blobs(planted, 640 // planted, seed=1)
    curve = elbow_curve(embeddings, progress=False)
    assert list(curve) == ["num_clusters", "inertia"]
    assert curve.num_clusters[0] == 2 and curve.num_clusters.iloc[-1] == 32 and len(curve) == 10
    assert curve.num_clusters.is_monotonic_increasing and curve.num_clusters.is_unique
    assert (curve.inertia > 0).all()
    assert elbow(curve) == curve.num_clusters[curve.num_clusters >= planted].min()


def test_inertia_is_the_mean_squared_distance():
    embeddings, _ = blobs(2, 60)
    curve = elbow_curve(embeddings, progress=False)
    found = fit(embeddings, 2)
    mean = ((embeddings - found.centers[found.assignments]) ** 2).sum(1).mean()
    np.testing.assert_allclose(curve.inertia[0], mean, rtol=1e-4)


def test_elbow_of_a_curve():
    curve = pd.DataFrame({"num_clusters": [2, 4, 8, 16, 32], "inertia": [100.0, 90.0, 20.0, 15.0, 10.0]})
    assert elbow(curve) == 8
    assert elbow(curve.assign(inertia=1e6 * curve.inertia + 5)) == 8  # whatever the scale


@pytest.mark.parametrize(
    ("num_images", "expected"), [(10, 2), (59, 2), (60, 3), (9999, 499), (10_000, 500), (10**6, 500)]
)
def test_default_number(num_images, expected):
    assert default_num_clusters(num_images) == expected


# ---- what cannot be


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_embedding_that_is_not_finite_is_named(bad, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 100)
    embeddings, _ = blobs()
    embeddings[[211, 300], 3] = bad
    for compute in (lambda: fit(embeddings, 6), lambda: elbow_curve(embeddings, progress=False)):
        with pytest.raises(InputError, match="of image row 211 is not finite"):
            compute()


@pytest.mark.parametrize(("number", "rows"), [(1, None), (0, None), (-3, None), (181, None), (6, np.arange(11))])
def test_numbers_of_clusters_that_cannot_be(number, rows):
    there = 360 if rows is None else 11
    with pytest.raises(InputError, match=f"^{number} clusters are not possible.*there are {there} images"):
        fit(blobs()[0], number, rows=rows)


def test_two_images_a_cluster_are_enough():
    embeddings, planted = blobs(5, 2)
    assert adjusted_rand_score(planted, fit(embeddings, 5).assignments) == 1.0


def test_too_few_images_for_an_elbow():
    embeddings, _ = blobs(4, 40)
    with pytest.raises(InputError, match="79 images are too few to find an elbow"):
        elbow_curve(embeddings[:79], progress=False)
    assert elbow_curve(embeddings[:80], progress=False).num_clusters.tolist() == [2, 3, 4]
    with pytest.raises(InputError, match="40 images are too few"):
        elbow_curve(embeddings, rows=np.arange(40), progress=False)


# ---- many rows: a start from some of them


def test_many_rows_are_clustered_as_well_and_as_steadily(monkeypatch):
    embeddings = np.random.default_rng(0).normal(size=(4000, 24)).astype(np.float32) ** 3
    whole = fit(embeddings, 40)
    monkeypatch.setattr(kmeans, "SMALL", 0)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(fit(embeddings, 40))
    monkeypatch.setattr(kmeans, "BLOCK", 333)  # other products, but sums without rounding
    found.append(fit(embeddings, 40))
    assert len(found[0].centers) > 35
    for clusters in found:
        np.testing.assert_array_equal(clusters.centers, found[0].centers)
        np.testing.assert_array_equal(clusters.assignments, found[0].assignments)
        means = np.stack([embeddings[clusters.assignments == k].mean(0) for k in range(len(clusters.centers))])
        assert np.abs(clusters.centers - means).mean() < 0.05
    assert inertia(embeddings, found[0]) < 1.01 * inertia(embeddings, whole)


def inertia(embeddings: np.ndarray, clusters: module.Clusters) -> float:
    return float(((embeddings - clusters.centers[clusters.assignments]) ** 2).sum())


def test_many_rows_around_planted_centers(monkeypatch):
    monkeypatch.setattr(kmeans, "SMALL", 0)
    embeddings, planted = blobs(size=200)
    assert adjusted_rand_score(planted, fit(embeddings, 6).assignments) == 1.0
    centers, total = kmeans.fit_centers(embeddings, 6, 0)
    assert total == pytest.approx(((embeddings[:, None] - centers) ** 2).sum(-1).min(1).sum(), rel=1e-3)
