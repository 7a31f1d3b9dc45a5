"""Every classifier against its peer in scikit-learn, or against the closed form written out."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from hf_alignet.evaluation.downstream import classifiers
from hf_alignet.evaluation.downstream.classifiers import (
    RIDGES,
    fit_neighbours,
    fit_prototypes,
    fit_ridge,
    nearest_rows,
    unit,
)
from hf_alignet.evaluation.downstream.labelled import ranks_in_classes
from hf_alignet.evaluation.downstream.logistic import STRENGTHS, fit_logistic, fit_probe


def drawn(n, d, c, seed=0):
    """Embeddings (n, d) around the means of c classes, with labels; and 200 new ones."""
    rng = np.random.default_rng(seed)
    means = 1.2 * rng.normal(size=(c, d)) / d**0.25
    labels, new = rng.permutation(np.arange(n) % c), np.arange(200) % c
    return [(means[y] + rng.normal(size=(len(y), d)) + 3).astype(np.float32) for y in (labels, new)] + [labels, new]


def probabilities(fitted, x):
    scores = x @ fitted.weight + fitted.bias
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def big_vision(x, labels, c, ridge, new):
    """Scores of its `fewshot_lsr`: whitened features with a constant 100, targets of +1 and -1, and one penalty."""
    mean, std = x.mean(0, dtype=float), x.std(0, dtype=float) + 1e-5
    x, new = (np.c_[(part - mean) / std, np.full(len(part), 100.0)] for part in (x, new))
    targets = np.where(labels[:, None] == np.arange(c), 1.0, -1.0)
    return new @ np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ targets)


@pytest.mark.parametrize("ridge", [2.0**10, 1.0])
@pytest.mark.parametrize(("n", "d", "c"), [(10, 30, 10), (300, 20, 7), (40, 39, 4)])
def test_ridge_is_that_of_big_vision(n, d, c, ridge):
    x, new, labels, _ = drawn(n, d, c)
    fitted, naive = fit_ridge(x, labels, c, ridge), big_vision(x, labels, c, ridge, new)
    assert np.allclose(new @ fitted.weight + fitted.bias, naive, atol=1e-9)
    assert np.array_equal(fitted.predict(new), naive.argmax(1))


def test_the_chosen_ridge_leaves_out_one_image_best():
    x, new, labels, _ = drawn(24, 30, 4)
    mean, std = x.mean(0, dtype=float), x.std(0, dtype=float) + 1e-5
    whole = np.c_[(x - mean) / std, np.full(len(x), 100.0)]
    targets = np.where(labels[:, None] == np.arange(4), 1.0, -1.0)
    errors = []
    for ridge in RIDGES:
        error = 0.0
        for row in range(len(x)):
            kept = np.arange(len(x)) != row
            square = whole[kept].T @ whole[kept] + ridge * np.eye(31)
            weight = np.linalg.solve(square, whole[kept].T @ targets[kept])
            error += ((whole[row] @ weight - targets[row]) ** 2).sum()
        errors.append(error)
    best = big_vision(x, labels, 4, RIDGES[int(np.argmin(errors))], new)
    fitted = fit_ridge(x, labels, 4, None)
    assert np.allclose(new @ fitted.weight + fitted.bias, best, atol=1e-6)


@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_logistic_regression_is_that_of_scikit_learn(strength):
    x, new, labels, _ = drawn(200, 12, 5)
    peer = LogisticRegression(C=strength, tol=1e-12, max_iter=10_000).fit(x.astype(np.float64), labels)
    fitted = fit_logistic(x, labels, 5, strength)
    assert np.allclose(probabilities(fitted, new), peer.predict_proba(new), atol=1e-5)


def test_logistic_regression_in_blocks(monkeypatch):
    x, _, labels, _ = drawn(60, 6, 3)
    whole = fit_logistic(x, labels, 3)
    monkeypatch.setattr("hf_alignet.evaluation.downstream.logistic.BLOCK", 7)
    assert np.allclose(fit_logistic(x, labels, 3).weight, whole.weight, atol=1e-5)


def test_the_probe_chooses_its_strength_and_undoes_the_standard():
    x, new, labels, _ = drawn(400, 30, 4)
    fitted = fit_probe(x, labels, 4)
    is_held_out = ranks_in_classes(labels, 0) % 5 == 4
    standard = (x - x.mean(0)) / x.std(0)
    shares = []
    for strength in STRENGTHS:
        peer = LogisticRegression(C=strength, tol=1e-9, max_iter=10_000)
        peer.fit(standard[~is_held_out], labels[~is_held_out])
        shares.append(peer.score(standard[is_held_out], labels[is_held_out]))
    best = LogisticRegression(C=STRENGTHS[int(np.argmax(shares))], tol=1e-9, max_iter=10_000).fit(standard, labels)
    assert (fitted.predict(new) == best.predict((new - x.mean(0)) / x.std(0))).mean() > 0.99
    assert np.array_equal(fit_probe(50 * x - 9, labels, 4).predict(50 * new - 9), fitted.predict(new))


def test_prototypes_and_neighbours_are_those_of_scikit_learn(monkeypatch):
    x, new, labels, _ = drawn(120, 12, 5)
    assert np.array_equal(fit_prototypes(x, labels, 5).predict(new), NearestCentroid().fit(x, labels).predict(new))
    peer = KNeighborsClassifier(5, metric="cosine", algorithm="brute").fit(x, labels).predict(new)
    assert np.array_equal(fit_neighbours(x, labels, 5).predict(new), peer)
    monkeypatch.setattr(classifiers, "CELLS", 500)  # several blocks
    assert np.array_equal(fit_neighbours(x, labels, 5).predict(new), peer)


def test_neighbours_of_few_shots_are_as_many_as_shots():
    x, new, labels, _ = drawn(10, 12, 5)
    peer = KNeighborsClassifier(2, metric="cosine", algorithm="brute").fit(x, labels).predict(new)
    assert np.array_equal(fit_neighbours(x, labels, 5).predict(new), peer)


def test_embeddings_without_length_are_near_to_nothing():
    directions = unit(np.array([[0.0, 0.0], [3.0, 4.0]]))
    assert np.allclose(directions, [[0, 0], [0.6, 0.8]]) and directions.dtype == np.float32
    assert next(nearest_rows(directions, directions, 1)).tolist()[1] == [1]
