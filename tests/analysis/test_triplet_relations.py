"""What triplets ask, and triplets about which models differ, against naive loops."""

from itertools import combinations

import numpy as np
import pytest
from drawing import draw_triplets

from hf_alignet.analysis.categories import RELATIONS, Categories
from hf_alignet.analysis.disagreements import disagreements
from hf_alignet.analysis.triplet_relations import drawn_triplets, relation_shares

CODES = Categories.of_names([(f"c{i % 12}", f"b{i % 12 // 2}", f"s{i % 12 // 6}") for i in range(60)]).codes


def test_shares_equal_a_naive_loop():
    triplets = draw_triplets(200, 60)
    counts = dict.fromkeys(RELATIONS, 0)
    for triplet in triplets:
        for i, j in combinations(triplet, 2):
            same = (CODES[i] == CODES[j]).tolist()
            counts[RELATIONS[same.index(True)] if any(same) else "different"] += 1
    table = relation_shares({"mine": triplets}, CODES)
    assert dict(zip(table.relation, table.pairs, strict=True)) == counts
    assert table.share.to_numpy() == pytest.approx(np.array(list(counts.values())) / 600)
    assert set(table.triplets) == {"mine"}


def test_samplings_ask_what_their_rule_says():
    clusters = CODES[:, 2]
    drawn = drawn_triplets(CODES, clusters, number=500)
    table = relation_shares(drawn, CODES).pivot(index="triplets", columns="relation", values="share")
    assert table.loc["within_class", "same class"] == 1
    assert table.loc["between_class", "same class"] == 0
    assert table.loc["class_boundary", "same class"] == pytest.approx(1 / 3)
    assert table.loc["cluster_boundary", "different"] == pytest.approx(2 / 3)
    assert table.loc["random", "different"] == pytest.approx(30 / 59, abs=0.04)
    assert "cluster_boundary" not in drawn_triplets(CODES, number=9)
    alone = np.arange(6)[:, None].repeat(3, 1)
    assert set(drawn_triplets(alone, number=9)) == {"between_class", "random"}  # classes of one image have no pair


def test_disagreements_equal_a_naive_loop():
    rng = np.random.default_rng(0)
    base, aligned = rng.normal(size=(2, 60, 5)).astype(np.float32)
    triplets, people = draw_triplets(300, 60), rng.integers(-1, 3, size=300)
    found = disagreements(base, aligned, triplets, people)
    expected = {}
    for place, (triplet, person) in enumerate(zip(triplets, people, strict=True)):
        odd = []
        for x in (base[triplet], aligned[triplet]):
            odd.append(2 - int(np.argmax([x[0] @ x[1], x[0] @ x[2], x[1] @ x[2]])))
        if odd[0] != odd[1] and person in odd:
            expected[place] = (person, *odd, "base" if person == odd[0] else "aligned")
    assert set(found.triplet) == set(expected) and len(found) > 50
    for row in found.itertuples():
        assert (row.people, row.base, row.aligned, row.agrees) == expected[row.triplet]
        assert [row.first, row.second, row.third] == triplets[row.triplet].tolist()
    assert (np.diff(found.certainty) <= 0).all()


def test_a_model_without_a_choice_disagrees_with_nobody():
    triplets = draw_triplets(20, 6)
    found = disagreements(np.ones((6, 2)), np.random.default_rng(0).normal(size=(6, 2)), triplets, np.zeros(20, int))
    assert len(found) == 0
