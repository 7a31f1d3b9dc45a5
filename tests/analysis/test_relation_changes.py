"""Changes of distance by relation and by category, against naive loops over a hierarchy with known moves."""

from collections import defaultdict
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from hf_alignet.analysis.categories import DIFFERENT, RELATIONS, Categories, relations
from hf_alignet.analysis.relation_changes import Changes, category_changes, relation_effects
from hf_alignet.analysis.relation_pairs import PairSample, distances, pairs_by_category, pairs_by_relation
from hf_alignet.errors import InputError

# Four superordinate categories of 2 basic ones of 3 classes of 4 images, and one that is uneven
NAMES = [(f"c{i // 4}", f"b{i // 12}", f"s{i // 24}") for i in range(96)] + [
    ("odd", "odd", "s0"),
    ("one", "one", "s9"),
]


@pytest.fixture
def categories() -> Categories:
    return Categories.of_names([NAMES[i] for i in np.random.default_rng(0).permutation(len(NAMES))])


@pytest.fixture
def models(categories) -> tuple[np.ndarray, np.ndarray]:
    """Before, images lie anywhere. Alignment draws them to their superordinate category, and scales all."""
    rng = np.random.default_rng(1)
    base = rng.normal(size=(len(categories.rows), 16))
    centres = rng.normal(size=(len(categories.names[2]), 16)) * 1.5
    noise = rng.normal(size=base.shape)
    return base, 3 * (0.5 * base + centres[categories.codes[:, 2]] + 0.1 * noise)


def naive(categories: Categories, base: np.ndarray, aligned: np.ndarray) -> pd.DataFrame:
    """Every pair of images, one by one."""
    rows = []
    for i, j in combinations(range(len(base)), 2):
        one, other = categories.codes[i].tolist(), categories.codes[j].tolist()
        same = [a == b for a, b in zip(one, other, strict=True)]
        relation = RELATIONS[same.index(True)] if any(same) else "different"
        change = sum((aligned[i] - aligned[j]) ** 2) ** 0.5 - sum((base[i] - base[j]) ** 2) ** 0.5
        rows.append((relation, *sorted((one[0], other[0])), *sorted((one[1], other[1])), change))
    return pd.DataFrame(rows, columns=["relation", "class_1", "class_2", "basic_1", "basic_2", "change"])


def measured(categories, base, aligned, **most) -> tuple[Changes, PairSample]:
    sample = pairs_by_relation(categories.codes, **most)
    return Changes.of(distances(base, sample.pairs), distances(aligned, sample.pairs), sample), sample


def test_all_pairs_of_each_relation_once(categories):
    sample = pairs_by_relation(categories.codes)
    n = len(categories.rows)
    assert {tuple(sorted(pair)) for pair in sample.pairs.tolist()} == set(combinations(range(n), 2))
    assert len(sample.pairs) == sample.totals.sum() == n * (n - 1) // 2
    assert (relations(categories.codes, *sample.pairs.T) == sample.groups).all()


def test_a_sample_of_many_pairs_is_uniform_within_its_relation(categories):
    sample = pairs_by_relation(categories.codes, most=100)
    whole = pairs_by_relation(categories.codes)
    assert (sample.totals == whole.totals).all() and np.bincount(sample.groups).tolist() == [100] * 4
    assert (relations(categories.codes, *sample.pairs.T) == sample.groups).all()
    drawn = np.concatenate([pairs_by_relation(categories.codes, most=140, seed=seed).pairs for seed in range(300)])
    within = drawn[relations(categories.codes, *drawn.T) == 0]  # 144 pairs, each drawn 300 * 140 / 144 times
    counts = pd.Series(map(tuple, within.tolist())).value_counts()
    assert len(counts) == whole.totals[0] == 144
    assert 230 < counts.min() and counts.max() < 360  # within 4 SDs


def test_distances_are_euclidean_also_over_several_blocks(monkeypatch):
    monkeypatch.setattr("hf_alignet.analysis.relation_pairs.BLOCK", 3)
    x = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    pairs = np.array(list(combinations(range(5), 2)))
    np.testing.assert_allclose(distances(x, pairs), [np.linalg.norm(x[i] - x[j]) for i, j in pairs], rtol=1e-6)


def test_relations_equal_a_naive_loop(categories, models):
    changes, sample = measured(categories, *models)
    found = relation_effects(changes, sample, categories.codes, draws=20).set_index("relation")
    table = naive(categories, *models)
    z = (table.change - table.change.mean()) / table.change.std(ddof=0)
    far = z[table.relation == "different"]
    assert list(found.index) == list(RELATIONS)
    for relation in RELATIONS:
        of = table.relation == relation
        row = found.loc[relation]
        assert row.pairs == row.measured == of.sum()
        assert row.classes == len(set(table.class_1[of]) | set(table.class_2[of]))
        assert row.mean_change == pytest.approx(table.change[of].mean(), abs=1e-5)
        assert row.mean_z == pytest.approx(z[of].mean(), abs=1e-5)
        if relation != "different":
            d = (z[of].mean() - far.mean()) / np.sqrt((z[of].var(ddof=0) + far.var(ddof=0)) / 2)
            assert row.effect == pytest.approx(d, abs=1e-5)
    assert np.isnan(found.effect["different"])


def test_signs_are_as_built_and_control_shows_nothing(categories, models):
    base, aligned = models
    found = relation_effects(*measured(categories, base, aligned), categories.codes).set_index("relation")
    same = list(RELATIONS[:DIFFERENT])
    assert (found.effect_high[same] < -1).all() and found.z_low["different"] > 0
    control = 1.7 * base + 0.3 * np.random.default_rng(5).normal(size=base.shape)
    found = relation_effects(*measured(categories, base, control), categories.codes).set_index("relation")
    assert ((found.effect_low[same] < 0) & (found.effect_high[same] > 0)).all()


def test_the_bootstrap_weighs_pairs_by_how_often_their_classes_are_drawn(categories, models):
    changes, sample = measured(categories, *models)
    draws, seed, z = 40, 3, changes.z(changes.change)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        classes = rng.integers(len(categories.names[0]), size=len(categories.names[0]))
        sums = defaultdict(float)
        for (i, j), relation, value in zip(sample.pairs.tolist(), sample.groups.tolist(), z, strict=True):
            a, b = categories.codes[i, 0], categories.codes[j, 0]
            times = (classes == a).sum() * (1 if a == b else (classes == b).sum())
            sums[relation, 0] += times
            sums[relation, 1] += times * value
        drawn.append([sums[relation, 1] / sums[relation, 0] for relation in range(4)])
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    found = relation_effects(changes, sample, categories.codes, draws=draws, seed=seed)
    np.testing.assert_allclose(found[["z_low", "z_high"]], np.stack([low, high], 1), atol=1e-9)


def test_samples_estimate_the_z_scores_of_all_pairs(categories, models):
    whole, sample = measured(categories, *models)
    few = [measured(categories, *models, most=120, seed=seed)[0] for seed in range(20)]
    assert np.mean([changes.mean for changes in few]) == pytest.approx(whole.mean, abs=0.03 * whole.sd)
    assert np.mean([changes.sd for changes in few]) == pytest.approx(whole.sd, rel=0.03)


def test_few_classes_have_no_interval():
    codes = Categories.of_names([(f"c{i % 4}", f"b{i % 4}", f"s{i % 2}") for i in range(20)]).codes
    rng = np.random.default_rng(0)
    sample = pairs_by_relation(codes)
    x, y = rng.normal(size=(2, 20, 3))
    found = relation_effects(Changes.of(distances(x, sample.pairs), distances(y, sample.pairs), sample), sample, codes)
    assert list(found.relation) == ["same class", "same superordinate category", "different"]
    assert found[["z_low", "z_high", "effect_low", "effect_high"]].isna().all(axis=None)
    assert np.isfinite(found.mean_z).all()


def test_models_that_are_the_same_are_refused(categories, models):
    sample = pairs_by_relation(categories.codes)
    before = distances(models[0], sample.pairs)
    with pytest.raises(InputError, match="the two models are the same"):
        Changes.of(before, before, sample)


def test_categories_equal_a_naive_loop(categories, models):
    changes, _ = measured(categories, *models)
    sample = pairs_by_category(categories.codes[:, 1])
    change = distances(models[1], sample.pairs) - distances(models[0], sample.pairs)
    found = category_changes(changes, change, sample, categories)
    expected = naive(categories, *models).groupby(["basic_1", "basic_2"]).change.agg(["mean", "size"])
    assert len(found) == len(expected)  # nothing for a category of one image with itself
    place = {name: code for code, name in enumerate(categories.names[1])}
    for row in found.itertuples():
        mean, size = expected.loc[tuple(sorted((place[row.first], place[row.second])))]
        assert row.pairs == row.measured == size
        assert row.mean_change == pytest.approx(mean, abs=1e-5)
        assert row.mean_z == pytest.approx((mean - changes.mean) / changes.sd, abs=1e-5)
    above = dict(zip(categories.names[1], np.array(categories.names[2])[categories.parents[1]], strict=True))
    assert (found.first_superordinate == found["first"].map(above)).all()
    order = list(dict.fromkeys(found["first"]))
    assert order == sorted(order, key=lambda name: (above[name], name))


def test_cells_of_many_pairs_are_sampled_and_others_whole():
    groups = np.repeat([0, 1, 2], [40, 3, 2])
    sample = pairs_by_category(groups, most=60)  # ten for each of six cells
    cells = list(zip(*np.triu_indices(3), strict=True))
    assert sample.totals.tolist() == [780, 120, 80, 3, 6, 1]
    assert np.bincount(sample.groups).tolist() == [10, 10, 10, 3, 6, 1]
    for (first, second), cell in zip(sample.pairs.tolist(), sample.groups.tolist(), strict=True):
        assert first != second and (groups[first], groups[second]) == cells[cell]
    assert len({tuple(sorted(pair)) for pair in sample.pairs[sample.groups > 2].tolist()}) == 10
