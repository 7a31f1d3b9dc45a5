"""Draws, teachers and the report of recipes/things-vit-tiny/compare.py; its runs take minutes and are not run."""

import json

import numpy as np
import pytest
from recipe_scripts import RECIPES, load_script

FILE = RECIPES / "things-vit-tiny" / "compare.py"
LABELS = np.repeat([0, 4, 5, 9], [6, 2, 7, 5])


@pytest.fixture(scope="module")
def compare():
    return load_script(FILE)


def test_three_classes(compare):
    labels = np.arange(60) // 4
    drawn = compare.three_classes(labels, 500, np.random.default_rng(0))
    assert drawn.shape == (500, 3)
    assert all(len(set(labels[triplet])) == 3 for triplet in drawn)


def test_class_boundary(compare):
    drawn = compare.class_boundary(LABELS, 500, np.random.default_rng(0))
    assert all(len(set(triplet)) == 3 and len(set(LABELS[triplet])) == 2 for triplet in drawn)
    odd = [next(i for i in range(3) if list(LABELS[triplet]).count(LABELS[triplet[i]]) == 1) for triplet in drawn]
    np.testing.assert_allclose(np.bincount(odd) / 500, 1 / 3, atol=0.07)


def test_mixed_teacher_says_of_a_class_what_the_base_says(compare):
    rng = np.random.default_rng(0)
    base, table = rng.normal(size=(20, 8)).astype(np.float32), rng.normal(size=(10, 3)).astype(np.float32)
    photographs = compare.Photographs(
        *(None, LABELS, np.arange(20), np.arange(0), None), vice=table[LABELS], base=base
    )
    vectors = compare.teacher_vectors(photographs, "mixed")
    first = np.flatnonzero(LABELS == 5)
    residual = base[first] - base[first].mean(0)
    ours = vectors[first] @ vectors[first].T - table[5] @ table[5]
    theirs = residual @ residual.T
    np.testing.assert_allclose(ours / ours[0, 0], theirs / theirs[0, 0], atol=1e-4)
    transformed = compare.teacher_vectors(photographs, "transformed")
    error = np.linalg.lstsq(np.c_[base, np.ones(20)], transformed)[1]
    assert transformed.shape == (20, 3) and (error < 1e-8).all()  # a linear map


def test_report_of_the_runs_that_are_there(compare, tmp_path, capsys):
    (tmp_path / "base.json").write_text(json.dumps({"agreement": 0.4, "1_shot": 0.3, "10_shot": 0.6}))
    for seed, agreement in ((0, 0.5), (1, 0.6)):
        run = compare.Run(seed=seed)
        points = [
            {"step": 6, "images": 288, "agreement": 0.45},
            {"step": 60, "images": 2880, "agreement": agreement, "1_shot": 0.31, "10_shot": 0.61},
        ]
        interpolated = {"agreement": 0.48, "1_shot": 0.32, "10_shot": 0.6 + seed / 100}
        (tmp_path / f"{run.name}.json").write_text(json.dumps({"points": points, "interpolation 0.5": interpolated}))
    compare.report(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| base | | 0 | 0.400 | 0.300 | 0.600 |"
    assert lines[3] == "| batch-class-anchor1-lr0.0001 | 2 | 2880 | 0.550 | 0.310 | 0.610 |"
    assert lines[4] == "| batch-class-anchor1-lr0.0001, interpolation 0.5 | 2 | 2880 | 0.480 | 0.320 | 0.605 |"
    assert len(lines) == 5
    assert {"sources.png", "trade_off.png"} <= {path.name for path in tmp_path.iterdir()}
