"""The THINGS table in its published formats, and the order of objects that early files use."""

import logging

import numpy as np
import pytest

from hf_alignet.errors import InputError
from hf_alignet.judgments import file_name_order, load_judgments
from hf_alignet.judgments.rows import column
from hf_alignet.judgments.things import published_order

HEADER = "image1 image2 image3 choice RT noise_ceiling subject_id HIT_nr trial_nr age gender date time dataset".split()
ROWS = [
    # image1-3 from 1, choice 1-3, milliseconds, 0 or the set of repeated triplets, who
    [1, 2, 3, 3, 1500, 0, "a1"],
    [5, 1, 4, 1, 800, 0, "b2"],
    [2, 3, 4, 2, 2250, 1, "a1"],
    [2, 3, 4, 1, "NaN", 2, "b2"],
    [2, 3, 4, 1, 1.5e3, 2, "b2"],
    [4, 3, 2, 3, -7, 3, ""],
]
IDS = ["camera_lens", "camera1", "camera2", "ice", "ice-cream_cone"]  # by uniqueID
CORRECTED = "triplets_large_final_correctednc_correctedorder.csv"


def write(path, header=HEADER, rows=ROWS, separator="\t"):
    extra = [1, 1, "NaN", "female", "2020-07-01", "12:34:56", 4]
    lines = [separator.join(map(str, row)) for row in (header, *([*r, *extra] for r in rows))]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_published_table(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        splits = load_judgments(write(tmp_path / CORRECTED))
    assert "1 response times" in caplog.text and "1 rows in which a participant" in caplog.text
    assert {name: len(split) for name, split in splits.items()} == {"train": 2, "test1": 1, "test2": 2, "test3": 1}
    assert splits["train"].to_dict() == {
        "triplet": [[0, 1, 2], [4, 0, 3]],
        "odd": [2, 0],
        "participant": ["a1", "b2"],
        "rt": [1.5, pytest.approx(0.8)],
    }
    assert splits["test2"]["rt"][:] == [None, 1.5]
    assert splits["test3"]["rt"][:] == [None] and splits["test3"]["participant"][:] == [None]


def test_table_without_the_columns_that_can_be_missing(tmp_path):
    path = write(tmp_path / CORRECTED, [*HEADER[:4], *(f"other{i}" for i in range(10))])
    splits = load_judgments(path)
    assert list(splits) == ["train"] and splits["train"].column_names == ["triplet", "odd"]


@pytest.mark.parametrize(
    ("column_name", "row", "message"),
    [
        ("choice", [1, 2, 3, 4, 1500, 0, "a"], "row 6 of the choices .* not a position 1, 2 or 3: 4"),
        ("image1", [0, 2, 3, 1, 1500, 0, "a"], r"row 6 .* object number below 1: \[0, 2, 3\]"),
        ("image2", [1, "", 3, 1, 1500, 0, "a"], "row 6 of .* has no image2"),
        ("image3", [1, 2, "cup", 1, 1500, 0, "a"], "cannot read triplets_large.*cup"),
    ],
)
def test_bad_cell_is_named(tmp_path, column_name, row, message):
    with pytest.raises(InputError, match=message):
        load_judgments(write(tmp_path / CORRECTED, rows=[*ROWS, row]))


def test_missing_choice_column_is_named(tmp_path):
    with pytest.raises(InputError, match="lacks the column choice; it has image1, image2, image3, answer"):
        load_judgments(write(tmp_path / CORRECTED, ["answer" if name == "choice" else name for name in HEADER]))


def test_column_that_is_there_twice_is_named(tmp_path):
    header = ["RT" if name == "subject_id" else name for name in HEADER]
    with pytest.raises(InputError, match="several columns 'RT': give each its own name"):
        load_judgments(write(tmp_path / CORRECTED, header))


def test_judgments_of_more_objects_than_there_are(tmp_path):
    with pytest.raises(InputError, match=r"points outside the 4 images: \[4, 0, 3\]"):
        load_judgments(write(tmp_path / CORRECTED), IDS[:4])


def test_order_of_file_names():
    order = file_name_order(IDS)
    assert [IDS[i] for i in order] == ["camera1", "camera2", "camera_lens", "ice-cream_cone", "ice"]
    families = ["hot_chocolate", "hot_tub", "hot-air_balloon", "pepper_mill", "pepper1", "crystal_ball", "crystal1"]
    assert [families[i] for i in file_name_order(families)] == [
        "crystal1", "crystal_ball", "hot-air_balloon", "hot_chocolate", "hot_tub", "pepper1", "pepper_mill",
    ]  # fmt: skip


def test_early_table_is_renumbered(tmp_path):
    path = write(tmp_path / "triplets_large_final_corrected.csv", separator=",")
    expected = file_name_order(IDS)[np.array([[0, 1, 2], [4, 0, 3]])]
    np.testing.assert_array_equal(column(load_judgments(path, IDS)["train"], "triplet"), expected)
    assert expected[0].tolist() == [1, 2, 0]
    with pytest.raises(InputError, match="give the uniqueIDs"):
        load_judgments(path)
    with pytest.raises(InputError, match=r"row 1 .* outside the 4 objects: \[4, 0, 3\]"):
        load_judgments(path, IDS[:4])
    as_it_is = load_judgments(path, IDS, order="uid")["train"]
    assert as_it_is["triplet"][0] == [0, 1, 2]


def test_early_index_files_are_renumbered(tmp_path):
    np.savetxt(tmp_path / "data1854_baseline_train90.txt", [[0, 1, 4]], fmt="%i")
    loaded = load_judgments(str(tmp_path / "data1854_baseline_train90.txt"), IDS)["train"]
    assert loaded["triplet"][0] == [1, 2, 3]
    np.savetxt(tmp_path / "train_90.txt", [[0, 1, 4]], fmt="%i")
    assert load_judgments(str(tmp_path / "train_90.txt"), IDS)["train"]["triplet"][0] == [0, 1, 4]
    renumbered = load_judgments(str(tmp_path / "train_90.txt"), IDS, order="file_name")["train"]
    assert renumbered["triplet"][0] == [1, 2, 3]


def test_unknown_order_is_refused(tmp_path):
    with pytest.raises(InputError, match="`order` must be one of uid, file_name, got 'alphabetical'"):
        load_judgments(write(tmp_path / CORRECTED), order="alphabetical")


def test_order_by_file_name():
    expected = {
        CORRECTED: "uid",
        "triplets_large_final.csv": "file_name",
        "triplets_large_final_corrected.csv": "file_name",
        "data1854_batch5_test10.txt": "file_name",
        "trainset.txt": "uid",
        "train_90.npy": "uid",
    }
    assert {name: published_order(name) for name in expected} == expected
