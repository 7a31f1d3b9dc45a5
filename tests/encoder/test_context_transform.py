"""ContextTransform: what it computes, that the order of a triplet does not matter, and its way to disk."""

from itertools import permutations

import numpy as np
import pytest

from hf_alignet.encoder import AffineTransform, ContextTransform, open_transform
from hf_alignet.errors import InputError
from hf_alignet.similarity import PAIRS
from hf_alignet.similarity.products import products_of_triplets


@pytest.fixture
def transform():
    rng = np.random.default_rng(0)
    plain = AffineTransform(rng.normal(size=(5, 5)), rng.normal(size=5), 0.3, 1.7, {"method": "hard"})
    axes = np.linalg.qr(rng.normal(size=(5, 3)))[0]
    return ContextTransform(plain, axes, rng.normal(size=(3, 3)) / 3, rng.normal(size=3) / 3)


@pytest.fixture
def features():
    return np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)


def test_similarities_are_those_of_the_equation(transform, features):
    triplet = np.array([4, 0, 7])
    z = transform.plain(features[triplet]).astype(np.float64)
    x = z @ transform.axes.double().numpy()
    log_weights = (
        sum(row @ transform.gate_weight.double().numpy() + transform.gate_bias.double().numpy() for row in x) / 3
    )
    expected = [z[i] @ z[j] + ((np.exp(log_weights) - 1) * x[i] * x[j]).sum() for i, j in PAIRS]
    np.testing.assert_allclose(transform.similarities(features, triplet[None])[0], expected, rtol=1e-4)


def test_order_of_the_images_does_not_matter(transform, features):
    orders = np.array(list(permutations((2, 5, 8))))
    found = transform.similarities(features, orders)
    by_pair = [
        {frozenset(order[[i, j]]): s for (i, j), s in zip(PAIRS, row, strict=True)}
        for order, row in zip(orders, found, strict=True)
    ]
    for pair, expected in by_pair[0].items():
        assert [each[pair] for each in by_pair] == pytest.approx([expected] * 6, rel=1e-5)


def test_third_image_counts_and_without_a_gate_it_does_not(transform, features):
    triplets = np.array([[0, 1, third] for third in range(2, 9)])
    assert np.ptp(transform.similarities(features, triplets)[:, 0]) > 0.1
    constant = ContextTransform(transform.plain, transform.axes, np.zeros((3, 3)), np.zeros(3))
    plain = products_of_triplets(transform.plain(features), triplets)
    np.testing.assert_array_equal(constant.similarities(features, triplets), plain)


def test_images_unlike_any_seen_do_not_overflow(transform, features):
    assert np.isfinite(transform.similarities(1e4 * features, np.array([[0, 1, 2]]))).all()


def test_what_does_not_fit_is_refused(transform, features):
    with pytest.raises(InputError, match=r"axes \(5, r\), gate_weight"):
        ContextTransform(transform.plain, np.eye(4), np.eye(4), np.zeros(4))
    with pytest.raises(InputError, match="gate_bias of the context transform is not finite"):
        ContextTransform(transform.plain, np.eye(5), np.eye(5), np.full(5, np.nan))
    with pytest.raises(InputError, match="do not fit a transform of width 5"):
        transform.similarities(features[:, :4], np.array([[0, 1, 2]]))
    with pytest.raises(InputError, match="the triplets name rows 0 to 9"):
        transform.similarities(features, np.array([[0, 1, 9]]))


def test_saved_transform_is_the_same_and_gives_no_embedding(transform, features, tmp_path):
    transform.save_pretrained(tmp_path / "context")
    loaded = open_transform(str(tmp_path / "context"))
    triplets = np.array([[0, 1, 2], [6, 5, 3]])
    assert isinstance(loaded, ContextTransform) and loaded.info == transform.info
    np.testing.assert_array_equal(loaded.similarities(features, triplets), transform.similarities(features, triplets))
    with pytest.raises(InputError, match="no image has an embedding"):
        AffineTransform.from_pretrained(tmp_path / "context")
    transform.plain.save_pretrained(tmp_path / "plain")
    assert isinstance(open_transform(str(tmp_path / "plain")), AffineTransform)
    with pytest.raises(InputError, match="cannot open"):
        open_transform(str(tmp_path / "nothing"))
