"""A record knows pictures by their content: wherever they lie, whatever their row, and whoever reads them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from hf_alignet.errors import InputError
from hf_alignet.images.opening import load_images
from hf_alignet.images.picture_list import PictureList
from hf_alignet.images.picture_record import ABSENT, NAMES_FILE, UNREADABLE, PictureRecord
from hf_alignet.storage import write_dataset


@pytest.fixture
def folder(pictures, tmp_path) -> Path:
    """Six pictures in two folders, with the same base names."""
    for row, picture in enumerate(pictures[:6]):
        (tmp_path / "pics" / "ab"[row // 3]).mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "pics" / "ab"[row // 3] / f"{row % 3}.png")
    return tmp_path / "pics"


def record_of(folder: Path) -> PictureRecord:
    return PictureRecord.of(load_images(str(folder)), progress=False)


def test_the_same_pictures_have_the_same_record_in_any_form(folder, tmp_path):
    record = record_of(folder)
    assert record.names == ["a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png", "b/2.png"]
    assert len(set(record.contents.tolist())) == len(record) == 6
    write_dataset(load_images(str(folder)), tmp_path / "stored" / "images", "train", progress=False)
    shutil.copytree(folder, tmp_path / "moved")
    paths = sorted((tmp_path / "moved").rglob("*.png"))
    files = [PictureRecord.of(PictureList(paths), progress=False), record_of(tmp_path / "moved")]
    for other in [*files, record_of(tmp_path / "stored")]:
        assert other.fingerprint == record.fingerprint and record.difference(other) is None
    assert files[0].names == files[1].names == record.names


def test_pictures_in_memory_have_no_names(pictures):
    features = Features({"image": ImageFeature()})
    first = PictureRecord.of(Dataset.from_dict({"image": pictures}, features=features), progress=False)
    assert first.names is None
    assert PictureRecord.of(PictureList(pictures), progress=False).names is None
    other = PictureRecord.of(Dataset.from_dict({"image": pictures[1:]}, features=features), progress=False)
    assert first.difference(other) == "image row 0 is not among them"
    assert other.difference(first) == "image row 0 is new"


def test_differences_are_named(folder):
    record = record_of(folder)
    Image.new("RGB", (9, 9), "red").save(folder / "a" / "00.png")
    assert record.difference(record_of(folder)) == "image row 1 (a/00.png) is new"
    shutil.copy(folder / "a" / "00.png", folder / "a" / "1.png")
    assert record.difference(record_of(folder)) == "image row 1 (a/1.png) has changed"
    (folder / "b" / "0.png").unlink()
    assert record.difference(record_of(folder)) == "image row 1 (a/1.png) has changed (1 more)"


def test_rows_follow_the_content(folder):
    record = record_of(folder)
    (folder / "a" / "2.png").rename(folder / "b" / "last.png")
    (folder / "a" / "0.png").unlink()
    Image.new("RGB", (9, 9), "red").save(folder / "first.png")
    found = record_of(folder)
    expected = [
        next((row for row, content in enumerate(found.contents) if content == wanted), ABSENT)
        for wanted in record.contents
    ]
    assert record.rows_in(found).tolist() == expected


def test_copies_of_a_picture_are_told_apart_by_name_or_else_by_order():
    contents = [np.array(values, np.uint64) for values in ([7, 5, 7, 7], [5, 7, 9, 7])]
    assert PictureRecord(contents[0]).rows_in(PictureRecord(contents[1])).tolist() == [1, 0, 3, ABSENT]
    first, second = PictureRecord(contents[0], list("abcd")), PictureRecord(contents[1], list("bcad"))
    assert first.rows_in(second).tolist() == [ABSENT, 0, 1, 3]  # another picture is called a now
    second = PictureRecord(contents[1], list("bdac"))
    assert first.rows_in(second).tolist() == [ABSENT, 0, 3, 1]
    assert first.rows_in(PictureRecord(contents[1], list("xyzy"))).tolist() == [1, 0, 3, ABSENT]


def test_the_copy_of_a_picture_in_front_is_the_new_one(folder):
    record = record_of(folder)
    shutil.copy(folder / "b" / "2.png", folder / "a" / "00.png")
    assert record.difference(record_of(folder)) == "image row 1 (a/00.png) is new"


def test_files_hold_the_record(folder, tmp_path):
    record = record_of(folder)
    record.save(tmp_path)
    loaded = PictureRecord.load(tmp_path)
    assert loaded is not None and loaded.names == record.names
    np.testing.assert_array_equal(loaded.contents, record.contents)
    (tmp_path / NAMES_FILE).unlink()  # as on the Hub
    loaded = PictureRecord.load(tmp_path)
    assert loaded is not None and loaded.names is None and loaded.fingerprint == record.fingerprint
    assert PictureRecord.load(folder) is None
    (tmp_path / "pictures.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="cannot read the record of the images in"):
        PictureRecord.load(tmp_path)


def test_a_file_that_is_gone_is_no_reason_to_stop(folder):
    images = load_images(str(folder))
    (folder / "a" / "1.png").unlink()
    record = PictureRecord.of(images, progress=False)
    assert (record.contents == UNREADABLE).tolist() == [False, True, False, False, False, False]
