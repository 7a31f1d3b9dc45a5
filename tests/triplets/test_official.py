"""The released triplet files: read, put in order, matched with images by name, and written again without loss."""

import logging
import os
import zipfile

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature

from hf_alignet.errors import InputError, RunError
from hf_alignet.similarity import odd_one_out, triplet_similarities
from hf_alignet.triplets import FEATURES, check_triplets, npz, official, read_official, write_official
from hf_alignet.triplets.triplet_dataset import column

NUM_IMAGES = 20
# Apart from their numbers, in no order
NAMES = np.array([f"n{1440764 + 7919 * (i % 4):08d}_{10026 + 37 * i % 11}{i}.JPEG" for i in range(NUM_IMAGES)])


@pytest.fixture
def vectors() -> np.ndarray:
    # Exact dot products, of a size that leaves most labels undecided, as those of people are
    return np.random.default_rng(0).integers(-9, 10, (NUM_IMAGES, 5)).astype(np.float32) / 8


@pytest.fixture
def arrays(vectors) -> dict[str, np.ndarray]:
    """60 triplets without ties in whatever order they were drawn."""
    rng = np.random.default_rng(1)
    drawn = np.stack([rng.permutation(NUM_IMAGES)[:3] for _ in range(90)])
    similarities = label(vectors, drawn)
    chosen = np.flatnonzero(odd_one_out(torch.from_numpy(similarities)) >= 0)[:60]
    assert len(chosen) == 60
    return {"filenames": NAMES[drawn[chosen]], "similarities": similarities[chosen], "indices": drawn[chosen]}


@pytest.fixture
def sorted_arrays(arrays) -> dict[str, np.ndarray]:
    return sort_slowly(arrays)


def label(vectors, rows) -> np.ndarray:
    return triplet_similarities(torch.from_numpy(vectors), torch.from_numpy(rows)).numpy()


def sort_slowly(arrays) -> dict[str, np.ndarray]:
    """The odd one out of each row last, in plain words."""
    result = {name: array.copy() for name, array in arrays.items()}
    for row, (s01, s02, s12) in enumerate(arrays["similarities"]):
        if s02 > max(s01, s12):
            order, similarities = [0, 2, 1], [s02, s01, s12]
        elif s12 > max(s01, s02):
            order, similarities = [1, 2, 0], [s12, s01, s02]
        else:
            continue
        result["similarities"][row] = similarities
        for name in set(arrays) - {"similarities"}:
            result[name][row] = arrays[name][row][order]
    return result


def save(folder, arrays):
    path = folder / "alignet_train.npz"
    np.savez(path, **arrays)
    return path


def load(path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_documented_order_goes_through_unchanged(sorted_arrays, tmp_path, caplog):
    dataset = read_official(save(tmp_path, sorted_arrays), strict=True)
    assert not caplog.records
    assert dataset.column_names == [*FEATURES, "filenames"]
    assert {name: dataset.features[name] for name in FEATURES} == FEATURES
    np.testing.assert_array_equal(column(dataset, "triplet"), sorted_arrays["indices"])
    assert dataset["filenames"][:] == sorted_arrays["filenames"].tolist()
    assert set(dataset["odd"]) == {2}
    check_triplets(dataset, NUM_IMAGES, "similarities")
    write_official(dataset, tmp_path / "again.npz")
    assert_same(load(tmp_path / "again.npz"), sorted_arrays)


def test_round_trip_through_a_saved_dataset_with_images(sorted_arrays, tmp_path):
    images = Dataset.from_dict({"filename": NAMES[::-1]})
    dataset = read_official(save(tmp_path, sorted_arrays), images)
    dataset.save_to_disk(tmp_path / "triplets")
    write_official(Dataset.load_from_disk(tmp_path / "triplets"), tmp_path / "deep" / "er" / "again.npz")
    assert_same(load(tmp_path / "deep" / "er" / "again.npz"), sorted_arrays)


def test_older_form_goes_through_unchanged(sorted_arrays, tmp_path):
    del sorted_arrays["filenames"]
    dataset = read_official(save(tmp_path, sorted_arrays))
    assert dataset.features == FEATURES
    write_official(dataset, tmp_path / "again.npz")
    assert_same(load(tmp_path / "again.npz"), sorted_arrays)


def test_blocks_of_rows_make_no_difference(arrays, tmp_path, monkeypatch):
    path = save(tmp_path, arrays)
    whole = read_official(path)
    write_official(whole, tmp_path / "whole.npz")
    for module in (npz, official):
        monkeypatch.setattr(module, "BLOCK", 7)
    parts = read_official(path)
    assert parts.to_dict() == whole.to_dict()
    write_official(parts, tmp_path / "parts.npz")
    assert_same(load(tmp_path / "parts.npz"), load(tmp_path / "whole.npz"))


@pytest.mark.parametrize("form", ["fortran", "big endian", "bytes", "compressed", "double", "int32", "uint64"])
def test_other_forms_of_the_arrays(form, sorted_arrays, tmp_path):
    expected = read_official(save(tmp_path, sorted_arrays)).to_dict()
    changed = dict(sorted_arrays)
    if form == "fortran":
        changed = {name: np.asfortranarray(array) for name, array in changed.items()}
    elif form == "big endian":
        changed = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in changed.items()}
    elif form == "bytes":
        changed["filenames"] = changed["filenames"].astype("S")
    elif form == "double":
        changed["similarities"] = changed["similarities"].astype(np.float64)
    elif form in ("int32", "uint64"):
        changed["indices"] = changed["indices"].astype(form)
    (np.savez_compressed if form == "compressed" else np.savez)(tmp_path / "other.npz", **changed)
    assert read_official(tmp_path / "other.npz").to_dict() == expected


@pytest.mark.parametrize("case", ["folder", "certain"])
def test_labels_of_a_model_that_was_not_fitted_to_people_are_told(case, sorted_arrays, tmp_path, caplog):
    if case == "folder":
        path = tmp_path / "untransformed" / "train_class_border.npz"
        path.parent.mkdir()
        np.savez(path, **sorted_arrays)
        words = "train_class_border.npz lie in a folder 'untransformed'"
    else:
        path = save(tmp_path, sorted_arrays | {"similarities": 1000 * sorted_arrays["similarities"]})
        words = "alignet_train.npz are nearly certain: in 100 % of them one pair has a probability above 0.99"
    read_official(path)
    (record,) = caplog.records
    assert words in record.getMessage() and "learns nothing about people" in record.getMessage()


def test_other_order_is_put_right(arrays, vectors, tmp_path, caplog):
    expected = sort_slowly(arrays)
    was_wrong = (expected["indices"] != arrays["indices"]).any(1)
    assert 20 < was_wrong.sum() < 60
    with caplog.at_level(logging.WARNING):
        dataset = read_official(save(tmp_path, arrays))
    (record,) = caplog.records
    assert f"of 60 triplets of alignet_train.npz, {was_wrong.sum()} did not have" in record.getMessage()
    share = 100 * np.mean(odd_one_out(torch.from_numpy(arrays["similarities"])).numpy() == 2)
    assert f"finds the teacher itself right in {share:.1f} % of them" in record.getMessage()
    rows, similarities = column(dataset, "triplet"), column(dataset, "similarities")
    np.testing.assert_array_equal(rows, expected["indices"])
    np.testing.assert_array_equal(similarities, expected["similarities"])
    assert dataset["filenames"][:] == expected["filenames"].tolist()
    # The labels are still those of the images.
    np.testing.assert_array_equal(similarities, label(vectors, rows))
    np.testing.assert_array_equal(dataset["odd"], odd_one_out(torch.from_numpy(similarities)))


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_all_orders_of_a_triplet_are_one_triplet(odd, vectors, tmp_path):
    images = np.array([[4, 9, 13]])
    orders = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    vectors[images[0]] = np.eye(5, dtype=np.float32)[:3]
    pair = [i for i in range(3) if i != odd]
    vectors[images[0, pair], 4] = 2
    vectors[images[0, odd], 4] = 1
    rows = images[0][orders]
    dataset = read_official(save(tmp_path, {"indices": rows, "similarities": label(vectors, rows)}))
    triplets = column(dataset, "triplet")
    assert (triplets[:, 2] == images[0, odd]).all()
    np.testing.assert_array_equal(np.sort(triplets[:, :2]), np.tile(images[0, pair], (6, 1)))
    np.testing.assert_array_equal(column(dataset, "similarities"), np.tile([4, 2, 2], (6, 1)))


def test_strict_names_the_first_row_in_another_order(sorted_arrays, tmp_path):
    sorted_arrays["similarities"][[7, 11]] = [[1, 2, 0], [0, 1, 5]]
    sorted_arrays["similarities"][3] = 1
    with pytest.raises(InputError, match=r"row 7 of .*odd one out last.*\[1.0, 2.0, 0.0\] \(1 more such rows\)"):
        read_official(save(tmp_path, sorted_arrays), strict=True)


@pytest.mark.parametrize("strict", [False, True])
def test_ties_stay_as_they_are(strict, sorted_arrays, tmp_path, caplog):
    sorted_arrays["similarities"][[0, 5, 9]] = [[2, 2, 1], [1, 2, 2], [2, 2, 2]]
    dataset = read_official(save(tmp_path, sorted_arrays), strict=strict)
    assert "0 did not have their odd one out last" in caplog.text and "3 have no odd one out" in caplog.text
    assert "TripletAccuracy" not in caplog.text  # 57 of 60 are as it expects
    assert np.flatnonzero(np.array(dataset["odd"]) == -1).tolist() == [0, 5, 9]
    write_official(dataset, tmp_path / "again.npz")
    assert_same(load(tmp_path / "again.npz"), sorted_arrays)


def encoded(paths) -> Dataset:
    cells = [{"bytes": b"never decoded", "path": path} for path in paths]
    return Dataset.from_dict({"image": cells}, features=Features({"image": ImageFeature()}))


def images_by(way: str, names: np.ndarray) -> Dataset:
    if way == "filename column":  # goes before the paths
        return encoded(["same.png"] * len(names)).add_column("filename", names.tolist())
    if way == "large strings":
        return Dataset.from_dict({"filename": names}, features=Features({"filename": Value("large_string")}))
    if way == "path":
        return encoded([f"/somewhere/{name.split('_')[0]}/{name}" for name in names])
    if way == "imagenet-1k":
        return encoded([f"{name.removesuffix('.JPEG')}_{name.split('_')[0]}.JPEG" for name in names])
    assert way == "shuffled"
    order = np.random.default_rng(3).permutation(len(names))
    return encoded(names[np.argsort(order)].tolist()).select(order)


@pytest.mark.parametrize("way", ["filename column", "large strings", "path", "imagenet-1k", "shuffled"])
def test_images_are_found_by_name(way, arrays, tmp_path):
    order = np.random.default_rng(2).permutation(NUM_IMAGES)
    dataset = read_official(save(tmp_path, arrays), images_by(way, NAMES[order]))
    expected = sort_slowly(arrays)
    np.testing.assert_array_equal(order[column(dataset, "triplet")], expected["indices"])
    np.testing.assert_array_equal(column(dataset, "indices"), expected["indices"])
    np.testing.assert_array_equal(column(dataset, "similarities"), expected["similarities"])
    assert dataset["filenames"][:] == NAMES[order][column(dataset, "triplet")].tolist()
    write_official(dataset, tmp_path / "again.npz")
    assert_same(load(tmp_path / "again.npz"), expected)


def test_images_in_the_order_of_the_file_need_no_second_numbers(arrays, tmp_path):
    dataset = read_official(save(tmp_path, arrays), images_by("path", NAMES))
    assert dataset.column_names == [*FEATURES, "filenames"]


def test_only_a_synset_that_is_there_twice_is_left_out(arrays, tmp_path):
    """`x_1_n00000002.JPEG` is no imagenet-1k name of `x_1.JPEG`."""
    names = np.array(["n00000001_1_n00000002.JPEG", "n00000001_1.JPEG", "cat_1_n00000002.JPEG", "cat_1.JPEG"])
    rows = np.array([[0, 1, 2], [3, 1, 0]])
    path = save(tmp_path, {"filenames": names[rows], "indices": rows, "similarities": [[3, 1, 2], [3, 1, 2]]})
    dataset = read_official(path, Dataset.from_dict({"filename": names[::-1]}))
    np.testing.assert_array_equal(column(dataset, "triplet"), 3 - rows)


def test_fingerprint_is_of_the_content_and_the_images(arrays, tmp_path):
    images = images_by("path", NAMES[::-1])
    path = save(tmp_path, arrays)
    plain, again, mapped = read_official(path), read_official(path), read_official(path, images)
    arrays["similarities"][0, 0] += 1
    other = read_official(save(tmp_path, arrays))
    assert plain._fingerprint == again._fingerprint
    assert len({plain._fingerprint, mapped._fingerprint, other._fingerprint}) == 3


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            Dataset.from_dict({"filename": NAMES[2:]}),
            rf"2 of the 20 images .* such as '.*'; it has 18 .* '{NAMES[2]}'",
        ),
        (Dataset.from_dict({"filename": NAMES[:0]}, features=Features({"filename": Value("string")})), "has 0 images"),
        (Dataset.from_dict({"filename": [*NAMES, f"b/{NAMES[4]}"]}), f"two images .* same file name.*: '{NAMES[4]}'"),
        (Dataset.from_dict({"filename": [*NAMES[:9], None]}), "image row 9 has no file name in the column 'filename'"),
        (encoded([*NAMES[:7], None, None]), "image row 7 has no file name in the column 'image'; add a column"),
        (Dataset.from_dict({"filename": [1, 2]}), "the images have no file name in the column 'filename'"),
        (Dataset.from_dict({"label": [1, 2]}), "need a column 'image'; there are label"),
    ],
)
def test_images_that_do_not_fit(images, message, arrays, tmp_path):
    with pytest.raises(InputError, match=message):
        read_official(save(tmp_path, arrays), images)


def test_file_with_a_base_name_in_two_folders(arrays, tmp_path):
    arrays["filenames"] = np.where(
        arrays["indices"] < 2, np.char.add(arrays["indices"].astype(str), "/same.JPEG"), arrays["filenames"]
    )
    path = save(tmp_path, arrays)
    assert len(read_official(path)) == 60
    with pytest.raises(InputError, match="two images of the triplets .* same file name, apart from folders: 'same"):
        read_official(path, images_by("path", np.array([*NAMES, "same.JPEG"])))


def test_older_form_must_fit_the_images(arrays, tmp_path):
    del arrays["filenames"]
    path = save(tmp_path, arrays)
    images = images_by("path", NAMES)
    np.testing.assert_array_equal(
        column(read_official(path, images), "triplet"), column(read_official(path), "triplet")
    )
    with pytest.raises(InputError, match=r"row \d+ of the triplets of alignet_train.npz points outside the 19 images"):
        read_official(path, images.select(range(19)))


def changed(array, row, values):
    array = array.copy()
    array[row] = values
    return array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("indices"), "lacks the array 'indices'; it has filenames, similarities"),
        (lambda a: a.clear(), "lacks the array 'similarities' and 'indices'; it has none"),
        (
            lambda a: a.update(similarities=a["similarities"][:, :2]),
            r"'similarities' .* three columns of numbers, got shape \(60, 2\) of float32",
        ),
        (lambda a: a.update(indices=a["indices"].ravel()), r"'indices' .* got shape \(180,\) of int64"),
        (lambda a: a.update(indices=np.array(3)), r"'indices' .* got shape \(\)"),
        (lambda a: a.update(indices=a["indices"].astype(float)), "three columns of integers, got .* of float64"),
        (lambda a: a.update(similarities=a["filenames"]), "three columns of numbers"),
        (lambda a: a.update(filenames=a["indices"]), "'filenames' .* three columns of strings"),
        (lambda a: a.update(filenames=a["filenames"].astype(object)), "'filenames' of .* has Python objects"),
        (lambda a: a.update(indices=a["indices"][1:]), "different numbers of rows: 'similarities' 60, 'indices' 59"),
        (lambda a: a.update(filenames=a["filenames"][:9]), "different numbers of rows: .*'filenames' 9"),
        (lambda a: a.update({name: array[:0] for name, array in a.items()}), "'similarities' .* is empty"),
        (lambda a: a["similarities"].__setitem__((8, 1), np.nan), "row 8 of .* not finite"),
        (
            lambda a: a.update(similarities=changed(a["similarities"].astype(float), 8, 1e300)),
            "row 8 of .* not finite",
        ),
        (lambda a: a["indices"].__setitem__(6, [1, 2, 1]), r"row 6 of .* names an image twice: \[1, 2, 1\]"),
        (lambda a: a["indices"].__setitem__(6, [1, 2, -1]), "row 6 of .* points outside"),
        (
            lambda a: a["indices"].__setitem__(6, [1, 2, 2**31]),
            r"to 2147483648; rows .* are from 0 to 2147483647",
        ),
        (lambda a: a["indices"].__setitem__(6, [1, 2, -(2**40)]), "indices from -1099511627776 to 19"),
        (
            lambda a: a.update(filenames=changed(a["filenames"].astype("S"), 6, b"\xff\xfe")),
            "cannot read .*[Uu][Tt][Ff]8",
        ),
    ],
)
def test_arrays_that_cannot_be(change, message, arrays, tmp_path):
    change(arrays)
    with pytest.raises(InputError, match=message):
        read_official(save(tmp_path, arrays))


def test_name_with_two_indices(arrays, tmp_path):
    name = arrays["filenames"][0, 0]
    row = next(row for row, names in enumerate(arrays["filenames"]) if name not in names)
    arrays["filenames"][row, 1] = name
    with pytest.raises(InputError, match=f"row .* gives '{name}' the index .*, another row gives it .* contradict"):
        read_official(save(tmp_path, arrays))


def test_index_with_two_names(arrays, tmp_path):
    index = arrays["indices"][4, 2]
    arrays["filenames"][4, 2] = "other.JPEG"
    with pytest.raises(InputError, match=rf"index {index} to both .*({NAMES[index]}.*other|other.*{NAMES[index]})"):
        read_official(save(tmp_path, arrays))


@pytest.mark.parametrize("broken", ["absent", "text", "npy", "half", "flipped", "short", "long", "not npy"])
def test_broken_files(broken, arrays, tmp_path):
    path = save(tmp_path, arrays)
    content = path.read_bytes()
    if broken == "absent":
        path.unlink()
    elif broken == "text":
        path.write_text("0,1,2\n")
    elif broken == "npy":
        with path.open("wb") as file:
            np.save(file, arrays["indices"])
    elif broken == "half":
        path.write_bytes(content[: len(content) // 2])
    elif broken == "flipped":  # in the middle of the numbers
        at = content.index(arrays["similarities"].tobytes()) + 11
        path.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
    else:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        indices = members["indices.npy"]
        members["indices.npy"] = {"short": indices[:-8], "long": indices + b"0", "not npy": b"no array"}[broken]
        with zipfile.ZipFile(path, "w") as archive:
            for name, member in members.items():
                archive.writestr(name, member)
    messages = {"short": "'indices' of .* is cut off", "long": "'indices' of .* has data after its last row"}
    with pytest.raises(InputError, match=messages.get(broken, "cannot read .*alignet_train.npz")):
        read_official(path)


def test_names_of_the_images_are_written(triplets, tmp_path):
    """With triplets of one's own, which have any order."""
    names = [f"{i}.png" for i in range(24)]
    rows = {"indices": column(triplets, "triplet").astype(np.int64), "similarities": column(triplets, "similarities")}
    expected = sort_slowly(rows | {"filenames": np.array(names)[rows["indices"]]})
    write_official(triplets, tmp_path / "own.npz", names)
    assert_same(load(tmp_path / "own.npz"), expected)
    shuffled = Dataset.from_dict({"filename": names[::-1]})
    again = read_official(tmp_path / "own.npz", shuffled, strict=True)
    np.testing.assert_array_equal(23 - column(again, "triplet"), expected["indices"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.png"] * 24, "contradict each other"),
        ([f"{i}.png" for i in range(23)], "points outside the 23 images"),
        ([None, *"abcdefghijklmnopqrstuvw"], "a file name is missing"),
    ],
)
def test_names_that_cannot_be_written(names, message, triplets, tmp_path):
    with pytest.raises(InputError, match=message):
        write_official(triplets, tmp_path / "own.npz", names)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("column_name", "value", "message"),
    [
        ("similarities", [float("nan"), 1, 2], "row 3 of the triplets to write has a similarity that is not finite"),
        ("triplet", [5, 5, 1], "row 3 of the triplets to write names an image twice"),
        ("filenames", ["a", "b"], "'filenames' must have lists of three names"),
        ("filenames", None, "'filenames' must have lists of three names"),
        ("filenames", ["a", None, "b"], "a file name is missing"),
    ],
)
def test_rows_that_cannot_be_written(column_name, value, message, triplets, tmp_path):
    rows = [row | {"filenames": [f"{i}.png" for i in row["triplet"]]} for row in triplets.to_list()]
    rows[3][column_name] = value
    with pytest.raises(InputError, match=message):
        write_official(Dataset.from_list(rows), tmp_path / "own.npz")
    assert not list(tmp_path.iterdir())


def test_writing_without_similarities_lists_the_columns(triplets, tmp_path):
    with pytest.raises(InputError, match="triplets to write lack the column 'similarities'; there are triplet, odd"):
        write_official(triplets.remove_columns("similarities"), tmp_path / "own.npz")


def test_failed_writing_leaves_the_old_file(triplets, tmp_path, monkeypatch):
    path = tmp_path / "own.npz"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match="cannot write .*own.npz: .*No space left"):
        write_official(triplets, path)
    assert path.read_bytes() == b"old" and [file.name for file in tmp_path.iterdir()] == ["own.npz"]
