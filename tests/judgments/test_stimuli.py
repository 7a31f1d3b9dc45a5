"""Published judgments are read against the right pictures, whatever their order and folders."""

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from hf_alignet.errors import InputError
from hf_alignet.judgments import load_judgments, make_judgments


@pytest.fixture
def published(tmp_path):
    def write(stimuli: list[str]) -> str:
        (tmp_path / "judgments").mkdir()
        (tmp_path / "stimulus_names").mkdir()
        judged = make_judgments(np.array([[0, 1, 2]]), np.array([1]))
        judged.to_parquet(tmp_path / "judgments" / "train-00000-of-00001.parquet")
        Dataset.from_dict({"name": stimuli}).to_parquet(tmp_path / "stimulus_names" / "train-00000-of-00001.parquet")
        return str(tmp_path)

    return write


@pytest.mark.parametrize(
    ("stimuli", "names", "rows"),
    [
        (["a.png", "b.png", "c.png"], ["c.jpg", "x/a.jpg", "b.png"], [1, 2, 0]),
        (["cat/0.png", "dog/0.png", "cat/1.png"], ["dog/0.png", "cat/1.png", "cat/0.png"], [2, 0, 1]),
        (["a.png", "b.png", "c.png", "x/a.png"], ["b.png", "a.png", "c.png"], [1, 0, 2]),
        (["0.png", "0.png", "1.png"], ["0.png", "0.png", "1.png"], [0, 1, 2]),  # the same list, row by row
    ],
)
def test_rows_are_found_by_name(stimuli, names, rows, published):
    splits = load_judgments(published(stimuli), names)
    assert isinstance(splits, DatasetDict) and splits["train"]["triplet"][0] == rows


@pytest.mark.parametrize(
    ("stimuli", "names", "message"),
    [
        (["a.png", "b.png", "c.png"], ["a.png", "b.png", "d.png"], "are not among the 3 images: 'c.png'"),
        (
            ["0", "1", "2"],
            ["cat/0.png", "dog/0.png", "1.png", "2.png"],
            "do not have one clear match among the 4 images: '0'",
        ),
        (["cat/0.png", "dog/0.png", "1.png"], ["0.png", "1.png"], "2 stimuli .*: 'cat/0.png', 'dog/0.png'"),
        (["0.png", "0.png", "1.png"], ["0.png", "1.png"], "do not have one clear match among"),
    ],
)
def test_stimulus_that_matches_no_or_several_pictures_is_refused(stimuli, names, message, published):
    with pytest.raises(InputError, match=message):
        load_judgments(published(stimuli), names)
