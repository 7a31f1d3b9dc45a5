"""Agreement of models, and whether one is better."""

import numpy as np
import pytest

from hf_alignet.errors import InputError
from hf_alignet.evaluation import agreement
from hf_alignet.evaluation.human.agreement import agreement_table


def test_agreement_equals_a_loop_and_no_choice_never_agrees():
    rng = np.random.default_rng(0)
    choices = {name: rng.integers(-1, 3, 200) for name in ("clip", "dino", "vit")}
    table = agreement(choices)
    for first, one in choices.items():
        for second, other in choices.items():
            expected = np.mean([a == b and a >= 0 for a, b in zip(one, other, strict=True)])
            assert table.loc[first, second] == expected
    assert list(table.columns) == ["clip", "dino", "vit"] and (table == table.T).all(axis=None)
    assert table.loc["vit", "vit"] == (choices["vit"] >= 0).mean() < 1
    assert agreement({"none": np.full(4, -1)}).loc["none", "none"] == 0


def test_agreement_needs_the_same_triplets():
    with pytest.raises(InputError, match="got {'a': 2, 'b': 3}"):
        agreement({"a": np.zeros(2, int), "b": np.zeros(3, int)})
    for nothing in ({}, {"a": np.zeros(0, int)}):
        with pytest.raises(InputError, match="in the same triplets"):
            agreement(nothing)


def test_raters_of_one_triplet_are_no_independent_evidence():
    """Two models that differ in one triplet, which 60 people judged; the others were judged once."""
    rng = np.random.default_rng(0)
    triplets = np.concatenate([[[0, 1, 2]] * 60, [rng.permutation(30)[:3] for _ in range(60)]])
    odd = np.concatenate([[2] * 45, [1] * 15, rng.integers(0, 3, 60)])
    first, second = np.r_[[1] * 60, odd[60:]], np.r_[[2] * 60, odd[60:]]
    row = agreement_table({"a": {"x": first}, "b": {"x": second}}, {"x": (triplets, odd)}).iloc[0]
    assert (row.gained, row.lost) == (45, 15) and row.agreement == 0.5 and row.change == pytest.approx(0.25)
    assert not row.p_value < 0.05  # McNemar's test of 60 independent judgments has 0.0001
    assert np.isnan(row.low) or row.low < 0


def test_table_has_a_row_for_each_two_models():
    rng = np.random.default_rng(1)
    triplets, odd = np.stack([rng.permutation(40)[:3] for _ in range(900)]), rng.integers(0, 3, 900)
    good = np.where(rng.random(900) < 0.5, odd, rng.integers(0, 3, 900))
    choices = {name: {"x": chosen} for name, chosen in (("a", rng.integers(0, 3, 900)), ("b", good), ("c", good))}
    table = agreement_table(choices, {"x": (triplets, odd)})
    assert table[["model", "other"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert (table.low[:2] > 0).all() and (table.p_value[:2] < 1e-6).all()
    assert table[["change", "low", "high", "p_value"]].to_numpy()[2].tolist() == [0, 0, 0, 1]
    assert (table.gained - table.lost)[0] / 900 == pytest.approx(table.change[0])
