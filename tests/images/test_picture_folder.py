"""What is read of a folder of pictures and of an archive, in which order, and what is refused."""

import logging
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Features
from datasets import Image as ImageFeature
from PIL import Image

from hf_alignet.errors import InputError
from hf_alignet.images import archive
from hf_alignet.images.archive import unpacked
from hf_alignet.images.decoding import read_pictures
from hf_alignet.images.opening import as_encoded_images, load_image_splits, load_images


@pytest.fixture
def folder(tmp_path):
    """Writes pictures, the one at place i in the colour (i, 0, 0), into a folder."""

    def write(*names: str) -> Path:
        for number, name in enumerate(names):
            file = tmp_path / "pictures" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (number, 0, 0)).save(file, "PNG")
        return tmp_path / "pictures"

    return write


def paths(folder: Path, split: str = "train") -> list[str]:
    images = load_images(str(folder), split)
    read_pictures(images, list(range(len(images))))
    return [os.path.relpath(cell["path"], folder) for cell in images["image"]]


# ---- nothing is lost


@pytest.mark.parametrize(
    "names",
    [
        ["cat.png", "dog.png", "train.png"],
        ["apple.png", "test drive.png", "validation_2.png"],
        ["dog/a.png", "test_tube/b.png", "train_set/c.png"],
        ["a.png", "b.PNG", "c.Jpg", "d.jPeG"],
        ["a.png", "b\nc.png", "d.png"],
        [" a.png", "b*?[1].png", "c%20d#.png", "e::f.png", "http:/x.png", "ä.png"],
        ["10.png", "9.png", "B.png", "a b.png", "a-b/1.png", "a.png", "a/1.png"],
        ["__masks/a.png", "b/c/d.png", "e.avif"],
    ],
)
def test_all_pictures_are_rows_in_the_order_of_their_paths(names, folder):
    assert paths(folder(*reversed(names))) == sorted(names)


def test_what_is_left_out_is_said_in_one_line(folder, caplog):
    caplog.set_level(logging.INFO)
    place = folder("a.png", "b.png", ".hidden.png")
    load_images(str(place))
    assert caplog.messages == [f"{place}: 2 pictures; left out 1 that are hidden or no files: '.hidden.png'"]
    for name in ("README.md", "rename.py", "notes.txt", "scan.eps"):
        (place / name).write_text("no picture")
    (place / "link.txt").symlink_to("/etc/passwd")
    caplog.clear()
    assert paths(place) == ["a.png", "b.png"]
    assert caplog.records[0].levelno == logging.WARNING and "\n" not in caplog.text.strip()
    assert "left out 4 other files: 'README.md', 'notes.txt', 'rename.py' (1 more)" in caplog.text
    assert "'.hidden.png', 'link.txt'" in caplog.text


@pytest.mark.parametrize(
    ("names", "splits", "labels"),
    [
        (["val/a.png", "test/b.png", "train/c.png"], ["train", "validation", "test"], None),
        (["Train/ant/a.png", "train/bee/b.png", "eval/bee/c.png"], ["train", "test"], ["ant", "bee"]),
        (["train/a.png", "train/b.png"], ["train"], None),
        (["ant/a.png", "train/b.png"], ["train"], ["ant", "train"]),
        (["x/ant/a.png", "y/bee/b.png"], ["train"], ["ant", "bee"]),
        (["ant/a.png", "b.png"], ["train"], None),
    ],
)
def test_splits_and_classes_are_those_of_folders(names, splits, labels, folder):
    place = folder(*names)
    (place / "notes.txt").touch()
    opened = load_image_splits(str(place))
    assert list(opened) == splits and sum(map(len, opened.values())) == len(names)
    for images in opened.values():
        assert (images.features["label"].names if "label" in images.features else None) == labels
        for row in as_encoded_images(images) if labels else []:
            assert Path(row["image"]["path"]).parent.name == labels[row["label"]]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pipe", "is no regular file"),
        ("folder", "is no regular file"),
        ("broken link", "is a link to nothing"),
        ("link to itself", "is a link to nothing"),
        ("link out", "is a link out of the folder"),
        ("link to a device", "is a link out of the folder"),
        ("link to a folder", "is a link out of the folder"),
        ("circle", "is no regular file"),
    ],
)
def test_what_only_looks_like_a_picture_is_refused(kind, said, folder, tmp_path):
    place = folder("a.png", "c.png")
    bad = place / ("b" if kind in ("circle", "link to a folder") else "b.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "private.png")
    targets = {"broken link": "nothing.png", "link to itself": "b.png", "link out": tmp_path / "private.png"}
    targets |= {"link to a device": "/dev/zero", "link to a folder": tmp_path, "circle": place}
    if kind in targets:
        bad.symlink_to(targets[kind])
    elif kind == "pipe":
        os.mkfifo(bad)
    else:
        bad.mkdir()
    with pytest.raises(InputError, match=f"'{bad.name}' in .*pictures {said}: put a copy in its place, or remove it"):
        load_images(str(place))


def test_links_in_the_folder_and_to_the_folder_are_fine(folder, tmp_path):
    place = folder("a.png")
    (place / "b.png").symlink_to("a.png")
    (tmp_path / "link").symlink_to(place)
    assert paths(tmp_path / "link") == ["a.png", "b.png"]


def test_a_table_beside_pictures_does_not_make_them_a_dataset(folder, caplog):
    place = folder("a.png", "train.png")
    pq.write_table(pa.table({"x": [1]}), place / "features.parquet")
    (place / "README.md").write_text("---\nlicense: mit\n---\nMy pictures\n")
    assert paths(place) == ["a.png", "train.png"] and "'README.md', 'features.parquet'" in caplog.text


def test_a_picture_beside_a_dataset_does_not_make_it_a_folder_of_pictures(folder):
    place = folder("assets/logo.png", "assets/logo2.png")
    content = (place / "assets" / "logo.png").read_bytes()
    (place / "data").mkdir()
    features = Features({"image": ImageFeature()})
    table = pa.table({"image": [{"bytes": content, "path": None}] * 3}, schema=features.arrow_schema)
    pq.write_table(table, place / "data" / "train-00000-of-00001.parquet")
    (place / "README.md").write_text("---\nlicense: mit\n---\n")
    assert len(load_images(str(place))) == 3
    (place / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: data/*.parquet\n---\n")
    assert len(load_images(str(place))) == 3


def test_name_that_is_no_text_is_refused(folder):
    place = folder("a.png")
    Path(os.fsdecode(os.fsencode(place) + b"/b\xff.png")).touch()
    with pytest.raises(InputError, match=r"the name 'b\\udcff.png' in .*pictures is no UTF-8: rename it"):
        load_images(str(place))


# ---- metadata


def with_metadata(place: Path, name: str, content: str) -> Path:
    (place / name).write_text(content)
    return place


@pytest.mark.parametrize("kind", ["csv", "semicolons", "mark", "jsonl", "parquet"])
def test_rows_are_those_of_the_metadata(kind, folder):
    place = folder("a.png", "test.png", "train.png")
    rows = {"file_name": ["train.png", "a.png"], "word": ["x", "y"], "number": [3, 5]}
    lines = [[*rows], *map(list, zip(*rows.values(), strict=True))]
    if kind == "parquet":
        pq.write_table(pa.table(rows), place / "metadata.parquet")
    elif kind == "jsonl":
        objects = (dict(zip(rows, line, strict=True)) for line in lines[1:])
        with_metadata(place, "metadata.jsonl", "".join(f"{row}\n".replace("'", '"') for row in objects))
    else:
        text = "".join((";" if kind == "semicolons" else ",").join(map(str, line)) + "\n" for line in lines)
        with_metadata(place, "metadata.csv", ("\ufeff" if kind == "mark" else "") + text)
    images = load_images(str(place))
    assert paths(place) == rows["file_name"] and images.column_names == ["image", "word", "number"]
    assert (images["word"][:], images["number"][:]) == (rows["word"], rows["number"])


def test_pictures_without_metadata_are_named(folder, caplog):
    place = with_metadata(folder("a/1.png", "b/1.png", "b/2.png"), "b/metadata.csv", "file_name\n1.png\n")
    assert paths(with_metadata(place, "a/metadata.csv", "file_name\n1.png\n")) == ["a/1.png", "b/1.png"]
    assert (
        "2 pictures; metadata from 'a/metadata.csv', 'b/metadata.csv'; left out 1 other files: 'b/2.png'"
        in caplog.text
    )


@pytest.mark.parametrize(
    "name", ["../private.png", "/etc/hostname", "file:///etc/hostname", "http://a/b.png", "no.png"]
)
@pytest.mark.parametrize("column", ["file_name", "left_file_name"])
def test_metadata_open_no_other_files(name, column, folder):
    place = folder("a.png", ".hidden.png")
    os.mkfifo(place / "pipe")
    for path in (name, ".hidden.png", "pipe"):
        header = "file_name" if column == "file_name" else f"file_name,{column}"
        row = path if column == "file_name" else f"a.png,{path}"
        with_metadata(place, "metadata.csv", f"{header}\n{row}\n")
        with pytest.raises(
            InputError, match="row [23] of metadata.csv in .* names '.*', which is no regular file in the f"
        ):
            load_images(str(place))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metadata.csv", "file_name,a,a\na.png,1,2\n", "has several columns 'a': give each its own name"),
        ("metadata.csv", "file_name;file_name\na.png;a.png\n", "has several columns 'file_name'"),
        ("metadata.csv", "file_name,image\na.png,1\n", "has several columns 'image'"),
        ("metadata.csv", "name,a\na.png,1\n", "has no column file_name; it has name, a"),
        ("metadata.csv", "", "cannot read metadata.csv in"),
        ("metadata.csv", "file_name,a\na.png,1,2\n", "cannot read metadata.csv in"),
        ("metadata.csv", "file_name,a\n,1\n", "row 2 of metadata.csv in .* names None"),
        ("metadata.jsonl", '{"file_name": "a.png"', "cannot read metadata.jsonl in"),
        (
            "metadata.jsonl",
            '{"file_name": "a.png", "a": 1, "a": 2}',
            "cannot read metadata.jsonl in|has several columns",
        ),
        ("metadata.parquet", "no parquet", "cannot read metadata.parquet in"),
    ],
)
def test_metadata_that_cannot_be_used(name, content, said, folder):
    with pytest.raises(InputError, match=said):
        load_images(str(with_metadata(folder("a.png"), name, content)))


def test_metadata_that_do_not_fit_together(folder):
    place = folder("train/a.png", "test/b.png")
    with_metadata(place, "train/metadata.csv", "file_name,x\na.png,1\n")
    with pytest.raises(InputError, match="has metadata of the split train, but none of test"):
        load_images(str(place))
    with_metadata(place, "metadata.csv", "file_name,y\ntest/b.png,1\n")
    with pytest.raises(InputError, match=r"metadata.csv, train/metadata.csv in .* have different columns"):
        load_images(str(place))
    with_metadata(place, "metadata.jsonl", "{}")
    with pytest.raises(InputError, match="has metadata files of several kinds: metadata.csv, metadata.jsonl"):
        load_images(str(place))


# ---- archives


def zipped(place: Path, *entries: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(place / "mine.zip", "w", zipfile.ZIP_DEFLATED) as made:
        for name, content, mode in (("a.png", picture(place), 0), *entries):
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, content)
    return place / "mine.zip"


def picture(place: Path) -> bytes:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(place / "one.png")
    return (place / "one.png").read_bytes()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (("b.png", b"/etc/hostname", stat.S_IFLNK | 0o777), "'b.png' in it is a link or a device"),
        (("b.png", b"", stat.S_IFIFO | 0o777), "'b.png' in it is a link or a device"),
        (("../../b.png", b"", 0), "leads out of the folder"),
        (("/b.png", b"", 0), "leads out of the folder"),
        (("c\\..\\..\\b.png", b"", 0), "leads out of the folder"),
        (("a.png", b"another", 0), "'a.png' is twice in it"),
        (("./a.png", b"another", 0), "'./a.png' is twice in it"),
        (("b.txt", bytes(500_000), 0), r"its \d+ bytes would become \d+; unpack it yourself"),
    ],
)
def test_archives_that_are_refused(entry, said, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "ALWAYS_ALLOWED", 10_000)
    with pytest.raises(InputError, match=f"cannot unpack the archive .*mine.zip: .*{said}"):
        load_images(str(zipped(tmp_path, entry)))
    assert list(Path(tmp_path).glob("b*")) == []


@pytest.mark.parametrize("damage", ["encrypted", "unknown method", "cut", "lying size"])
def test_archives_that_cannot_be_read(damage, tmp_path):
    file = zipped(tmp_path, ("b.txt", bytes(2000), 0))
    content = bytearray(file.read_bytes())
    central = content.index(b"PK\1\2")
    if damage == "encrypted":
        content[6] = content[central + 8] = 1
    elif damage == "unknown method":
        content[8] = content[central + 10] = 77
    elif damage == "cut":
        content = content[:-30]
    else:
        content = content.replace((2000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    file.write_bytes(content)
    with pytest.raises(InputError, match="cannot unpack the archive .*mine.zip"):
        load_images(str(file))


def test_archive_needs_space_and_has_not_too_many_files(tmp_path, monkeypatch):
    file = zipped(tmp_path)
    monkeypatch.setattr(archive, "MOST_FILES", 0)
    with pytest.raises(InputError, match="it has 1 entries, more than 0"):
        unpacked(file)
    monkeypatch.undo()
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: _Full)
    with pytest.raises(InputError, match="it needs 0.0 GB, and the disk of .* has 0.0 GB left"):
        unpacked(file)


class _Full:
    free = 0
