"""Queries until a student knows where a new object lies: the bound, and a simulation that is a loop, too."""

import runpy
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hf_alignet.analysis import query_bound, query_figure, query_table, simulate_queries
from hf_alignet.analysis.query_simulation import capacity, query_answers
from hf_alignet.errors import InputError

SCRIPT = Path(__file__).parents[2] / "recipes" / "theory" / "simulate.py"
OBJECTS, ERROR = 6, 0.05


def entropy(share: float) -> float:
    return -share * np.log2(share) - (1 - share) * np.log2(1 - share)


def test_the_bound_has_known_values_and_is_symmetric():
    assert query_bound(0, 16, 2) == 8  # sure answers: a bit each
    assert query_bound(0.11, 16, 3) == pytest.approx(12 / (1 - entropy(0.11)))
    assert 1 - entropy(0.11) == pytest.approx(0.5, abs=1e-3)  # as tables of channels have it
    for share in (0.0, 0.01, 0.3, 0.499):
        assert query_bound(1 - share, 9, 2) == pytest.approx(query_bound(share, 9, 2), rel=1e-9)
    assert query_bound(0.5, 9, 2) == np.inf and capacity(0.5) == 0


@pytest.mark.parametrize("dim", [1, 2])
def test_answers_come_from_distances(dim):
    answers = query_answers(OBJECTS, dim, np.random.default_rng(0))
    assert len(np.unique(answers, axis=0)) == len(answers) == OBJECTS**dim
    for of_place in answers:  # nearer to i than to j, and to j than to k, is nearer to i than to k
        wins = np.zeros(OBJECTS, int)
        for (i, j), is_first in zip(combinations(range(OBJECTS), 2), of_place, strict=True):
            wins[i if is_first else j] += 1
        assert sorted(wins) == list(range(OBJECTS))


@pytest.mark.parametrize("disagreement", [0.0, 0.1, 0.8])
@pytest.mark.parametrize("seed", range(5))
def test_a_student_is_a_naive_loop(disagreement, seed):
    found = simulate_queries(disagreement, OBJECTS, 1, runs=1, error=ERROR, seed=seed)
    of_world, of_objects, of_answers = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(3))
    truth = query_answers(OBJECTS, 1, of_world)
    new = int(of_objects.integers(len(truth)))
    beliefs, asked = [1 / len(truth)] * len(truth), 0
    while max(beliefs) < 1 - ERROR:
        yes = [sum(b for b, row in zip(beliefs, truth, strict=True) if row[q]) for q in range(truth.shape[1])]
        query = min(range(len(yes)), key=lambda q: round(abs(yes[q] - 0.5), 9))
        answer = bool(truth[new, query]) != (of_answers.random() < disagreement)
        likely = [1 - disagreement if row[query] == answer else disagreement for row in truth]
        beliefs = [b * p for b, p in zip(beliefs, likely, strict=True)]
        beliefs = [b / sum(beliefs) for b in beliefs]
        asked += 1
    assert (found.asked.tolist(), found.is_right.tolist()) == ([asked], [beliefs.index(max(beliefs)) == new])


def test_one_who_always_disagrees_teaches_as_well_as_one_who_never_does():
    never, always = (simulate_queries(share, 8, 2, seed=3) for share in (0, 1))
    np.testing.assert_array_equal(never.asked, always.asked)
    assert never.is_right.all() and always.is_right.all()


@pytest.mark.parametrize("disagreement", [0.2, 0.8])
def test_students_are_as_sure_as_they_say_and_never_beat_the_channel(disagreement):
    found = simulate_queries(disagreement, 8, 2, runs=600, error=ERROR, seed=1)
    assert found.is_right.mean() > 0.93
    least = ((1 - ERROR) * 6 - entropy(ERROR)) / (1 - entropy(0.2))  # Fano's inequality; log2 of 8² places is 6
    assert least < found.asked.mean() < 1.4 * query_bound(disagreement, 8, 2)


def test_seeds():
    one, same, other = (simulate_queries(0.2, 8, 1, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.asked, same.asked)
    assert (one.asked != other.asked).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.5, 8, 2), "must not be 0.5"),
        ((0.1, 1, 2), "`num_objects` must be 2 or more"),
        ((0.1, 80, 2), "6400 candidates, more than 5000"),
        ((0.1, 3, 2), "tell only 6 of 9 places apart"),  # there are six orders of three objects
        ((1.1, 8, 2), "`disagreement` must be"),
    ],
)
def test_what_cannot_be_simulated(arguments, message):
    with pytest.raises(InputError, match=message):
        simulate_queries(*arguments)


def test_table_and_figure():
    table = query_table([0.1, 0.9], [1, 2], num_objects=8, worlds=5, runs=4)
    assert table.dim.tolist() == [1, 1, 2, 2] and (table.students == 20).all()
    assert ((table.low < table.queries) & (table.queries < table.high)).all()
    assert table.bound.tolist() == [query_bound(e, 8, d) for d in (1, 2) for e in (0.1, 0.9)]
    pd.testing.assert_frame_equal(table, query_table([0.1, 0.9], [1, 2], num_objects=8, worlds=5, runs=4))
    (axes,) = query_figure(table).axes
    assert axes.get_yscale() == "log" and "n = 8 known objects, 20 students" in axes.get_ylabel()
    bounds = [shown.get_xydata() for shown in axes.lines if len(shown.get_xdata()) == 100]
    assert len(bounds) == 4  # two sides of one half
    for shown, dim in zip(bounds, (1, 1, 2, 2), strict=True):
        np.testing.assert_allclose(shown[:, 1], [query_bound(float(e), 8, dim) for e in shown[:, 0]])
    dots = {bars.get_label(): bars.lines[0].get_ydata().tolist() for bars in axes.containers}
    assert dots == {f"d = {d}, simulated": table[table.dim == d].queries.tolist() for d in (1, 2)}
    (half,) = (shown for shown in axes.lines if shown.get_label() == "answers tell nothing")
    assert half.get_xdata()[0] == 0.5


def test_the_recipe_repeats_it(tmp_path, monkeypatch):
    flags = ["--num_objects", "10", "--worlds", "1", "--runs", "1", "--output_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["simulate.py", *flags])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert len(pd.read_csv(tmp_path / "queries.csv")) == 3 * 14
    assert {"queries.png", "queries.svg"} <= {file.name for file in tmp_path.iterdir()}
