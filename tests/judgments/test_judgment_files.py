"""Every form that judgments come in, on small files made here, and what is said about files that are none."""

import logging

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_dataset

from hf_alignet.errors import InputError
from hf_alignet.images.opening import load_images
from hf_alignet.judgments import aggregate, image_names, load_judgments, make_judgments
from hf_alignet.judgments.file_reading import read_header
from hf_alignet.judgments.index_files import split_of
from hf_alignet.judgments.rows import column

TRIPLETS = np.array([[0, 1, 2], [3, 1, 0], [2, 4, 3], [4, 0, 1], [2, 1, 0]])
ODD = np.array([0, 2, 1, 1, 0])
NAMES = ["cat.png", "dog.png", "car.png", "007", "NA"]


@pytest.fixture
def judgments() -> Dataset:
    return make_judgments(
        TRIPLETS,
        ODD,
        participant=["a", "b", "a", "b", "c"],
        rt=np.array([1.5, 2.0, np.nan, 0.7, 3.0]),
        level=["coarse", "fine", "boundary", "coarse", "coarse"],
    )


@pytest.fixture
def own() -> pd.DataFrame:
    """The same judgments as a table with names."""
    columns = {f"image_{i + 1}": [NAMES[row] for row in TRIPLETS[:, i]] for i in range(3)}
    return pd.DataFrame(
        columns
        | {
            "odd_one_out": [NAMES[row[odd]] for row, odd in zip(TRIPLETS, ODD, strict=True)],
            "participant": ["a", "b", "a", "b", "c"],
            "rt": [1.5, 2.0, None, 0.7, 3.0],
            "level": ["coarse", "fine", "boundary", "coarse", "coarse"],
            "comment": "none",
        }
    )


def assert_same(loaded: Dataset, expected: Dataset) -> None:
    assert loaded.features == expected.features
    pd.testing.assert_frame_equal(loaded.to_pandas(), expected.to_pandas())


def test_round_trip_of_the_schema(judgments, tmp_path):
    judgments.save_to_disk(tmp_path / "one")
    DatasetDict(train=judgments, test=judgments.select([0])).save_to_disk(tmp_path / "two")
    DatasetDict(test=judgments).save_to_disk(tmp_path / "three" / "judgments")
    judgments.to_parquet(tmp_path / "four.parquet")
    assert_same(load_judgments(str(tmp_path / "one"))["train"], judgments)
    assert {name: len(split) for name, split in load_judgments(str(tmp_path / "two")).items()} == {
        "train": 5,
        "test": 1,
    }
    assert_same(load_judgments(str(tmp_path / "three"))["test"], judgments)
    assert_same(load_judgments(str(tmp_path / "four.parquet"))["train"], judgments)


def test_round_trip_of_counts(judgments, tmp_path):
    aggregated = aggregate(judgments)
    aggregated.to_parquet(tmp_path / "counts.parquet")
    assert_same(load_judgments(str(tmp_path / "counts.parquet"))["train"], aggregated)


def test_other_types_and_columns_are_brought_into_the_schema(judgments, tmp_path):
    table = judgments.to_pandas().assign(odd=ODD.astype(np.int64), participant=[1, 2, 1, 2, 3], extra="x")
    Dataset.from_pandas(table).to_parquet(tmp_path / "loose.parquet")
    loaded = load_judgments(str(tmp_path / "loose.parquet"))["train"]
    assert loaded.features == judgments.features
    assert loaded["participant"][:] == ["1", "2", "1", "2", "3"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", " folder"])
def test_own_table_by_name(own, judgments, tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    if suffix == " folder":
        path.mkdir()
        own.to_parquet(path / "train.parquet")
    elif suffix == ".parquet":
        own.to_parquet(path)
    else:
        own.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    assert_same(load_judgments(str(path), NAMES)["train"], judgments)


def test_own_table_by_position_and_by_row_number(own, judgments, tmp_path):
    own["odd_one_out"] = ODD + 1
    own.to_csv(tmp_path / "position.csv", index=False)
    assert_same(load_judgments(str(tmp_path / "position.csv"), NAMES)["train"], judgments)
    for i in range(3):
        own[f"image_{i + 1}"] = TRIPLETS[:, i] + 10
    own.to_csv(tmp_path / "numbers.csv", index=False)
    loaded = load_judgments(str(tmp_path / "numbers.csv"))["train"]
    np.testing.assert_array_equal(column(loaded, "triplet"), TRIPLETS + 10)
    np.testing.assert_array_equal(column(loaded, "odd"), ODD)
    with pytest.raises(InputError, match="points outside the 5 images"):
        load_judgments(str(tmp_path / "numbers.csv"), NAMES)


def by_number(cells: list) -> pd.DataFrame:
    """A table of one row that chooses the second of three images."""
    return pd.DataFrame([{f"image_{i + 1}": cell for i, cell in enumerate(cells)} | {"odd_one_out": cells[1]}])


def test_numbers_are_said_to_be_read_as_row_numbers(own, tmp_path, caplog):
    by_number([20, 10, 30]).to_csv(tmp_path / "numbers.csv", index=False)
    own.to_csv(tmp_path / "names.csv", index=False)
    with caplog.at_level(logging.WARNING):
        load_judgments(str(tmp_path / "names.csv"), NAMES)
        assert not caplog.records
        load_judgments(str(tmp_path / "numbers.csv"))
        load_judgments(str(tmp_path / "numbers.csv"), [f"picture {i}.png" for i in range(40)])
    assert caplog.text.count("numbers in numbers.csv are read as row numbers of the images, from 0") == 2


@pytest.mark.parametrize("suffix", [".csv", ".parquet", " nested"])
@pytest.mark.parametrize(
    ("names", "meant"),
    [
        (sorted(f"{i}.png" for i in range(12)), "2.png"),  # 0, 1, 10, 11, 2: the row 2 is another picture
        ([f"{i:03}.png" for i in range(1, 13)], "002.png"),
        ([f"{i:02}" for i in range(1, 13)], "02"),
        ([f"some/folder/{i}.jpg" for i in range(12)], "some/folder/2.jpg"),
    ],
)
def test_number_that_may_be_the_stem_of_a_name_is_refused(tmp_path, suffix, names, meant):
    table, path = by_number([2, 10, 3]), tmp_path / f"mine{suffix}"
    if suffix == ".parquet":
        table.to_parquet(path)
    elif suffix == ".csv":
        table.to_csv(path, index=False)
    else:  # load_dataset reads it, and makes numbers of names
        (path / "train").mkdir(parents=True)
        table.astype(str).map(lambda cell: cell.zfill(3)).to_csv(path / "train" / "mine.csv", index=False)
    with pytest.raises(
        InputError, match=f"row [02] of .* can be the image '{meant}' or the row .* write the full names"
    ):
        load_judgments(str(path), names)


def test_some_numbers_that_are_names_are_refused(tmp_path):
    by_number([2, 10, 3]).to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(InputError, match="can be the image '10' or the row 10 from 0"):
        load_judgments(str(tmp_path / "mine.csv"), ["cat", "dog", "10"])


def test_number_too_large_for_a_row_is_a_name(tmp_path):
    by_number(["1" * 25, "2" * 25, "3" * 25]).to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(InputError, match="names images, such as '1111"):
        load_judgments(str(tmp_path / "mine.csv"))
    loaded = load_judgments(str(tmp_path / "mine.csv"), [digit * 25 for digit in "321"])["train"]
    assert loaded["triplet"][0] == [2, 1, 0]


def test_folder_of_tables_keeps_names_as_text(tmp_path, caplog):
    names = ["001", "002", "003", "004"]
    for name, cells in {"anna.csv": ["004", "001", "002"], "test_bob.csv": ["002", "003", "001"]}.items():
        by_number(cells).to_csv(tmp_path / name, index=False)
    by_number(["001", "003", "004"]).assign(rt=2.0).to_csv(tmp_path / "zoe.tsv", index=False, sep="\t")
    (tmp_path / "people.csv").write_text("participant,age\nanna,31\n")
    with caplog.at_level(logging.WARNING):
        loaded = load_judgments(str(tmp_path), names)
    assert {name: split["triplet"][:] for name, split in loaded.items()} == {
        "train": [[3, 0, 1], [0, 2, 3]],
        "test": [[1, 2, 0]],
    }
    assert loaded["train"]["rt"][:] == [None, 2.0]
    assert "do not have the columns of judgments: people.csv" in caplog.text


def test_folder_of_tables_beside_images(tmp_path):
    (tmp_path / "judgments").mkdir()
    (tmp_path / "metadata.csv").write_text("file_name\n01.png\n")
    by_number(["02", "01", "03"]).to_csv(tmp_path / "judgments" / "val.csv", index=False)
    loaded = load_judgments(str(tmp_path), ["01", "02", "03"])
    assert list(loaded) == ["validation"] and loaded["validation"]["triplet"][0] == [1, 0, 2]


def test_classes_of_own_table_are_read_by_name(tmp_path):
    features = Features(dict.fromkeys(by_number([0, 1, 2]), ClassLabel(names=["dog", "car", "cat"])))
    Dataset.from_dict(by_number([1, 2, 0]).to_dict("list"), features).save_to_disk(tmp_path / "mine")
    loaded = load_judgments(str(tmp_path / "mine"), ["cat", "dog", "car"])["train"]
    assert loaded["triplet"][0] == [2, 0, 1] and loaded["odd"][0] == 1


def refused(own: pd.DataFrame, tmp_path, message: str, names=NAMES) -> None:
    own.to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(InputError, match=message):
        load_judgments(str(tmp_path / "mine.csv"), names)


def test_number_that_may_be_an_image_or_a_position_is_refused(own, tmp_path):
    for i in range(3):
        own[f"image_{i + 1}"] = [3, 2, 1][i]
    own["odd_one_out"] = 3
    refused(own, tmp_path, "can be the number of an image or a position: row 2 .* '3', '2', '1'")
    own["odd_one_out"] = 2  # either way the second image
    own.to_csv(tmp_path / "mine.csv", index=False)
    assert load_judgments(str(tmp_path / "mine.csv"), NAMES)["train"]["odd"][:] == [1] * 5


def test_number_that_may_be_a_name_or_a_row_is_refused(own, tmp_path):
    for i in range(3):
        own[f"image_{i + 1}"] = i
    own["odd_one_out"] = 3
    refused(own, tmp_path, "can be names of images or row numbers", names=["1", "0", "2"])
    own.to_csv(tmp_path / "mine.csv", index=False)
    assert load_judgments(str(tmp_path / "mine.csv"), ["0", "1", "2"])["train"]["triplet"][0] == [0, 1, 2]


def test_choice_outside_its_triplet_is_refused(own, tmp_path):
    own.loc[3, "odd_one_out"] = "car.png"
    refused(own, tmp_path, "row 5 of mine.csv chooses 'car.png' of the images 'NA', 'cat.png', 'dog.png'")
    own["odd_one_out"] = [0, 3, 1, 1, 2]
    refused(own, tmp_path, "positions from 0 to 3, but a triplet has three images")
    own["odd_one_out"] = [1, 3, "dog.png", 1, 2]
    refused(own, tmp_path, "row 4 of mine.csv chooses 'dog.png' .* one of the three images in every row")


def test_unknown_names_are_listed_with_those_close(own, tmp_path):
    own.loc[:1, "image_2"] = ["dgo.png", "dgo.png"]
    own.loc[2, "image_3"] = "zebra"
    own["odd_one_out"] = 1
    refused(own, tmp_path, r"not among the 5: 'dgo.png' \(close: 'dog.png'.*\), 'zebra'$")
    refused(own, tmp_path, r"such as 'cat.png', .* give `object_names`, .* filename or concept", None)


def test_name_of_several_images_is_refused(own, tmp_path):
    refused(own, tmp_path, "'dog.png', but several images have this name", names=[*NAMES, "dog.png"])


def test_missing_columns_and_cells_and_wrong_types_are_refused(own, tmp_path):
    refused(own.drop(columns="image_2"), tmp_path, "lacks the column image_2; it has image_1, image_3")
    refused(own.rename(columns={"odd_one_out": "which"}), tmp_path, "lacks the column odd_one_out; .*`columns`")
    refused(own.assign(rt="fast"), tmp_path, r"row 2 of mine.csv has 'fast' .* must be a number \(rt\)")
    refused(own.assign(rt=-1.0), tmp_path, "row 2 of mine.csv has '-1.0' .* must be a number above 0")
    refused(own.assign(level="hard"), tmp_path, "row 2 of mine.csv has 'hard' .*`columns=level=` to leave it out")
    refused(own.assign(is_catch="perhaps"), tmp_path, "row 2 of mine.csv has 'perhaps' .* true or false")
    refused(own.assign(image_2=own["image_1"]), tmp_path, "row 2 of mine.csv names an image twice: 'cat.png', 'cat")
    own.loc[2, "image_3"] = None
    refused(own, tmp_path, "row 4 of mine.csv has no image_3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("image_1,image_2,image_3,odd_one_out\n", "has a header, but no rows"),
        ("image_1,image_2,image_3,odd_one_out\na,b\n", "row 2 of mine.csv has no image_3"),
        ("image_1,image_2,image_3,odd_one_out\na,b,c,a,d\n", "row 2 of mine.csv has 5 cells, .* 4 columns"),
        (
            "left,right\n1,2\n",
            r"has the columns left, right, which do not show judgments; supported are:\n- a ",
        ),
    ],
)
def test_tables_that_are_none(tmp_path, text, message):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        load_judgments(str(tmp_path / "mine.csv"))


def test_dataset_that_is_none_and_path_that_is_none(tmp_path):
    Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "other")
    with pytest.raises(InputError, match="has the columns text; supported are"):
        load_judgments(str(tmp_path / "other"))
    with pytest.raises(InputError, match="cannot open the dataset"):
        load_judgments(str(tmp_path / "nowhere"))


def test_image_names():
    images = Dataset.from_dict({"concept": ["cat", "dog"], "filename": ["cat_1.png", "dog_1.png"]})
    assert image_names(images) == ["cat_1.png", "dog_1.png"]
    assert image_names(images.remove_columns("filename")) == ["cat", "dog"]


@pytest.mark.parametrize("column", ["filename", "concept"])
def test_image_names_that_are_classes_or_numbers(column):
    classes = Features({column: ClassLabel(names=["dog", "cat"])})
    assert image_names(Dataset.from_dict({column: [1, 0, 1]}, classes)) == ["cat", "dog", "cat"]
    assert image_names(Dataset.from_dict({column: [17, 4]})) == ["17", "4"]
    for values, features in (([1, None], classes), ([1, -1], classes), (["cat", None], None)):
        with pytest.raises(InputError, match=f"row 1 of the images has no {column}"):
            image_names(Dataset.from_dict({column: values}, features))
    lists = Dataset.from_dict({column: [["cat"]]}, Features({column: List(Value("string"))}))
    with pytest.raises(InputError, match=f"column '{column}' of the images is no text, but List"):
        image_names(lists)


def test_images_are_named_by_the_files_they_came_from(tmp_path, pictures):
    for name, picture in zip(("cat", "dog"), pictures, strict=False):
        picture.save(tmp_path / f"{name}.png")
    load_dataset("imagefolder", data_dir=str(tmp_path), split="train").save_to_disk(tmp_path / "images")
    assert image_names(load_images(str(tmp_path / "images"))) == ["cat.png", "dog.png"]


def test_images_without_names(images):
    assert image_names(images) is None


def test_folder_of_published_index_files(tmp_path):
    for name in ("trainset.txt", "validationset.txt", "testset1.txt", "testset2.txt", "testset2_repeat.txt"):
        np.savetxt(tmp_path / name, TRIPLETS, fmt="%i")
    (tmp_path / "README.txt").write_text("All derived data are triplets.")
    loaded = load_judgments(str(tmp_path))
    assert set(loaded) == {"train", "validation", "test1", "test2", "test2_repeat"}
    for split in loaded.values():
        np.testing.assert_array_equal(column(split, "triplet"), TRIPLETS)
        assert split["odd"][:] == [2] * 5  # the last column is the odd one out


@pytest.mark.parametrize("name", ["train_90.npy", "train_90.txt", "triplets.npz", "choices.txt"])
def test_index_files_one_by_one(tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".npz":
        np.savez(path, train=TRIPLETS.astype(np.int16))
    elif path.suffix == ".npy":
        np.save(path, TRIPLETS.astype(np.float64))  # as VICE's scripts save what np.loadtxt gave
    else:
        np.savetxt(path, TRIPLETS, delimiter=",")  # 0.000000000000000000e+00
    loaded = load_judgments(str(path))
    assert list(loaded) == ["train"]
    np.testing.assert_array_equal(column(loaded["train"], "triplet"), TRIPLETS)


def test_header_is_read_with_quotes(tmp_path):
    (tmp_path / "b.csv").write_text('"a,b",c\n', encoding="utf-8")
    assert read_header(tmp_path / "b.csv") == (["a,b", "c"], ",")


def test_splits_by_file_name():
    expected = {
        "train_90.npy": "train",
        "test_10.txt": "test",
        "data1854_batch5_test10.txt": "test",
        "testset3.txt": "test3",
        "test1.npy": "test1",
        "val_triplets.npy": "validation",
        "validationset.txt": "validation",
        "trainset.txt": "train",
        "training_data.txt": "train",
        "testset2_repeat.txt": "test2_repeat",
        "data1854_batch5_train90.txt": "train",
        "embedding.npy": None,
        "latest.txt": None,
        "evaluation.txt": None,
        "contest_10.txt": None,
        "values.npy": None,
        "valentina.csv": None,
    }
    assert {name: split_of(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 2), int), r"shape \(4, 2\).* three columns"),
        (np.zeros((0, 3), int), "is empty"),
        (
            np.array([[0, 1, 2], [0.5, 1, 2]]),
            r"row 1 of the array 'train' .* not hold row numbers from 0: \[0.5",
        ),
        (np.array([[0, 1, np.nan]]), "row 0 .* does not hold row numbers"),
        (np.array([[0, 1, -2]]), "row 0 .* does not hold row numbers"),
        (np.array([["a", "b", "c"]]), "three columns of row numbers"),
        (np.array([[0, 1, 1]]), "names an image twice"),
    ],
)
def test_arrays_that_are_no_triplets(tmp_path, array, message):
    np.save(tmp_path / "train.npy", array)
    with pytest.raises(InputError, match=message):
        load_judgments(str(tmp_path / "train.npy"))


def test_text_and_archives_that_are_no_triplets(tmp_path):
    (tmp_path / "train.txt").write_text("one two three\n")
    (tmp_path / "test.npz").write_text("no archive")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("train.txt", "test.npz", "empty.npy"):
        with pytest.raises(InputError, match="cannot read"):
            load_judgments(str(tmp_path / name))
    (tmp_path / "test.txt").write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        load_judgments(str(tmp_path / "test.txt"))


def test_two_files_of_one_split_are_refused(tmp_path):
    np.save(tmp_path / "train_90.npy", TRIPLETS)
    np.savetxt(tmp_path / "train_90.txt", TRIPLETS, fmt="%i")
    with pytest.raises(InputError, match="train_90.npy and train_90.txt both hold the split 'train'"):
        load_judgments(str(tmp_path))
