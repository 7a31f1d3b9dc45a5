"""RSA against SciPy and against loops as one would write them."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import pearsonr, rankdata, spearmanr

from hf_alignet.errors import InputError
from hf_alignet.evaluation import Rsm, compare_rsms, correlate_rsms, permutation_p_value, rsa_noise_ceiling, rsa_score
from hf_alignet.evaluation.human import rsa
from hf_alignet.evaluation.human.rsm import pair_rows, triangle_blocks
from hf_alignet.judgments import SimilarityMatrix
from hf_alignet.similarity import choice_log_probabilities, triplet_similarities

N = 23
MEASURES = ["spearman", "pearson", "kendall"]


def tau_a(x, y):
    """Kendall's τ-a, rsatoolbox's: Σ sign(xi - xj) sign(yi - yj) over all pairs of entries, by their number."""
    signs = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in itertools.combinations(range(len(x)), 2)]
    return np.mean(signs)


NAIVE = {"spearman": lambda x, y: spearmanr(x, y)[0], "pearson": lambda x, y: pearsonr(x, y)[0], "kendall": tau_a}


def symmetric(values):
    return (values + values.T) / 2


@pytest.fixture
def embeddings():
    return np.random.default_rng(0).normal(size=(N, 7)).astype(np.float32)


@pytest.fixture
def human(embeddings):
    """Ratings from 0 to 10 with many ties, that the embeddings follow somewhat."""
    rng = np.random.default_rng(1)
    return np.clip(np.rint(5 + symmetric(np.corrcoef(embeddings) * 4 + rng.normal(size=(N, N)) * 3)), 0, 10)


def upper(matrix):
    return matrix[np.triu_indices(len(matrix), 1)]


def named(matrix, kind="similarity", participants=None):
    return SimilarityMatrix(list(map(str, range(len(matrix)))), matrix, kind, "ratings", participants)


@pytest.mark.parametrize("kernel", ["pearson", "cosine", "dot"])
def test_kernels(kernel, embeddings):
    x = embeddings.astype(np.float64)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = {"pearson": np.corrcoef(x), "cosine": unit @ unit.T, "dot": x @ x.T}[kernel]
    found = Rsm.from_embeddings(embeddings, kernel).matrix()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(Rsm.from_embeddings(embeddings.astype(np.float64), kernel).matrix(), found)


def test_vectors_without_direction_are_similar_to_nothing(embeddings):
    embeddings[3], embeddings[5] = 0.1, 0
    pearson, cosine = (Rsm.from_embeddings(embeddings, kernel).matrix() for kernel in ("pearson", "cosine"))
    assert not pearson[[3, 5]].any() and not cosine[5].any() and cosine[3].any()


@pytest.mark.parametrize("measure", MEASURES)
def test_values_are_those_of_scipy(measure, embeddings, human):
    model = Rsm.from_embeddings(embeddings)
    expected = NAIVE[measure](upper(model.matrix()).astype(np.float64), upper(human))
    metric = rsa_score(embeddings, named(human), measure)
    assert metric["value"] == pytest.approx(expected, abs=1e-9)
    assert metric["n"] == N * (N - 1) // 2 and metric["chance"] == 0 and metric["masked"] == 0 and "note" not in metric
    assert metric["ci95"][0] < metric["value"] < metric["ci95"][1]


@pytest.mark.parametrize("measure", MEASURES)
def test_ties_on_both_sides(measure):
    rng = np.random.default_rng(3)
    x, y = (symmetric(rng.integers(0, 4, (N, N)).astype(float)) for _ in range(2))
    found = correlate_rsms(Rsm.from_matrix(x), Rsm.from_matrix(y), measure)
    assert found.value == pytest.approx(NAIVE[measure](upper(x), upper(y)), abs=1e-12)


def test_extreme_values_are_ranked_right():
    """Positions are looked up in equal bins of the range, of which one outlier leaves almost all empty."""
    rng = np.random.default_rng(4)
    x, y = (symmetric(np.exp(15 * rng.normal(size=(60, 60)))).astype(np.float32) for _ in range(2))
    x[x > np.quantile(x, 0.9)] = 1e30
    found = correlate_rsms(Rsm.from_matrix(x), Rsm.from_matrix(y))
    assert found.value == pytest.approx(spearmanr(upper(x), upper(y))[0], abs=2e-6)  # values this near are tied


@pytest.mark.parametrize("measure", MEASURES)
def test_dissimilarities_are_turned_round(measure, embeddings, human):
    as_given = rsa_score(embeddings, named(human), measure)
    turned = rsa_score(embeddings, named(10 - human, "dissimilarity"), measure)
    assert turned["value"] == pytest.approx(as_given["value"], abs=1e-12)
    assert turned["ci95"] == pytest.approx(as_given["ci95"], abs=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_order_of_items_and_scale_make_no_difference(measure, embeddings, human):
    value = rsa_score(embeddings, named(human), measure)["value"]
    order = np.random.default_rng(5).permutation(N)
    assert rsa_score(embeddings[order], named(human[np.ix_(order, order)]), measure)["value"] == pytest.approx(
        value, abs=1e-6
    )
    assert rsa_score(64 * embeddings, named(3 + 2 * human), measure)["value"] == pytest.approx(value, abs=1e-6)
    np.fill_diagonal(human, np.nan)
    assert rsa_score(embeddings, named(human), measure)["value"] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_pairs_without_ratings_are_left_out_and_counted(measure, embeddings, human):
    rng = np.random.default_rng(6)
    is_missing = np.triu(rng.random((N, N)) < 0.3, 1)
    human[is_missing | is_missing.T] = np.nan
    metric = rsa_score(embeddings, named(human), measure)
    judged = ~np.isnan(upper(human))
    model = upper(Rsm.from_embeddings(embeddings).matrix())
    assert metric["masked"] == is_missing.sum() and metric["n"] == judged.sum()
    assert metric["value"] == pytest.approx(NAIVE[measure](model[judged], upper(human)[judged]), abs=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("block_pairs", [1, 50, 170])
def test_size_of_blocks_makes_no_difference(measure, block_pairs, embeddings, human, monkeypatch):
    human[2, 9] = human[9, 2] = np.nan
    whole = rsa_score(embeddings, named(human), measure)
    blocks = lambda model, human: triangle_blocks(model, human, block_pairs)  # noqa: E731
    monkeypatch.setattr(rsa, "triangle_blocks", blocks)
    monkeypatch.setattr(rsa, "CACHED_PAIRS", 0)
    parts = rsa_score(embeddings, named(human), measure)
    assert parts["value"] == pytest.approx(whole["value"], abs=1e-6)
    assert parts["ci95"] == pytest.approx(whole["ci95"], abs=1e-6)


def test_pairs_are_numbered_along_the_triangle():
    for n in (3, 4, 11):
        np.testing.assert_array_equal(np.stack(pair_rows(np.arange(n * (n - 1) // 2), n)), np.triu_indices(n, 1))


@pytest.mark.parametrize("measure", ["spearman", "pearson"])
def test_interval_is_near_that_of_resampled_objects(measure):
    """The bootstrap as one would write it: matrices of the objects drawn, without pairs of one with itself."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    human = Rsm.from_embeddings(x + rng.normal(0, 0.7, x.shape).astype(np.float32)).matrix()
    model, values = Rsm.from_embeddings(x).matrix(), []
    for _ in range(200):
        drawn = rng.integers(60, size=60)
        i, j = (drawn[side] for side in np.triu_indices(60, 1))
        i, j = i[i != j], j[i != j]
        values.append(NAIVE[measure](model[i, j].astype(np.float64), human[i, j]))
    metric = rsa_score(x, named(human), measure)
    width = metric["ci95"][1] - metric["ci95"][0]
    assert metric["unit"] == "objects" and 0.7 < width / np.ptp(np.percentile(values, [2.5, 97.5])) < 1.3


def test_interval_from_some_of_the_pairs_is_nearly_that_of_all(monkeypatch):
    rng = np.random.default_rng(8)
    x = rng.normal(size=(150, 5)).astype(np.float32)
    y = Rsm.from_embeddings(x + rng.normal(size=x.shape).astype(np.float32))
    every = compare_rsms(Rsm.from_embeddings(x), y)
    monkeypatch.setattr(rsa, "INTERVAL_PAIRS", 6000)
    some = compare_rsms(Rsm.from_embeddings(x), y, seed=3)
    assert some["value"] == every["value"] and some["n"] == every["n"]
    assert some["ci95"] == pytest.approx(every["ci95"], abs=0.03) and some["ci95"] != every["ci95"]
    assert some == compare_rsms(Rsm.from_embeddings(x), y, seed=3)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("row", [0.1, 3.7])
def test_a_constant_model_scores_0(measure, row, human):
    same = np.tile(np.float32(row) * np.arange(1, 6, dtype=np.float32) ** 2, (N, 1))
    for kernel in ("pearson", "cosine", "dot"):
        metric = rsa_score(same, named(human), measure, kernel)
        assert metric["value"] == 0 and metric["ci95"] is None
        assert "equally similar" in metric["note"] and metric["n"] == N * (N - 1) // 2
    assert permutation_p_value(Rsm.from_embeddings(same), Rsm.from_matrix(human), measure) == 1


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("has_gaps", [False, True])
def test_p_value_counts_shuffles_that_agree_as_well(measure, has_gaps, embeddings, human):
    if has_gaps:
        human[2, 9] = human[9, 2] = np.nan
    model = Rsm.from_embeddings(embeddings)
    i, j = np.triu_indices(N, 1)
    judged = ~np.isnan(human[i, j])
    i, j = i[judged], j[judged]
    weak = Rsm.from_embeddings(embeddings + 5 * np.random.default_rng(9).normal(size=embeddings.shape))
    for rsm_ in (model, weak):
        matrix, rng = rsm_.matrix().astype(np.float64), np.random.default_rng(10)
        observed = NAIVE[measure](matrix[i, j], human[i, j])
        shuffled = []
        for _ in range(30):
            p = rng.permutation(N)
            shuffled.append(NAIVE[measure](matrix[p[i], p[j]], human[i, j]))
        expected = (1 + np.sum(np.array(shuffled) >= observed)) / 31
        assert permutation_p_value(rsm_, Rsm.from_matrix(human), measure, 30, seed=10) == pytest.approx(expected)
    assert permutation_p_value(model, Rsm.from_matrix(human), measure, 200) < 0.01


def test_p_values_of_unrelated_models_are_uniform():
    rng = np.random.default_rng(11)
    values = []
    for seed in range(150):
        x, y = (Rsm.from_embeddings(rng.normal(size=(12, 4))) for _ in range(2))
        values.append(permutation_p_value(x, y, num_permutations=39, seed=seed))
    assert 0.01 <= np.mean(np.array(values) <= 0.05) <= 0.11 and np.mean(values) == pytest.approx(0.5, abs=0.08)


def test_many_objects_are_tested_by_some(embeddings, human, monkeypatch):
    monkeypatch.setattr(rsa, "MOST_PERMUTED", 15)
    model, judged = Rsm.from_embeddings(embeddings), Rsm.from_matrix(10 - human, "dissimilarity")
    objects = np.sort(np.random.default_rng(0).choice(N, 15, replace=False))
    np.testing.assert_allclose(model.select(objects).matrix(), model.matrix()[np.ix_(objects, objects)], atol=1e-6)
    np.testing.assert_array_equal(judged.select(objects).matrix(), judged.matrix()[np.ix_(objects, objects)])
    assert permutation_p_value(model, judged, num_permutations=100) < 0.05


@pytest.fixture
def participants(human):
    rng = np.random.default_rng(12)
    noisy = human + rng.integers(-4, 5, (5, N, N))
    return ((noisy + noisy.transpose(0, 2, 1)) / 2).astype(np.float32)


@pytest.mark.parametrize("measure", MEASURES)
def test_noise_ceiling_is_that_of_a_loop(measure, participants):
    participants[3, 2, 9] = participants[3, 9, 2] = np.nan
    ceiling = rsa_noise_ceiling(named(np.nanmean(participants, 0), participants=participants), measure)
    vectors = np.stack([upper(matrix) for matrix in participants]).astype(np.float64)
    vectors = vectors[:, ~np.isnan(vectors).any(0)]
    if measure == "pearson":
        scaled = [(vector - vector.mean()) / vector.std() for vector in vectors]
    else:
        scaled = [rankdata(vector) for vector in vectors]
    upper_bound = [NAIVE[measure](one, np.mean(scaled, axis=0)) for one in scaled]
    others = [np.mean([other for k, other in enumerate(scaled) if k != p], axis=0) for p in range(5)]
    lower_bound = [NAIVE[measure](one, other) for one, other in zip(scaled, others, strict=True)]
    assert ceiling["upper"]["value"] == pytest.approx(np.mean(upper_bound), abs=1e-9)
    assert ceiling["lower"]["value"] == pytest.approx(np.mean(lower_bound), abs=1e-9)
    assert ceiling["lower"]["value"] < ceiling["upper"]["value"]
    assert ceiling["lower"]["n"] == 5 and ceiling["lower"]["masked"] == 1
    half = 2.776445 * np.std(lower_bound, ddof=1) / np.sqrt(5)  # Student's t, 4 degrees of freedom
    assert ceiling["lower"]["ci95"] == pytest.approx([np.mean(lower_bound) - half, np.mean(lower_bound) + half])


def test_without_two_participants_there_is_no_ceiling(human, participants):
    for given, number in ((None, "no"), (participants[:1], "1")):
        with pytest.raises(InputError, match=f"ratings has the matrices of {number} single .*no noise ceiling"):
            rsa_noise_ceiling(named(human, participants=given))
    participants[2] = 4
    with pytest.raises(InputError, match="participant 2 judged all pairs alike"):
        rsa_noise_ceiling(named(human, participants=participants))


def test_what_cannot_be_compared(embeddings, human):
    model, judged = Rsm.from_embeddings(embeddings), Rsm.from_matrix(human)
    with pytest.raises(InputError, match="ratings has 23 stimuli, and there are 22 embeddings"):
        rsa_score(embeddings[1:], named(human))
    with pytest.raises(InputError, match="the model has 22 objects, people judged 23"):
        compare_rsms(Rsm.from_embeddings(embeddings[1:]), judged)
    with pytest.raises(InputError, match="`measure` must be one of spearman, pearson, kendall, got 'tau'"):
        compare_rsms(model, judged, "tau")
    with pytest.raises(InputError, match="`kind` must be one of similarity, dissimilarity, got 'distance'"):
        Rsm.from_matrix(human, "distance")
    with pytest.raises(InputError, match="all pairs equally similar: there is nothing"):
        compare_rsms(model, Rsm.from_matrix(np.full((N, N), 2.0)))
    with pytest.raises(InputError, match="overflow float32"):
        compare_rsms(Rsm.from_embeddings(1e30 * embeddings, "dot"), judged)
    with pytest.raises(InputError, match="overflow float32"):
        compare_rsms(model, Rsm.from_embeddings(1e30 * embeddings, "dot"))
    human[2, 9] = human[9, 2] = np.nan
    with pytest.raises(InputError, match="1 of the model's similarities are missing"):
        compare_rsms(Rsm.from_matrix(human), judged)
    gaps = np.full((N, N), np.nan)
    gaps[0, 1] = gaps[1, 0] = gaps[0, 2] = gaps[2, 0] = 1
    with pytest.raises(InputError, match=r"2 pairs were judged \(251 are missing\); at least 3"):
        compare_rsms(model, Rsm.from_matrix(gaps))
    embeddings[4, 2] = np.inf
    with pytest.raises(InputError, match="row 4 of the embeddings is not finite"):
        Rsm.from_embeddings(embeddings)
    with pytest.raises(InputError, match="at least 3 objects, got 2"):
        Rsm.from_embeddings(embeddings[:2])
    with pytest.raises(InputError, match=r"shape \(n, d\), got float32 of shape \(7,\)"):
        Rsm.from_embeddings(embeddings[0])


def test_kendall_of_too_many_pairs(embeddings, human, monkeypatch):
    monkeypatch.setattr(rsa, "MOST_PAIRS_KENDALL", 252)
    with pytest.raises(InputError, match="at most 252 pairs, and there are 253; use spearman"):
        correlate_rsms(Rsm.from_embeddings(embeddings), Rsm.from_matrix(human), "kendall")


@pytest.mark.parametrize("block", [4, 100, 4_000_000])
def test_matrices_that_are_none(block, human, monkeypatch):
    monkeypatch.setattr("hf_alignet.judgments.similarity_matrices.BLOCK_ENTRIES", block)
    for i, j in ((20, 3), (3, 20), (22, 21)):
        lopsided = human.copy()
        lopsided[i, j] += 0.5
        at = tuple(sorted((i, j)))
        with pytest.raises(InputError, match=rf"not symmetric: the entry \({at[0]}, {at[1]}\)"):
            Rsm.from_matrix(lopsided)
        lopsided[i, j] = np.nan
        with pytest.raises(InputError, match=rf"entry \({at[0]}, {at[1]}\) of the similarity matrix is missing on"):
            Rsm.from_matrix(lopsided)
        lopsided[i, j] = np.inf
        with pytest.raises(InputError, match=rf"entry \({at[0]}, {at[1]}\) of the similarity matrix is infinite"):
            Rsm.from_matrix(lopsided)
    nearly = human.copy()
    nearly[3, 20] += 1e-6
    assert Rsm.from_matrix(nearly).num_missing == 0
    human[3, 20] = human[20, 3] = human[5, 5] = np.nan
    assert Rsm.from_matrix(human).num_missing == 1
    for shape in ((3, 4), (3,)):
        with pytest.raises(InputError, match="must be square"):
            Rsm.from_matrix(np.ones(shape))
    with pytest.raises(InputError, match="at least 3 stimuli, got 2"):
        Rsm.from_matrix(np.ones((2, 2)))


@pytest.mark.real_data
def test_published_vice_against_48_judged_objects(data_directory):
    things = data_directory / "things"
    objects = pd.read_csv(things / "RDM48_order.csv")
    rows = objects["uid_index"].to_numpy()
    human = SimilarityMatrix(objects["uniqueID"].tolist(), np.load(things / "RDM48.npy"), "dissimilarity", "RDM48")
    vice = torch.from_numpy(np.load(things / "vice_42d_uid_order.npy")[rows])
    expected = np.zeros((48, 48))
    for i, j in itertools.combinations(range(48), 2):
        others = np.delete(np.arange(48), [i, j])
        triplets = torch.from_numpy(np.stack([np.full(46, i), np.full(46, j), others], 1))
        kept = choice_log_probabilities(triplet_similarities(vice, triplets)).exp()[:, 0]
        expected[i, j] = expected[j, i] = kept.mean()
    metric = compare_rsms(Rsm.from_matrix(expected), Rsm.from_matrix(human.matrix, human.kind))
    assert metric["value"] == pytest.approx(0.887, abs=0.001) and metric["n"] == 1128
    assert metric["ci95"] == pytest.approx([0.840, 0.921], abs=0.002)

    clip = np.load(things / "clip_vitb32_things_images_uid_order.npy")[rows]
    assert rsa_score(clip, human, kernel="cosine")["value"] == pytest.approx(0.393, abs=0.001)
    assert permutation_p_value(Rsm.from_embeddings(clip), Rsm.from_matrix(human.matrix, human.kind)) == 1 / 1001
