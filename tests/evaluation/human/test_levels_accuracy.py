"""Accuracy per level against the majority, beside people's own agreement."""

import numpy as np
import pytest

from hf_alignet.errors import InputError
from hf_alignet.evaluation import leave_one_out, level_metrics, level_scores, odd_one_out_accuracy, select_level
from hf_alignet.judgments import LEVELS, aggregate, make_judgments


@pytest.fixture
def judgments():
    """Five people on 60 triplets a level, who follow hidden embeddings with noise that differs by level."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(30, 4)).astype(np.float32)
    every = [t for t in (rng.permutation(30)[:3] for _ in range(400))]
    distinct = np.array(list({tuple(sorted(t)): t for t in every}.values()))[:180]
    rows, odd, level, people = [], [], [], []
    for i, triplet in enumerate(distinct):
        x = hidden[triplet]
        s = np.array([x[1] @ x[2], x[0] @ x[2], x[0] @ x[1]])  # by the odd one out
        for person in range(5):
            rows.append(triplet)
            odd.append((s + (i % 3 + 0.2) * rng.gumbel(size=3)).argmax())
            level.append(LEVELS[i % 3])
            people.append(str(person))
    return hidden, make_judgments(np.array(rows), np.array(odd), level=level, participant=people)


def test_scores_equal_a_loop_per_level(judgments):
    hidden, judged = judgments
    scores = level_scores(hidden, judged)
    assert list(scores) == ["coarse", "fine", "boundary"]
    for level, score in scores.items():
        right = total = tied = 0
        votes: dict[tuple, list] = {}
        for row in judged:
            if row["level"] == level:
                votes.setdefault(tuple(sorted(row["triplet"])), []).append(row["triplet"][row["odd"]])
        for triplet, chosen in votes.items():
            counts = [chosen.count(image) for image in triplet]
            if counts.count(max(counts)) > 1:
                tied += 1
                continue
            a, b, c = hidden[list(triplet)]
            model = int(np.argmax([b @ c, a @ c, a @ b]))
            right, total = right + (model == int(np.argmax(counts))), total + 1
        assert score.accuracy["value"] == right / total and score.accuracy["n"] == total
        assert score.num_tied == tied and score.num_few == 0
        assert score.ceiling == leave_one_out(select_level(judged, level))
    assert scores["coarse"].accuracy["value"] > scores["boundary"].accuracy["value"]  # noisier people
    assert scores["coarse"].ceiling["value"] > scores["boundary"].ceiling["value"]


def test_counts_and_order_of_images_do_not_matter(judgments):
    hidden, judged = judgments
    scores = level_scores(hidden, judged)
    counted = level_scores(hidden, aggregate(judged.remove_columns("participant")))
    assert {k: v.accuracy for k, v in counted.items()} == {k: v.accuracy for k, v in scores.items()}
    turned = make_judgments(
        np.array(judged["triplet"][:])[:, [2, 0, 1]], (np.array(judged["odd"][:]) + 1) % 3, level=judged["level"][:]
    )
    assert level_scores(hidden, turned)["fine"].accuracy == scores["fine"].accuracy


def test_metrics_by_name_and_the_units_of_their_intervals(judgments):
    hidden, judged = judgments
    metrics = level_metrics(level_scores(hidden, judged))
    assert list(metrics)[:2] == ["levels/coarse/odd_one_out_accuracy", "levels/coarse/noise_ceiling"]
    assert all(set(metric) >= {"value", "n", "chance", "ci95", "unit"} for metric in metrics.values())
    assert metrics["levels/fine/odd_one_out_accuracy"]["unit"] == "objects"
    assert metrics["levels/fine/noise_ceiling"]["unit"] == "triplets"


def test_collapsed_model_scores_zero(judgments):
    _, judged = judgments
    scores = level_scores(np.ones((30, 3), np.float32), judged)
    assert {score.accuracy["value"] for score in scores.values()} == {0.0}


def test_what_cannot_be_scored(judgments):
    hidden, judged = judgments
    with pytest.raises(InputError, match="no column 'level'; they have triplet, odd, participant"):
        level_scores(hidden, judged.remove_columns("level"))
    with pytest.raises(InputError, match="no judgment is of level 'middle'; the levels are boundary, coarse, fine"):
        select_level(judged, "middle")
    with pytest.raises(InputError, match="60 have fewer than 6 choices and 0 are tied; lower `min_raters`"):
        level_scores(hidden, judged, min_raters=6)
    with pytest.raises(InputError, match="points outside the 20 images"):
        level_scores(hidden[:20], judged)
    nobody = make_judgments(np.array([[0, 1, 2]]), np.array([0]), level=[None])
    with pytest.raises(InputError, match="no judgment has a level"):
        level_scores(hidden, nobody)


def test_levels_that_are_not_there_are_not_in_the_result(judgments):
    hidden, judged = judgments
    fine = select_level(judged, "fine")
    assert list(level_scores(hidden, fine)) == ["fine"]
    triplets, odd = np.array(fine["triplet"][:]), np.array(fine["odd"][:])
    assert 0 <= odd_one_out_accuracy(hidden, triplets, odd)["value"] <= 1
