"""Which pictures a path holds, under which names, and in which column."""

import shutil

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, Features, Image, Value
from PIL import Image as Pillow

from hf_alignet.errors import InputError
from hf_alignet.images import opening
from hf_alignet.images.decoding import read_pictures
from hf_alignet.images.opening import load_images
from hf_alignet.judgments import image_names


@pytest.fixture
def folder(tmp_path):
    def write(*names: str):
        for number, name in enumerate(names):
            file = tmp_path / "pictures" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Pillow.new("RGB", (4, 4), (number, 0, 0)).save(file)
        return tmp_path / "pictures"

    return write


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["ant/a.png", "bus/a.png", "train/b.png"], ["ant/a.png", "bus/a.png", "train/b.png"]),
        (["ant/a.png", "bus/b.png", "train/c.png"], ["a.png", "b.png", "c.png"]),
        (["bus.png", "train station.png", "test drive.png"], ["bus.png", "test drive.png", "train station.png"]),
        (["train/a.png", "train/b.png", "val/c.png"], ["a.png", "b.png"]),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_all_pictures_are_opened_under_names_that_differ(kind, names, expected, folder, tmp_path):
    path = folder(*names)
    if kind == "zip":
        path = shutil.make_archive(str(tmp_path / "mine"), "zip", path)
    assert image_names(load_images(str(path))) == expected


def test_splits_are_named_or_joined(folder):
    path = str(folder("train/a.png", "val/b.png", "val/c.png"))
    assert len(load_images(path)) == 1 and len(load_images(path, "validation")) == 2
    assert image_names(load_images(path, "all")) == ["a.png", "b.png", "c.png"]
    with pytest.raises(InputError, match="no split 'test'; it has train, validation. .* `image_split=all`"):
        load_images(path, "test")


def encoded(tmp_path) -> bytes:
    Pillow.new("RGB", (4, 4), (7, 0, 0)).save(tmp_path / "one.png")
    return (tmp_path / "one.png").read_bytes()


@pytest.mark.parametrize("kind", ["image", "struct", "bytes"])
def test_column_of_pictures_under_another_name(kind, tmp_path):
    content = encoded(tmp_path)
    structs = {"bytes": Value("binary"), "path": Value("string")}
    cells = content if kind == "bytes" else {"bytes": content, "path": "one.png"}
    feature = {"image": Image(), "struct": structs, "bytes": Value("binary")}[kind]
    features = Features({"photo": feature, "word": Value("string")})
    Dataset.from_dict({"photo": [cells], "word": ["cat"]}, features).to_parquet(tmp_path / "mine.parquet")
    images = load_images(str(tmp_path / "mine.parquet"), image_column="photo")
    assert np.array(read_pictures(images, [0])[0])[0, 0].tolist() == [7, 0, 0]
    if kind != "bytes":
        assert load_images(str(tmp_path / "mine.parquet")).to_dict() == images.to_dict()
    with pytest.raises(InputError, match="must hold datasets.Image, not Value"):
        load_images(str(tmp_path / "mine.parquet"), image_column="word")
    with pytest.raises(InputError, match="need a column 'nose'; there are photo, word"):
        load_images(str(tmp_path / "mine.parquet"), image_column="nose")


def test_one_of_several_columns_of_pictures_has_to_be_named(tmp_path):
    pictures = {"bytes": encoded(tmp_path), "path": None}
    data = Dataset.from_dict({"left": [pictures], "right": [pictures]}, Features({"left": Image(), "right": Image()}))
    data.to_parquet(tmp_path / "two.parquet")
    with pytest.raises(InputError, match="the columns left and right: name one in `image_column`"):
        load_images(str(tmp_path / "two.parquet"))
    assert load_images(str(tmp_path / "two.parquet"), image_column="left").column_names == ["image", "right"]


def test_cells_do_not_open_files_of_this_machine(tmp_path, monkeypatch):
    encoded(tmp_path)
    cells = [{"bytes": None, "path": str(tmp_path / "one.png")}]
    structs = Features({"image": {"bytes": Value("binary"), "path": Value("string")}})
    Dataset.from_dict({"image": cells}, structs).to_parquet(tmp_path / "struct.parquet")
    with pytest.raises(InputError, match="column 'image' of the images names the file '.*one.png': only pictures in"):
        load_images(str(tmp_path / "struct.parquet"))
    mine = Dataset.from_dict({"image": cells}, Features({"image": Image()}))
    monkeypatch.setattr(opening, "load_splits", lambda path, config: DatasetDict(train=mine))
    assert len(load_images(str(tmp_path / "struct.parquet"))) == 1  # one's own dataset
    with pytest.raises(InputError, match="files of this machine, such as '.*one.png', which are not opened"):
        load_images("someone/images")


def test_archives_that_are_none_or_change(tmp_path, folder):
    (tmp_path / "mine.zip").write_text("no archive")
    with pytest.raises(InputError, match="cannot unpack the archive .*mine.zip"):
        load_images(str(tmp_path / "mine.zip"))
    for number, names in enumerate((["a.png", "b.png"], ["a.png", "b.png", "c.png"])):
        shutil.make_archive(str(tmp_path / "mine"), "zip", folder(*names))
        assert len(load_images(str(tmp_path / "mine.zip"))) == 2 + number
