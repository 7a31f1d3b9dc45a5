import numpy as np
import pytest

from hf_alignet.analysis import linear_cka, model_similarities, model_similarities_before_and_after
from hf_alignet.errors import InputError
from hf_alignet.evaluation import Rsm, correlate_rsms


def cka_by_hsic(x, y):
    """Kornblith et al. 2019, eq. 1 to 3, as printed: HSIC(K, L) = tr(KHLH) / (n - 1)²."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    n = len(x)
    centre = np.eye(n) - 1 / n

    def hsic(k, m):
        return np.trace(k @ centre @ m @ centre) / (n - 1) ** 2

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


@pytest.mark.parametrize("shape", [(40, 5, 8), (40, 8, 70), (12, 90, 60)])  # by features, by Gram matrices
def test_cka_is_that_of_hsic(shape):
    n, d1, d2 = shape
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d1)).astype(np.float32) + 3
    y = (x @ rng.normal(size=(d1, d2)) + rng.normal(size=(n, d2))).astype(np.float32)
    assert linear_cka(x, y) == pytest.approx(cka_by_hsic(x, y), abs=2e-6)
    assert linear_cka(y, x) == pytest.approx(linear_cka(x, y), abs=1e-6)
    assert linear_cka(x.astype(np.float64), y.astype(np.float64)) == pytest.approx(linear_cka(x, y), abs=2e-6)


def test_cka_does_not_see_rotation_scale_and_place():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 9)), rng.normal(size=(50, 4))
    rotation = np.linalg.qr(rng.normal(size=(9, 9)))[0]
    assert linear_cka(x, 7 * x @ rotation + 3) == pytest.approx(1, abs=1e-6)
    for scale in (1e-12, 1e12):
        assert linear_cka(scale * (x @ rotation - 5), y) == pytest.approx(linear_cka(x, y), abs=1e-5)


def test_cka_of_half_precision_and_of_whole_numbers():
    rng = np.random.default_rng(2)
    x, y = rng.integers(-100, 100, (30, 5)), rng.integers(-100, 100, (30, 5))
    expected = cka_by_hsic(x, y)
    assert linear_cka(x, y) == pytest.approx(expected, abs=1e-6)
    assert linear_cka(x.astype(np.float16), y.astype(np.float16)) == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def models():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, 6))
    return {
        "a": x,
        "b": np.hstack([x, rng.normal(size=(30, 3))]),
        "c": rng.normal(size=(30, 50)),
        "same": np.ones((30, 4)),
    }


def test_every_two_models(models):
    by_cka, by_rsa = (model_similarities(models, by) for by in ("cka", "rsa"))
    rsms = {name: Rsm.from_embeddings(x) for name, x in models.items()}
    for found in (by_cka, by_rsa):
        assert list(found.index) == list(found.columns) == list(models)
        np.testing.assert_array_equal(found, found.T)
        np.testing.assert_array_equal(np.diag(found), 1)
        np.testing.assert_array_equal(found.loc["same", ["a", "b", "c"]], 0)
    assert by_cka.loc["b", "a"] == linear_cka(models["a"], models["b"])
    assert by_rsa.loc["b", "a"] == correlate_rsms(rsms["a"], rsms["b"]).value
    assert by_cka.loc["a", "b"] > by_cka.loc["a", "c"]


def test_before_and_after(models):
    aligned = {name: models["a"] for name in reversed(models)}
    found = model_similarities_before_and_after(models, aligned)
    assert list(found["aligned"].index) == list(models)
    np.testing.assert_array_equal(found["base"], model_similarities(models))
    np.testing.assert_allclose(found["aligned"], 1, atol=1e-6)
    del aligned["b"]
    with pytest.raises(InputError, match="only on one side: b"):
        model_similarities_before_and_after(models, aligned)


def test_what_cannot_be_compared(models):
    with pytest.raises(InputError, match="the models embed 30 and 29 objects"):
        linear_cka(models["a"], models["b"][1:])
    with pytest.raises(InputError, match=r"shape \(n, d\) with n >= 3, got \(2, 6\)"):
        linear_cka(models["a"][:2], models["b"][:2])
    models["a"][7, 2] = np.nan
    with pytest.raises(InputError, match="row 7 of the embeddings is not finite"):
        linear_cka(models["a"], models["b"])
    with pytest.raises(InputError, match="`by` must be one of cka, rsa, got 'hsic'"):
        model_similarities(models, "hsic")
