"""Accuracy per group, category and dimension, against loops; real choices."""

import time

import numpy as np
import pandas as pd
import pytest
from drawing import draw_triplets

from hf_alignet.errors import InputError
from hf_alignet.evaluation import (
    accuracy_by_category,
    accuracy_by_group,
    are_correct,
    leading_dimensions,
    odd_one_out_accuracy,
    odd_one_out_choices,
    share_correct,
)


def test_groups_equal_a_loop():
    rng = np.random.default_rng(0)
    correct, triplets = rng.random(300) < 0.6, draw_triplets(300, 30)
    groups = rng.choice(np.array(["fine", "coarse", None], dtype=object), 300)
    found = accuracy_by_group(correct, groups)
    assert list(found) == ["coarse", "fine"]
    for name, metric in found.items():
        assert metric == share_correct(correct[groups == name])
    assert accuracy_by_group(correct, groups, triplets)["fine"]["unit"] == "objects"
    assert list(accuracy_by_group(correct, np.arange(300) % 12)) == [str(i) for i in range(12)]  # by number
    with pytest.raises(InputError, match="3 groups for 300 triplets"):
        accuracy_by_group(correct, ["a"] * 3)


def test_levels_of_all_groups_make_the_whole():
    correct = np.random.default_rng(0).random(300) < 0.6
    found = accuracy_by_group(correct, np.arange(300) % 7).values()
    assert sum(m["n"] for m in found) == 300
    assert sum(m["value"] * m["n"] for m in found) == pytest.approx(correct.sum())


@pytest.mark.parametrize("at_least", [1, 2, 3])
def test_categories_equal_a_loop(at_least):
    rng = np.random.default_rng(0)
    correct, triplets = rng.random(300) < 0.6, draw_triplets(300, 20)
    categories = pd.DataFrame({"animal": rng.random(20) < 0.5, "food": rng.integers(0, 2, 20), "nothing": [0] * 20})
    found = accuracy_by_category(correct, triplets, categories, at_least)
    assert list(found) == ["animal", "food"]
    for name, metric in found.items():
        hits = [c for c, t in zip(correct, triplets, strict=True) if categories[name].iloc[t].sum() >= at_least]
        assert metric["n"] == len(hits) and metric["value"] == pytest.approx(np.mean(hits))
    with pytest.raises(InputError, match=r"`at_least` must be an integer \(at least 1 and at most 3\), got 4"):
        accuracy_by_category(correct, triplets, categories, 4)
    with pytest.raises(InputError, match="there are 5 concepts"):
        accuracy_by_category(correct, triplets, categories[:5])


def test_leading_dimensions_equal_a_loop():
    human, triplets = np.random.default_rng(0).gamma(1, size=(20, 6)), draw_triplets(100, 20)
    odd = np.random.default_rng(1).integers(0, 3, 100)
    by_human, by_people = leading_dimensions(human, triplets), leading_dimensions(human, triplets, odd)
    for i, (a, b, c) in enumerate(triplets):
        pairs = {2: (a, b), 1: (a, c), 0: (b, c)}
        first, second = max(pairs.values(), key=lambda pair: human[pair[0]] @ human[pair[1]])
        assert by_human[i] == ((human[first] + human[second]) / 2).argmax()
        first, second = pairs[odd[i]]
        assert by_people[i] == ((human[first] + human[second]) / 2).argmax()
    assert (leading_dimensions(human, triplets[:, [2, 0, 1]]) == by_human).all()
    with pytest.raises(InputError, match="there are 5 rows of the human embedding"):
        leading_dimensions(human[:5], triplets)


@pytest.mark.parametrize("similarity", ["dot", "cosine", "pearson"])
def test_choices_are_the_same_for_few_and_for_many_triplets(similarity):
    embeddings = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    triplets = draw_triplets(200, 30)
    many = odd_one_out_choices(embeddings, triplets, similarity)
    few = np.concatenate([odd_one_out_choices(embeddings, triplets[i : i + 4], similarity) for i in range(0, 200, 4)])
    assert (many == few).all()
    for rows in (triplets, triplets[:3]):
        with pytest.raises(InputError, match="there are 10 embeddings"):
            odd_one_out_choices(embeddings[:10], rows + 7, similarity)


def test_a_million_triplets_are_fast():
    """On a core of its own 0.2 s; the limit leaves room for a busy one."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(1854, 768)).astype(np.float32)
    triplets, odd = rng.integers(0, 1854, (1_000_000, 3)), rng.integers(0, 3, 1_000_000)
    start = time.perf_counter()
    are_correct(odd_one_out_choices(embeddings, triplets), odd)
    assert time.perf_counter() - start < 2


@pytest.mark.real_data
def test_real_choices_and_their_intervals(data_directory):
    things = data_directory / "things"
    choices = np.load(things / "things_human_triplets.npz")["test"].astype(np.int64)
    odd = np.full(len(choices), 2)
    clip = np.load(things / "clip_vitb32_things_images_uid_order.npy")
    vice = np.load(things / "vice_42d_uid_order.npy")
    by_clip, by_vice = (odd_one_out_accuracy(x, choices, odd) for x in (clip, vice))
    assert by_clip["value"] == pytest.approx(0.484, abs=0.005) and by_vice["value"] == pytest.approx(0.639, abs=0.005)
    correct = are_correct(odd_one_out_choices(clip, choices), odd)
    narrow = share_correct(correct)["ci95"]
    assert by_clip["ci95"][0] < narrow[0] < narrow[1] < by_clip["ci95"][1]
    assert by_clip["ci95"][1] - by_clip["ci95"][0] < 2 * (narrow[1] - narrow[0])
    by_dimension = accuracy_by_group(correct, leading_dimensions(vice, choices, odd))
    assert sum(metric["n"] for metric in by_dimension.values()) == len(choices)
