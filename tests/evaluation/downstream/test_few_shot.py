import numpy as np
import pytest

from hf_alignet.errors import InputError
from hf_alignet.evaluation import few_shot_accuracy
from hf_alignet.evaluation.downstream import few_shot


@pytest.fixture
def classes():
    """Five classes of 12 noisy embeddings each, in random order."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([3, 7, 8, 20, 21], 12))
    means = dict(zip([3, 7, 8, 20, 21], rng.normal(size=(5, 6)), strict=True))
    return np.stack([means[c] for c in labels]) + rng.normal(size=(60, 6)), labels


def ridge_by_hand(x, y, new, strength):
    """Standardised least squares to targets of ±1 with an intercept, and the largest answer."""
    scale = x.std(0)
    x, new = (x - x.mean(0)) / scale, (new - x.mean(0)) / scale
    targets = np.where(y[:, None] == np.unique(y), 1.0, -1.0)
    weights = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (targets - targets.mean(0)))
    return np.unique(y)[(new @ weights + targets.mean(0)).argmax(1)]


@pytest.mark.parametrize("shots", [1, 9])
def test_accuracy_is_that_of_ridge_regression_by_hand(shots, classes, monkeypatch):
    embeddings, labels = classes
    draws, draw = [], few_shot._draw
    monkeypatch.setattr(few_shot, "_draw", lambda *args: draws.append(draw(*args)) or draws[-1])
    metric = few_shot_accuracy(embeddings, labels, shots, num_draws=5)
    assert len({tuple(sorted(shots_of)) for shots_of, _, _ in draws}) == 5
    accuracies = []
    for fitted, choosing, measured in draws:
        assert sorted([*fitted, *choosing, *measured]) == list(range(60))
        assert np.unique(labels[fitted], return_counts=True)[1].tolist() == [shots] * 5
        by_ridge = []
        for ridge in 10.0 ** np.arange(-4, 3):
            guess = ridge_by_hand(embeddings[fitted], labels[fitted], embeddings, strength=ridge * len(fitted))
            is_right = guess == labels
            by_ridge.append((is_right[choosing].mean(), is_right[measured].mean()))
        accuracies.append(max(by_ridge, key=lambda pair: pair[0])[1])
    assert metric["value"] == pytest.approx(np.mean(accuracies))
    assert metric["n"] == 5 and metric["chance"] == pytest.approx(1 / 5)
    low, high = metric["ci95"]
    half = 2.776445 * np.std(accuracies, ddof=1) / 5**0.5  # Student's t, 4 degrees of freedom
    assert (high - low) / 2 == pytest.approx(half) and (low + high) / 2 == pytest.approx(metric["value"])


def test_stretched_directions_cost_nothing():
    """Forty classes that a rotation and a stretch by 30 of a tenth of the directions make no harder to tell apart."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 30)
    embeddings = rng.normal(size=(40, 30))[labels] + rng.normal(size=(1200, 30))
    rotation = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    stretched = embeddings @ rotation * np.r_[np.full(3, 30.0), np.ones(27)] @ rotation.T
    before, after = (few_shot_accuracy(x, labels, 10)["value"] for x in (embeddings, stretched))
    assert before > 0.8 and after == pytest.approx(before, abs=0.02)


def test_scale_and_place_of_embeddings_do_not_matter(classes):
    embeddings, labels = classes
    assert few_shot_accuracy(100 * embeddings + 7, labels, 3) == few_shot_accuracy(embeddings, labels, 3)


def test_embeddings_without_information_are_at_chance(classes):
    _, labels = classes
    noise = np.random.default_rng(1).normal(size=(60, 6))
    assert few_shot_accuracy(noise, labels, 5, num_draws=50)["value"] == pytest.approx(0.2, abs=0.06)


def test_more_shots_help_and_a_seed_repeats(classes):
    one, ten = (few_shot_accuracy(*classes, shots) for shots in (1, 10))
    assert ten["value"] > one["value"] > 0.2
    assert few_shot_accuracy(*classes, 1) == one != few_shot_accuracy(*classes, 1, seed=1)


def test_what_cannot_be_measured(classes):
    embeddings, labels = classes
    with pytest.raises(InputError, match="class 3 has 12 images, too few for 11 shots and 2"):
        few_shot_accuracy(embeddings, labels, 11)
    embeddings[7, 2] = np.nan
    with pytest.raises(InputError, match="row 7 of the embeddings is not finite"):
        few_shot_accuracy(embeddings, labels, 1)
