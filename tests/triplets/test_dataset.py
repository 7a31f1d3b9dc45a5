"""Triplet datasets: made from arrays, saved and loaded without loss; bad rows are named."""

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from hf_alignet.errors import InputError
from hf_alignet.hub.publish import publish
from hf_alignet.images.opening import load_images
from hf_alignet.triplets import FEATURES, check_triplets, load_triplets, triplets_from_arrays
from hf_alignet.triplets.triplet_dataset import column

ROWS = np.array([[0, 1, 2], [3, 1, 0], [2, 4, 3], [4, 0, 1]])
SIMILARITIES = np.array([[3, 1, 2], [1, 3, 2], [1, 2, 3], [2, 2, 1]], dtype=np.float32)


def test_make_triplets_works_out_the_odd_one():
    dataset = triplets_from_arrays(ROWS, SIMILARITIES)
    assert dataset.features == FEATURES
    assert dataset["odd"][:] == [2, 1, 0, -1]  # a tie for the most similar pair leaves no odd one out
    reference = Dataset.from_dict(
        {"triplet": ROWS, "similarities": SIMILARITIES, "odd": [2, 1, 0, -1]}, features=FEATURES
    )
    assert dataset.to_dict() == reference.to_dict()


@pytest.mark.parametrize("shape", [(4, 2), (3, 3), (12,)])
def test_make_triplets_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="shape"):
        triplets_from_arrays(ROWS, np.zeros(shape))


def test_round_trip_through_disk(tmp_path):
    dataset = triplets_from_arrays(ROWS, SIMILARITIES)
    dataset.save_to_disk(tmp_path / "folder")
    dataset.to_parquet(tmp_path / "triplets.parquet")
    for path in (tmp_path / "folder", tmp_path / "triplets.parquet"):
        loaded = load_triplets(str(path))["train"]
        assert loaded.features == FEATURES
        np.testing.assert_array_equal(column(loaded, "triplet"), ROWS)
        np.testing.assert_array_equal(column(loaded, "similarities"), SIMILARITIES)


@pytest.mark.parametrize(
    ("change", "required", "message"),
    [
        ({"triplet": [0, 1, 5]}, "similarities", r"row 2 .* points outside the 5 images: \[0, 1, 5\]"),
        ({"triplet": [0, -1, 2]}, "similarities", "row 2 .* points outside"),
        ({"triplet": [1, 0, 1]}, "similarities", "row 2 .* names an image twice"),
        ({"similarities": [1, float("nan"), 2]}, "similarities", "row 2 .* not finite"),
        ({"similarities": [1, float("inf"), 2]}, "similarities", "row 2 .* not finite"),
        ({"odd": 3}, "odd", "row 2 .* not 0, 1 or 2: 3"),
    ],
)
def test_bad_row_is_named(change, required, message):
    rows = triplets_from_arrays(ROWS[:3], SIMILARITIES[:3]).to_list()
    rows[2] |= change
    with pytest.raises(InputError, match=message):
        check_triplets(Dataset.from_list(rows, features=FEATURES), 5, required)


def test_similarities_of_text_are_refused():
    with pytest.raises(InputError, match="the column 'similarities' of the 'train' triplets must hold numbers"):
        check_triplets(
            Dataset.from_dict({"triplet": [[0, 1, 2]], "similarities": [["a", "b", "c"]]}), 5, "similarities"
        )


def test_missing_column_lists_those_there():
    dataset = triplets_from_arrays(ROWS, SIMILARITIES).remove_columns("similarities")
    with pytest.raises(InputError, match=r"lack the column 'similarities'; there are triplet, odd"):
        check_triplets(dataset, 5, "similarities")


def test_shards_of_a_folder_are_all_there_and_those_of_today(tmp_path):
    folder = tmp_path / "made" / "triplets"
    folder.mkdir(parents=True)

    def write(rows: np.ndarray) -> None:
        for index, part in enumerate(np.array_split(rows, 2)):
            dataset = triplets_from_arrays(part, np.zeros(part.shape))
            dataset.to_parquet(folder / f"train-0000{index}-of-00002.parquet")

    for rows in (np.arange(12).reshape(4, 3), np.arange(30).reshape(10, 3)):
        write(rows)
        assert column(load_triplets(str(tmp_path / "made"))["train"], "triplet").tolist() == rows.tolist()
    (folder / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(InputError, match="has 1 of the 2 files of the split train"):
        load_triplets(str(tmp_path / "made"))


@pytest.fixture
def four(tmp_path):
    """Pictures a to d."""
    for name in "abcd":
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "pictures" / f"{name}.png")
    return load_images(str(tmp_path / "pictures"))


def test_choices_in_place_of_triplets_are_those_of_the_pictures_at_hand(four, tmp_path):
    (tmp_path / "mine.csv").write_text(
        "left,middle,right,answer,catch\nc,b,a.png,C,no\nd,b,a.png,d,no\nd,b,a.png,d,yes\n"
    )
    (tmp_path / "names.txt").write_text("c.png\nb.png\na.png\nd.png\n")
    names = str(tmp_path / "names.txt")
    settings = {"object_names": names, "output_dir": tmp_path, "dry_run": True, "progress": False}
    published = publish("dataset", tmp_path / "mine.csv", "me/choices", **settings)
    for path in (tmp_path / "mine.csv", published):
        found = load_triplets(str(path), four)["train"]
        assert found["triplet"][:] == [[2, 1, 0], [3, 1, 0]] and found["odd"][:] == [0, 0]  # without the check
    with pytest.raises(InputError, match="have a list of their stimuli: give `images` that have names"):
        load_triplets(str(published))


def test_choices_by_number_in_place_of_triplets(tmp_path):
    np.savetxt(tmp_path / "trainset.txt", ROWS, "%d")
    found = load_triplets(str(tmp_path))["train"]
    assert found["triplet"][:] == ROWS.tolist() and found["odd"][:] == [2] * 4


def test_labelled_triplets_need_no_names(four, tmp_path):
    triplets_from_arrays(ROWS, SIMILARITIES).to_parquet(tmp_path / "triplets.parquet")
    nameless = four.add_column("filename", [None, "b", "c", "d"])
    assert load_triplets(str(tmp_path / "triplets.parquet"), nameless)["train"]["triplet"][:] == ROWS.tolist()
