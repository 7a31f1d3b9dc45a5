"""Which pictures a path holds, under which names, and in which column."""

import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, Features, Image, List, Value
from PIL import Image as Pillow

from hf_alignet.errors import InputError
from hf_alignet.images import opening
from hf_alignet.images.decoding import read_pictures
from hf_alignet.images.opening import load_image_splits, load_images
from hf_alignet.judgments import image_names
from hf_alignet.workflows.triplet_run import make_triplets


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
    features = Features({"photo": feature, "word": Value("string"), "size": Value("int64")})
    Dataset.from_dict({"photo": [cells], "word": ["cat"], "size": [7]}, features).to_parquet(tmp_path / "mine.parquet")
    images = load_images(str(tmp_path / "mine.parquet"), image_column="photo")
    assert np.array(read_pictures(images, [0])[0])[0, 0].tolist() == [7, 0, 0]
    if kind != "bytes":
        assert load_images(str(tmp_path / "mine.parquet")).to_dict() == images.to_dict()
    assert load_images(str(tmp_path / "mine.parquet"), image_column="word")["text"][:] == ["cat"]  # for a text model
    with pytest.raises(InputError, match="must hold datasets.Image, not Value"):
        load_images(str(tmp_path / "mine.parquet"), image_column="size")
    with pytest.raises(InputError, match="need a column 'nose'; there are photo, word, size"):
        load_images(str(tmp_path / "mine.parquet"), image_column="nose")


def test_one_of_several_columns_of_pictures_has_to_be_named(tmp_path):
    pictures = {"bytes": encoded(tmp_path), "path": None}
    data = Dataset.from_dict({"left": [pictures], "right": [pictures]}, Features({"left": Image(), "right": Image()}))
    data.to_parquet(tmp_path / "two.parquet")
    with pytest.raises(InputError, match="the columns left and right: name one in `image_column`"):
        load_images(str(tmp_path / "two.parquet"))
    assert load_images(str(tmp_path / "two.parquet"), image_column="left").column_names == ["image", "right"]


STRUCT = {"bytes": Value("binary"), "path": Value("string")}
PLACES = {
    "file": "{outside}/one.png",
    "http": "http://127.0.0.1:9/one.png",
    "s3": "s3://bucket/one.png",
    "zip": "zip://one.png::{outside}/one.zip",
    "relative": "../outside/one.png",
    "pipe": "{inside}/pipe.png",
    "link": "{inside}/link.png",
    "folder": "{inside}",
    "absent": "{inside}/absent.png",
}


@pytest.fixture
def places(tmp_path):
    """A folder `inside` with a picture, a pipe and a link, and a picture outside."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    encoded(inside), encoded(outside)
    (inside / "one.png").rename(inside / "own.dat")  # else it would be a folder of pictures
    os.mkfifo(inside / "pipe.png")
    (inside / "link.png").symlink_to(outside / "one.png")
    return {"inside": inside, "outside": outside}


def write_cells(features: Features, cells: dict, folder) -> None:
    pq.write_table(pa.table(cells, schema=features.arrow_schema), folder / "train-00000-of-00001.parquet")


@pytest.mark.parametrize("place", PLACES)
def test_cells_open_no_file_but_those_of_the_dataset(place, places):
    path = PLACES[place].format(**places)
    write_cells(Features({"image": Image()}), {"image": [{"bytes": None, "path": path}]}, places["inside"])
    with pytest.raises(InputError, match="the column 'image' names the file '.*': only pictures in the"):
        load_images(str(places["inside"]))


@pytest.mark.parametrize("kind", ["other", "list", "sound", "struct"])
def test_no_column_opens_other_files(kind, places):
    feature = {"other": Image(), "list": List(Image()), "sound": {"x": STRUCT}, "struct": STRUCT}[kind]
    cell = {"bytes": None, "path": str(places["outside"] / "one.png")}
    cell = {"list": [cell], "sound": {"x": cell}}.get(kind, cell)
    content = (places["outside"] / "one.png").read_bytes()
    cells = {"image": [{"bytes": content, "path": None}], "more": [cell]}
    write_cells(Features({"image": Image(), "more": feature}), cells, places["inside"])
    with pytest.raises(InputError, match="the column 'more' names the file"):
        load_image_splits(str(places["inside"]))


def test_files_of_the_dataset_itself_are_opened(places, monkeypatch):
    cells = {"image": [{"bytes": None, "path": str(places["inside"] / "own.dat")}]}
    write_cells(Features({"image": Image()}), cells, places["inside"])
    assert read_pictures(load_images(str(places["inside"])), [0])[0].size == (4, 4)
    with pytest.raises(InputError, match="names the file"):  # a file has no folder of its own
        load_images(str(places["inside"] / "train-00000-of-00001.parquet"))
    mine = Dataset.from_dict(cells, Features({"image": Image()}))
    monkeypatch.setattr(opening, "load_splits", lambda path, config: DatasetDict(train=mine))
    with pytest.raises(InputError, match="names the file"):
        load_images("someone/images")


def test_card_with_data_elsewhere_is_refused(places):
    write_cells(Features({"image": Image()}), {"image": [None]}, places["outside"])
    for data in (f"{places['outside']}/*.parquet", "../outside/*.parquet"):
        (places["inside"] / "README.md").write_text(
            f"---\nconfigs:\n- config_name: default\n  data_files: '{data}'\n---\n"
        )
        with pytest.raises(InputError, match="the card of .*inside names the file '.*', which is not in that folder"):
            load_images(str(places["inside"]))


def test_files_that_a_dataset_names_are_not_shared(places):
    ours = Dataset.from_dict({"image": [str(places["outside"] / "one.png")]}, Features({"image": Image()}))
    with pytest.raises(InputError, match="`save_images` shares no file that a Dataset names"):
        make_triplets(ours, features="none.npy", output_dir=str(places["inside"] / "made"), save_images=True)


def test_archives_that_are_none_or_change(tmp_path, folder):
    (tmp_path / "mine.zip").write_text("no archive")
    with pytest.raises(InputError, match="cannot unpack the archive .*mine.zip"):
        load_images(str(tmp_path / "mine.zip"))
    for number, names in enumerate((["a.png", "b.png"], ["a.png", "b.png", "c.png"])):
        shutil.make_archive(str(tmp_path / "mine"), "zip", folder(*names))
        assert len(load_images(str(tmp_path / "mine.zip"))) == 2 + number
