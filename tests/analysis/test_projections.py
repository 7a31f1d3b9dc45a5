"""Places on a page: principal components against scikit-learn, and Procrustes."""

import numpy as np
import pytest
from scipy.spatial import procrustes
from sklearn.decomposition import PCA

from hf_alignet.analysis import projections
from hf_alignet.analysis.projections import has_trimap, principal_components, trimap_places, turned_to, unit_places
from hf_alignet.errors import InputError

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(200, 12)) * np.geomspace(5, 0.5, 12) + 30).astype(np.float32)


def test_components_equal_those_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(projections, "BLOCK", 64)
    found, expected = principal_components(X, 5), PCA(5, svd_solver="full").fit(X.astype(np.float64))
    np.testing.assert_allclose(found.shares, expected.explained_variance_ratio_, rtol=1e-5)
    signs = np.sign((found.places * expected.transform(X)).sum(0))
    np.testing.assert_allclose(found.places, expected.transform(X) * signs, atol=1e-3)
    weights = expected.components_ * signs[:, None]
    assert (weights[np.arange(5), np.abs(weights).argmax(1)] > 0).all()


def test_components_are_as_many_as_there_are():
    assert principal_components(X[:4], 32).shares.sum() == pytest.approx(1)
    assert principal_components(X[:4], 32).places.shape == (4, 3)
    assert principal_components(np.ones((5, 3)), 2).shares.tolist() == [0, 0]
    with pytest.raises(InputError, match="two images or more, got 1"):
        principal_components(X[:1])
    with pytest.raises(InputError, match="row 1 of the embeddings is not finite"):
        principal_components(np.array([[1.0], [np.nan]]))


def test_a_turned_mirrored_scaled_and_moved_page_comes_back():
    page = RNG.normal(size=(30, 2)) * [2, 1]
    turn = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]]) @ np.diag([1, -1])
    np.testing.assert_allclose(turned_to(page, 7 * page @ turn + 3), unit_places(page), atol=1e-12)
    assert (unit_places(page) ** 2).sum(1).mean() == pytest.approx(1)


def test_turning_equals_procrustes_of_scipy():
    one, other = RNG.normal(size=(2, 40, 2)) + np.array([1.0, 0.0])
    turned, target = turned_to(one, other), unit_places(one)
    first, second, _ = procrustes(one, other)
    scale = np.linalg.norm(second) / np.linalg.norm(turned)  # scipy also shrinks the second
    np.testing.assert_allclose(turned * scale, second, atol=1e-12)
    np.testing.assert_allclose(target / np.linalg.norm(target), first, atol=1e-12)


def test_trimap_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setattr(projections, "find_spec", lambda name: None)
    assert not has_trimap()
    with pytest.raises(InputError, match=r"pip install hf-alignet\[analysis\]"):
        trimap_places(X)


@pytest.mark.slow
@pytest.mark.skipif(not has_trimap(), reason="needs the extra `analysis`")
def test_trimap_keeps_clusters_apart():
    groups = np.repeat(np.arange(3), 50)
    places = trimap_places(RNG.normal(size=(150, 8)) + 20 * np.eye(8)[groups])
    centres = np.stack([places[groups == group].mean(0) for group in range(3)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(1)
    assert (nearest == groups).all()
