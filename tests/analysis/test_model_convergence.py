"""How alike models are, with a jackknife over classes, against CKA of the images that stay."""

import numpy as np
import pytest

from hf_alignet.analysis import linear_cka
from hf_alignet.analysis.model_convergence import MOST_GROUPS, model_convergence
from hf_alignet.errors import InputError

RNG = np.random.default_rng(0)
CLASSES = RNG.permutation(np.repeat(np.arange(30), 6))
SHARED = RNG.normal(size=(30, 6))[CLASSES]


def models(weight: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Three models that have more in common the greater the weight is, of different widths, scales and means."""
    rng = np.random.default_rng(seed)
    return {
        name: 10.0**k * (weight * SHARED @ rng.normal(size=(6, 8 + k)) + rng.normal(size=(180, 8 + k))) + k
        for k, name in enumerate("abc")
    }


def test_values_equal_cka_of_all_images_and_of_those_that_stay():
    of = models(0.5)
    found = model_convergence(of, CLASSES, seed=1)
    groups = np.random.default_rng(1).permutation(30) % MOST_GROUPS
    left_out = []
    for group in range(MOST_GROUPS):
        rows = groups[CLASSES] != group
        left_out.append([linear_cka(of[one][rows], of[other][rows]) for one, other in found.pairs])
    assert found.pairs == [("a", "b"), ("a", "c"), ("b", "c")]
    np.testing.assert_allclose(found.values, [linear_cka(of[one], of[other]) for one, other in found.pairs], atol=1e-5)
    np.testing.assert_allclose(found.left_out, left_out, atol=1e-5)
    mean = found.mean()
    error = np.sqrt(19 / 20 * ((np.mean(left_out, 1) - np.mean(left_out)) ** 2).sum())
    assert mean["value"] == pytest.approx(found.values.mean())
    assert mean["ci95"][1] - mean["value"] == pytest.approx(2.093 * error, rel=1e-3)  # Student's t of 19 degrees
    assert (mean["n"], mean["unit"]) == (180, "classes")


def test_models_that_become_alike():
    before, after = (model_convergence(models(weight), CLASSES) for weight in (0.0, 1.0))
    change = before.change(after)
    assert change["value"] == pytest.approx(after.values.mean() - before.values.mean())
    assert change["ci95"][0] > 0.2
    none = before.change(model_convergence(models(0.0, seed=9), CLASSES))
    assert none["ci95"][0] < 0 < none["ci95"][1]


def test_few_classes_have_no_interval_and_a_constant_model_is_like_none():
    classes = np.arange(180) % 4
    found = model_convergence(models(0.5) | {"constant": np.ones((180, 3))}, classes)
    table = found.table().set_index(["model", "other"])
    assert table.low.isna().all() and found.mean()["note"] == "no interval: fewer than 5 classes carry it"
    assert table.cka["a", "constant"] == 0


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="there is only a"):
        model_convergence({"a": np.eye(4)}, np.arange(4))
    with pytest.raises(InputError, match="b has embeddings of 3 images, not of 4"):
        model_convergence({"a": np.eye(4), "b": np.eye(3)}, np.arange(4))
