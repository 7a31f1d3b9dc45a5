"""Stimuli and judgments of recipes/things-vit-tiny/benchmarks.py."""

import numpy as np
import pytest
from recipe_scripts import RECIPES, load_script

from hf_alignet.judgments.rows import ODD, TRIPLET, column

FILE = RECIPES / "things-vit-tiny" / "benchmarks.py"


@pytest.fixture(scope="module")
def benchmarks():
    return load_script(FILE)


def test_choices_about_objects_that_have_a_picture(benchmarks):
    choices = {"train": np.array([[7, 2, 4], [7, 2, 3], [4, 7, 2]]), "test": np.array([[0, 1, 2], [2, 4, 7]])}
    found = benchmarks.judgments_among(np.array([4, 2, 7]), choices)
    np.testing.assert_array_equal(column(found["test"], TRIPLET), [[2, 1, 0], [0, 2, 1]])
    np.testing.assert_array_equal(column(found["train"], TRIPLET), [[1, 0, 2]])
    np.testing.assert_array_equal(column(found["test"], ODD), [2, 2])


@pytest.mark.real_data
def test_one_drawing_of_each_concept(benchmarks, data_directory):
    stimuli = benchmarks.emoji(data_directory / "emoji" / "emoji_things_64px_mit_apache.parquet")
    assert len(stimuli) == len(set(stimuli["concept"])) == 500
    assert stimuli[0]["image"].size == (64, 64)
