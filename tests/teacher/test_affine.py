"""AffineTeacher: recovery of a planted transform, honest selection, and what is refused."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from threadpoolctl import threadpool_limits

from hf_alignet.encoder import AffineTransform
from hf_alignet.errors import InputError
from hf_alignet.similarity import is_correct, odd_of_pair, odd_one_out, triplet_similarities
from hf_alignet.teacher import AffineTeacher
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.affine.affine_teacher import PENALTIES
from hf_alignet.teacher.affine.axes import PrincipalAxes
from hf_alignet.teacher.affine.objective import Objective
from hf_alignet.teacher.affine.problem import AffineProblem
from hf_alignet.teacher.affine.selection import evaluate, make_folds, mean_cross_entropy


def make_problem(num_objects=40, dim=5, seed=0):
    """Features, a symmetric weight and a bias, all triplets, and the probabilities that follow."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num_objects, dim)) * np.linspace(2, 0.5, dim) + 0.3
    weight = rng.normal(size=(dim, dim)) * 0.2
    weight = weight @ weight.T + 0.3 * np.eye(dim)
    bias = rng.normal(size=dim) * 0.2
    triplets = np.array(list(itertools.combinations(range(num_objects), 3)))
    embedded = torch.from_numpy(features @ weight + bias)
    probabilities = triplet_similarities(embedded, torch.from_numpy(triplets)).softmax(1).numpy()
    return features.astype(np.float32), weight, bias, triplets, probabilities


@pytest.fixture(scope="module")
def planted():
    return make_problem()


@pytest.fixture(scope="module")
def choices():
    """40 objects, 4,000 choices of one person each, with the probabilities of a planted transform."""
    features, _, _, triplets, probabilities = make_problem()
    rng = np.random.default_rng(1)
    rows = rng.integers(0, len(triplets), 4000)
    pair = (rng.random((4000, 1)) > probabilities[rows].cumsum(1)).sum(1).clip(max=2)
    return features, triplets[rows], np.eye(3)[pair]


def first_fold(features, triplets, probabilities):
    data = AffineData.checked(features, triplets, probabilities, None)
    splits = AffineTeacher("hard").splits(data.triplets, data.weights, len(features))
    return make_folds(AffineProblem(data, PENALTIES["hard"]), data, splits)[0]


# ---- fits


@pytest.mark.parametrize("method", ["hard", "glocal"])
@pytest.mark.parametrize("regularization", [None, 0.1])
def test_numpy_numbers_are_settings_like_any_other(method, regularization, choices, tmp_path):
    features, triplets, kept_together = choices
    settings = {"num_folds": 2, "local_weight": 0.5, "local_temperature": 0.5, "local_batch_size": 8, "max_iter": 50}
    settings |= {"num_local_batches": 2, "tolerance": 1e-3, "random_state": 1, "regularization": regularization}
    kinds = {int: np.int64, float: np.float32, type(None): lambda value: value}
    rounded = {name: kinds[type(value)](value) for name, value in settings.items()}
    plain = {name: value.item() if value is not None else None for name, value in rounded.items()}
    local = features if method == "glocal" else None
    fits = [
        AffineTeacher(method, **given).fit(features, triplets, kept_together, None, local, progress=False).transform_
        for given in (plain, rounded)
    ]
    for name, tensor in fits[0].named_buffers():
        assert torch.equal(tensor, fits[1].get_buffer(name))
    fits[1].save_pretrained(tmp_path)
    assert AffineTransform.from_pretrained(tmp_path).info == fits[0].info
    assert clone(AffineTeacher(method, **rounded)).num_folds is rounded["num_folds"]  # as scikit-learn wants it


@pytest.mark.skipif(not hasattr(BaseEstimator, "__sklearn_tags__"), reason="scikit-learn before 1.6 asks for no tags")
def test_scikit_learn_takes_the_teacher_for_an_estimator():
    from sklearn.utils import get_tags

    teacher = AffineTeacher("hard", num_folds=4)
    assert get_tags(teacher) == get_tags(BaseEstimator())
    assert teacher.get_params()["num_folds"] == 4 and teacher.set_params(num_folds=3).num_folds == 3
    with pytest.raises(ValueError, match="AffineTeacher has no setting 'folds'"):
        teacher.set_params(folds=3)


def test_planted_transform_is_recovered(planted):
    features, weight, _, triplets, probabilities = planted
    teacher = AffineTeacher(regularization=1e-5, tolerance=1e-9, max_iter=1000)
    transform = teacher.fit(features, triplets, probabilities).transform_
    embedded = transform(features)
    similarities = triplet_similarities(torch.from_numpy(embedded), torch.from_numpy(triplets))
    np.testing.assert_allclose(similarities.softmax(1).numpy(), probabilities, atol=0.02)
    found = transform.weight.double().numpy() / transform.std.item()
    upper = np.triu_indices(len(weight))
    assert np.corrcoef((found @ found.T)[upper], (weight @ weight.T)[upper])[0, 1] > 0.99
    np.testing.assert_allclose(found, found.T, atol=1e-5)


def test_choices_of_people_predict_new_objects(choices, planted):
    features, triplets, kept_together = choices
    teacher = AffineTeacher("hard").fit(features, triplets, kept_together, progress=False)
    scores = mean_cross_entropy(teacher.selection_)
    best = scores.index[scores.argmin()]
    assert teacher.regularization_ == best
    assert scores.index[0] < best < scores.index[-1]
    of_best = teacher.selection_[teacher.selection_.regularization == best]
    assert list(of_best.fold) == [0, 1]  # a tenth of the objects each, which about 27 % of the choices name
    assert scores[best] < math.log(3) - 0.1
    # Which objects people were asked about decides little: the truth is nearly as well predicted as by itself
    _, _, _, everything, truth = planted
    data = AffineData.checked(features, everything, truth, None)
    entropy = -(truth * np.log(truth)).sum(1).mean()
    assert entropy < evaluate(teacher.transform_(features), data)[0].mean() < entropy + 0.02
    assert (np.diff(teacher.history_) <= 0).all() and teacher.n_iter_ == len(teacher.history_)


def test_weights_count_choices(choices):
    features, triplets, kept_together = choices
    rows = np.arange(1000)
    times = rows % 3
    repeated = np.repeat(rows, times)
    one = AffineTeacher("hard", 0.1).fit(features, triplets[rows], kept_together[rows], times)
    other = AffineTeacher("hard", 0.1).fit(features, triplets[repeated], kept_together[repeated])
    np.testing.assert_allclose(one.transform_.weight, other.transform_.weight, atol=1e-4)


@pytest.mark.parametrize("method", ["hard", "global"])
def test_strong_regularization(choices, method):
    weight = AffineTeacher(method, 1e3).fit(*choices).transform_.weight
    if method == "hard":
        torch.testing.assert_close(weight, weight.diagonal().mean() * torch.eye(5), atol=1e-3, rtol=0)
        assert weight.diagonal().mean() > 0.1
    else:
        assert weight.abs().max() < 1e-2


@pytest.mark.parametrize("method", ["hard", "global"])
def test_more_features_than_objects(method):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 20)).astype(np.float32)
    triplets = np.array(list(itertools.combinations(range(12), 3)))
    kept_together = np.eye(3)[rng.integers(0, 3, len(triplets))]
    data = AffineData.checked(features, triplets, kept_together, None)
    problem = AffineProblem(data, PENALTIES[method])
    assert problem.features.shape == (12, 11)
    # The same objective in all 20 dimensions has the same optimum
    whole = AffineProblem(data, PENALTIES[method])
    whole.__dict__["axes"] = PrincipalAxes.of(features)
    images = rng.normal(size=(5, 20)).astype(np.float32)
    found, expected = (each.transform(each.solve(0.1, 1e-10, 2000))(images) for each in (problem, whole))
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_objects_that_no_triplet_names_cost_nothing(choices):
    """They count for the axes alone: value and gradient are those through the similarities of all objects."""
    features, triplets, kept_together = choices
    rng = np.random.default_rng(0)
    every = np.concatenate([rng.normal(size=(30, 5)), features, rng.normal(size=(30, 5))]).astype(np.float32)
    problem = AffineProblem(AffineData.checked(every, triplets + 30, kept_together, None), PENALTIES["hard"])
    projected = torch.from_numpy(problem.axes.project(every)).double()
    weight = torch.from_numpy(rng.normal(size=(5, 5)) * 0.3).requires_grad_()
    bias = torch.from_numpy(rng.normal(size=5)).requires_grad_()
    similarities = triplet_similarities(projected @ weight + bias, torch.from_numpy(triplets + 30))
    expected = -(similarities.log_softmax(1) * torch.from_numpy(kept_together)).sum(1).mean()
    expected.backward()
    objective = Objective(problem.features, problem.data.choices, PENALTIES["hard"], regularization=0.0)
    found = objective(weight.detach().numpy(), bias.detach().numpy())
    for number, known in zip(found, (expected.item(), weight.grad, bias.grad), strict=True):
        np.testing.assert_allclose(number, known, rtol=1e-4, atol=1e-5)
    # All similarities would take 40 GB
    many = np.concatenate([features, rng.normal(size=(100_000, 5))]).astype(np.float32)
    teacher = AffineTeacher("hard", 0.1).fit(many, triplets, kept_together, progress=False)
    assert teacher.transform_.info["num_objects"] == len(many)


def test_glocal_keeps_what_is_similar(choices):
    images = np.random.default_rng(2).normal(size=(300, 5)).astype(np.float32) + 0.3

    def mean_change(local_weight):
        teacher = AffineTeacher("glocal", 1e-3, local_weight=local_weight, local_temperature=0.1, local_batch_size=100)
        transformed = teacher.fit(*choices, local_features=images).transform_(images)
        assert teacher.transform_.info["num_local_batches"] == 4
        return np.abs(np.corrcoef(transformed) - np.corrcoef(images)).mean()

    hard = AffineTeacher("hard", 1e-3).fit(*choices).transform_
    without = AffineTeacher("glocal", 1e-3, local_weight=0.0).fit(*choices, local_features=images).transform_
    torch.testing.assert_close(without.weight, hard.weight)
    assert mean_change(0.9) < 0.7 * mean_change(0.0)


def test_regularization_is_chosen_by_what_people_chose(choices):
    features, triplets, kept_together = choices
    soft = 0.2 + 0.4 * kept_together
    teacher = AffineTeacher(num_folds=3).fit(features, triplets, soft, observed=kept_together, progress=False)
    fold = teacher.selection_.iloc[0]
    held_out = first_fold(features, triplets, kept_together).held_out
    assert fold.weight == held_out.weights.sum()
    shares = fold.accuracy * fold.weight  # of single choices: a whole number of them is right
    assert shares == pytest.approx(round(shares), abs=1e-6)


def test_held_out_objects_change_nothing(choices):
    features, triplets, kept_together = choices
    first = first_fold(features, triplets, kept_together)
    is_held_out = ~np.isin(features[:, 0], first.problem.data.features[:, 0])
    assert is_held_out.sum() == 4
    touches = is_held_out[triplets].any(1)
    moved, swapped = features.copy(), kept_together.copy()
    moved[is_held_out] = 100
    swapped[touches] = np.roll(swapped[touches], 1, axis=1)
    other = first_fold(moved, triplets, swapped)
    solution, same = first.problem.solve(0.1, 1e-6, 50), other.problem.solve(0.1, 1e-6, 50)
    np.testing.assert_allclose(solution.weight, same.weight, atol=1e-5)
    np.testing.assert_allclose(solution.bias, same.bias, atol=1e-5)
    assert len(first.held_out.triplets) == touches.sum() > 0
    assert len(first.problem.data.triplets) == (~touches).sum()
    named = first.held_out.features[first.held_out.triplets]
    np.testing.assert_array_equal(named, features[triplets[touches]])


def test_same_seed_same_transform(choices):
    teacher = AffineTeacher("hard", random_state=3).fit(*choices, progress=False)
    again = clone(teacher).fit(*choices, progress=False)
    given = AffineTeacher("hard", teacher.regularization_).fit(*choices)
    assert teacher.regularization_ == again.regularization_
    # Not to the bit: BLAS may add up in another order where an array lies elsewhere in memory
    pd.testing.assert_frame_equal(teacher.selection_, again.selection_, rtol=1e-4)
    for other in (again, given):
        torch.testing.assert_close(other.transform_.weight, teacher.transform_.weight, rtol=0, atol=1e-4)


def test_two_threads_agree_with_one():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(1000, 128)) / np.sqrt(1 + np.arange(128))).astype(np.float32)
    triplets = np.stack([rng.permutation(1000)[:3] for _ in range(40_000)])
    similarities = triplet_similarities(torch.from_numpy(features), torch.from_numpy(triplets)).numpy()
    kept_together = np.eye(3)[(similarities + rng.gumbel(size=similarities.shape)).argmax(1)]
    data = AffineData.checked(features, triplets, kept_together, None)
    accuracies = []
    threads = torch.get_num_threads()
    for number in (1, 2):
        torch.set_num_threads(number)
        with threadpool_limits(number):
            transform = AffineTeacher("hard", 0.01).fit(features, triplets, kept_together).transform_
            accuracies.append(evaluate(transform(features), data)[1])
    torch.set_num_threads(threads)
    assert accuracies[0] == pytest.approx(accuracies[1], abs=1e-4)


def test_info_goes_with_the_transform(choices):
    info = AffineTeacher("hard", 0.1).fit(*choices).transform_.info
    assert info["method"] == "hard" and info["regularization"] == 0.1
    assert info["num_objects"] == 40 and info["num_triplets"] == 4000
    assert not any("local" in name for name in info)


def test_ties_predict_nothing(choices):
    features, triplets, kept_together = choices
    data = AffineData.checked(features, triplets, kept_together, None)
    losses, accuracy = evaluate(np.zeros_like(features), data)
    assert losses == pytest.approx(math.log(3)) and accuracy == 0.0
    assert evaluate(np.full_like(features, np.nan), data)[1] == 0.0
    odd = odd_one_out(triplet_similarities(torch.from_numpy(features), torch.from_numpy(triplets)))
    expected = is_correct(odd, odd_of_pair(torch.from_numpy(kept_together.argmax(1)))).double().mean().item()
    assert evaluate(features, data)[1] == pytest.approx(expected)


# ---- what is refused


def spoil(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, t, p: (spoil(f, (3, 1), np.nan), t, p), "features of row 3 are not finite"),
        (lambda f, t, p: (spoil(f, (3, 1), np.inf), t, p), "features of row 3 are not finite"),
        (lambda f, t, p: (np.full_like(f, 0.1), t, p), "the features are constant"),
        (lambda f, t, p: (f[:30], t, p), r"row \d+ of the triplets points outside the 30 images: .*3\d"),
        (lambda f, t, p: (f, spoil(t, (7, 0), -1), p), "row 7 of the triplets points outside the 40 images: .*-1"),
        (lambda f, t, p: (f, spoil(t, 7, 4), p), r"row 7 of the triplets names an image twice: \[4, 4, 4\]"),
        (lambda f, t, p: (f, t[:0], p[:0]), "no triplets"),
        (lambda f, t, p: (f, t.astype(float), p), "the triplets must be integers"),
        (lambda f, t, p: (f, t, p[:9]), "4000 triplets need as many rows of 3 probabilities"),
        (lambda f, t, p: (f, t, spoil(p, 5, np.nan)), "row 5 of the probabilities must be 0 or more, with the sum 1"),
        (lambda f, t, p: (f, t, spoil(p, 5, 0.5)), "row 5 of the probabilities must be 0 or more, with the sum 1"),
        (lambda f, t, p: (f, t, p, np.zeros(len(t))), "the weights must be"),
        (lambda f, t, p: (f, t[:1], p[:1]), "1 triplets of 40 objects are too few to choose by"),
    ],
)
def test_data_that_cannot_be_used(choices, change, message):
    with pytest.raises(InputError, match=message):
        AffineTeacher("hard").fit(*change(*choices), progress=False)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "soft"}, "`method` must be one of hard"),
        ({"regularization": 0.0}, r"`regularization` must be a finite number \(above 0\), got 0.0"),
        ({"regularization": math.nan}, r"`regularization` must be a finite number \(above 0\), got nan"),
        ({"num_folds": 1}, r"`num_folds` must be an integer \(at least 2\), got 1"),
        ({"method": "glocal"}, "`local_features` belong to `method='glocal'` and no other"),
        (
            {"method": "glocal", "local_temperature": 0},
            r"`local_temperature` must be a finite number \(above 0\), got 0",
        ),
    ],
)
def test_parameters_that_cannot_be_used(choices, parameters, message):
    with pytest.raises(InputError, match=message):
        AffineTeacher(**parameters).fit(*choices, progress=False)


def test_local_features_are_checked(choices):
    with pytest.raises(InputError, match="`local_features` belong to `method='glocal'` and no other"):
        AffineTeacher("hard", 0.1).fit(*choices, local_features=choices[0])
    with pytest.raises(InputError, match=r"`local_features` must be \(k, 5\)"):
        AffineTeacher("glocal", 0.1).fit(*choices, local_features=np.zeros((9, 4)))
    with pytest.raises(InputError, match="the local_features of row 2 are not finite"):
        AffineTeacher("glocal", 0.1).fit(*choices, local_features=spoil(choices[0], 2, np.nan))


def test_fit_that_needs_more_steps_says_so(choices):
    with pytest.warns(UserWarning, match="not converged in 2 steps: raise `max_iter`"):
        AffineTeacher("hard", 0.01, max_iter=2).fit(*choices)


# ---- real choices


@pytest.mark.real_data
def test_human_choices_make_clip_agree_with_people(data_directory):
    things = data_directory / "things"
    features = np.load(things / "clip_vitb32_things_images_uid_order.npy")
    with np.load(things / "things_human_triplets.npz") as file:
        train, test = file["train"][:100_000].astype(np.int64), file["test"].astype(np.int64)
    teacher = AffineTeacher("hard", 0.3, tolerance=1e-4).fit(features, train, np.tile([1.0, 0, 0], (len(train), 1)))
    data = AffineData.checked(features, test, np.tile([1.0, 0, 0], (len(test), 1)), None)
    assert evaluate(features, data)[1] == pytest.approx(0.484, abs=0.002)
    losses, accuracy = evaluate(teacher.transform_(features), data)
    assert accuracy > 0.56 and losses.mean() < 0.95
