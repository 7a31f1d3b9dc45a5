"""Human dimensions predicted from embeddings, against scikit-learn one dimension at a time."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold

from hf_alignet.errors import InputError
from hf_alignet.evaluation import (
    dimension_scores,
    odd_one_out_accuracy,
    predict_dimensions,
    predicted_odd_one_out_accuracy,
)


@pytest.fixture
def objects():
    """90 objects with 3 human dimensions, of which the embeddings know the first two."""
    rng = np.random.default_rng(0)
    human = rng.gamma(1.0, size=(90, 3))
    known = human[:, :2] @ rng.normal(size=(2, 12)) + 0.1 * rng.normal(size=(90, 12))
    triplets = np.stack([rng.permutation(90)[:3] for _ in range(5000)])
    return known.astype(np.float32), human, triplets


def test_predictions_equal_a_loop_over_dimensions_and_folds(objects):
    embeddings, human, triplets = objects
    predicted = predict_dimensions(embeddings, human)
    odd = np.zeros(len(triplets), int)
    right = total = 0
    x = embeddings.astype(np.float64)
    splits = KFold(5, shuffle=True, random_state=42).split(x)
    for fold, (train, test) in enumerate(splits):
        values = np.empty((len(test), 3))
        for k in range(3):
            ridge = RidgeCV(alphas=np.logspace(-1, 6, 8)).fit(x[train], human[train, k])
            values[:, k] = ridge.predict(x[test])
            assert predicted.r2[fold, k] == pytest.approx(ridge.score(x[test], human[test, k]))
        np.testing.assert_allclose(predicted.values[test], values)
        assert (predicted.folds[test] == fold).all()
        place = {row: i for i, row in enumerate(test)}
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        for triplet in triplets:
            if all(row in place for row in triplet):
                a, b, c = (unit[place[row]] for row in triplet)
                right, total = right + (np.argmax([b @ c, a @ c, a @ b]) == 0), total + 1
    accuracy = predicted_odd_one_out_accuracy(predicted, triplets, odd)
    assert accuracy["n"] == total > 100 and accuracy["value"] == pytest.approx(right / total)


def test_known_dimensions_are_predicted_and_the_unknown_one_is_not(objects):
    embeddings, human, _ = objects
    scores = dimension_scores(predict_dimensions(embeddings, human))
    assert scores[0]["value"] > 0.8 and scores[1]["value"] > 0.8 and scores[2]["value"] < 0.1
    for score in scores:
        assert score["ci95"][0] < score["value"] < score["ci95"][1] and score["n"] == 90 and score["chance"] == 0


def test_objects_shuffled_alike_and_embeddings_shifted_do_not_matter(objects):
    embeddings, human, _ = objects
    found = predict_dimensions(embeddings, human).values
    np.testing.assert_allclose(predict_dimensions(embeddings + 3, human).values, found, atol=1e-4)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]
    np.testing.assert_allclose(predict_dimensions(embeddings @ turned, human).values, found, atol=1e-4)


def test_single_dimension(objects):
    embeddings, human, _ = objects
    predicted = predict_dimensions(embeddings, human[:, :1])
    np.testing.assert_allclose(predicted.values[:, 0], predict_dimensions(embeddings, human).values[:, 0])


def test_a_perfect_model_is_as_good_as_the_human_dimensions(objects):
    _, human, triplets = objects
    predicted = predict_dimensions(human, human)
    centred = human[triplets]
    unit = centred / np.linalg.norm(centred, axis=2, keepdims=True)
    odd = np.stack([(unit[:, i] * unit[:, j]).sum(-1) for i, j in ((1, 2), (0, 2), (0, 1))], 1).argmax(1)
    assert odd_one_out_accuracy(human, triplets, odd, "cosine")["value"] == 1
    assert predicted_odd_one_out_accuracy(predicted, triplets, odd)["value"] > 0.95
    constant = predict_dimensions(np.ones((90, 4)), human)
    assert predicted_odd_one_out_accuracy(constant, triplets, odd)["value"] == 0


def test_what_cannot_be_predicted(objects):
    embeddings, human, triplets = objects
    with pytest.raises(InputError, match="14 objects cannot make 5 folds"):
        predict_dimensions(embeddings[:14], human[:14])
    with pytest.raises(InputError, match=r"\(80, 12\) and human dimensions \(90, 3\) must be two tables"):
        predict_dimensions(embeddings[:80], human)
    broken = human.copy()
    broken[3, 1] = np.inf
    with pytest.raises(InputError, match="row 3 of the human dimensions is not finite"):
        predict_dimensions(embeddings, broken)
    predicted = predict_dimensions(embeddings, human)
    across = np.array([[np.flatnonzero(predicted.folds == fold)[0] for fold in (0, 1, 1)]])
    with pytest.raises(InputError, match="none of the 1 triplets .* one of the 5 folds .*4%"):
        predicted_odd_one_out_accuracy(predicted, across, np.array([0]))
    with pytest.raises(InputError, match="name rows 0 to 99, but there are 90 objects"):
        predicted_odd_one_out_accuracy(predicted, np.array([[0, 1, 99]]), np.array([0]))
