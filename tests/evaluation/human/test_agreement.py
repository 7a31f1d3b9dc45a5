"""Agreement of models, and McNemar's test."""

import numpy as np
import pytest
from scipy.stats import binom

from hf_alignet.errors import InputError
from hf_alignet.evaluation import agreement, mcnemar


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


@pytest.mark.parametrize(("gained", "lost"), [(3, 11), (11, 3), (40, 40), (1, 0)])
def test_few_discordant_pairs_are_tested_exactly(gained, lost):
    base = np.r_[np.ones(lost), np.zeros(gained), np.ones(20), np.zeros(5)].astype(bool)
    aligned = np.r_[np.zeros(lost), np.ones(gained), np.ones(20), np.zeros(5)].astype(bool)
    found = mcnemar(base, aligned)
    expected = min(1, 2 * binom.cdf(min(gained, lost), gained + lost, 0.5))
    assert found[:2] == (gained, lost) and found.is_exact and found.p_value == pytest.approx(expected)
    assert mcnemar(aligned, base).p_value == found.p_value


def test_many_discordant_pairs_are_tested_by_chi_squared():
    base = np.r_[np.ones(900), np.zeros(1000)].astype(bool)
    found = mcnemar(base, ~base)
    exact = 2 * binom.cdf(900, 1900, 0.5)
    assert not found.is_exact and found.p_value == pytest.approx(exact, rel=0.02)


def test_models_that_do_not_differ():
    same = np.array([True, False, True])
    assert mcnemar(same, same) == (0, 0, 1.0, True)
    with pytest.raises(InputError, match="measured on 3 and 2 triplets"):
        mcnemar(same, same[:2])
