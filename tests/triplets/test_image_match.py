"""Triplets keep their pictures when a folder changes, or the run stops: never another picture in silence."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from PIL import Image

from hf_alignet.errors import InputError
from hf_alignet.hub.publish import publish
from hf_alignet.images.opening import load_images
from hf_alignet.images.picture_record import NAMES_FILE, PictureRecord
from hf_alignet.triplets import load_triplets
from hf_alignet.triplets.image_match import match_images
from hf_alignet.triplets.triplet_dataset import column
from hf_alignet.workflows.triplet_run import make_triplets

NUMBER = 24


@pytest.fixture
def pics(pictures, tmp_path) -> Path:
    (tmp_path / "pics").mkdir()
    for row, picture in enumerate(pictures):
        picture.save(tmp_path / "pics" / f"b{row:02d}.png")
    return tmp_path / "pics"


@pytest.fixture
def made(pics, tmp_path) -> Path:
    np.save(tmp_path / "features.npy", np.random.default_rng(0).normal(size=(NUMBER, 5)))
    counts: dict[str, Any] = {
        "num_triplets": 200,
        "num_validation_triplets": 10,
        "sampling": "random",
        "held_out_share": 0.25,
    }
    features = str(tmp_path / "features.npy")
    make_triplets(str(pics), features=features, output_dir=tmp_path / "made", progress=False, **counts)
    return tmp_path / "made"


def contents(images: Dataset, triplets: DatasetDict) -> dict[str, list]:
    """What each triplet shows."""
    record = PictureRecord.of(images, progress=False)
    return {split: record.contents[column(dataset, "triplet")].tolist() for split, dataset in triplets.items()}


def matched(made: Path, pics: Path) -> dict[str, list]:
    images = load_images(str(pics))
    return contents(images, match_images(load_triplets(str(made)), str(made), images, progress=False))


def test_what_is_known_lies_beside_the_triplets(made, pics):
    info = json.loads((made / "triplets.json").read_text())
    record = PictureRecord.load(made)
    assert record is not None and record.names == sorted(file.name for file in pics.iterdir())
    assert (info["num_images"], info["images_content"]) == (NUMBER, record.fingerprint)
    assert not any(name in (made / "README.md").read_text() for name in record.names)


def test_the_same_pictures_elsewhere_are_fine_in_silence(made, pics, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    expected = contents(load_images(str(pics)), load_triplets(str(made)))
    pics.rename(tmp_path / "moved")
    assert matched(made, tmp_path / "moved") == expected
    assert not any(record.name.startswith("hf_alignet.triplets") for record in caplog.records)


@pytest.mark.parametrize("has_names", [True, False])  # on the Hub there are none
def test_triplets_follow_their_pictures(has_names, made, pics, caplog):
    caplog.set_level(logging.INFO)
    expected = contents(load_images(str(pics)), load_triplets(str(made)))
    if not has_names:
        (made / NAMES_FILE).unlink()
    Image.new("RGB", (8, 8), "red").save(pics / "a_new.png")
    (pics / "b05.png").rename(pics / "z.png")
    assert matched(made, pics) == expected
    text = "made of 24 images, and `images` has 25 (image row 0 (a_new.png) is new)"
    assert sum(text in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("has_names", [True, False])
def test_a_picture_that_is_gone_or_changed_is_named(has_names, made, pics):
    triplets = load_triplets(str(made))
    named = np.unique(np.concatenate([column(rows, "triplet") for rows in triplets.values()]))
    assert 7 in named and 9 in named
    name = " (b07.png)" if has_names else ""
    if not has_names:
        (made / NAMES_FILE).unlink()
    shutil.copy(pics / "b07.png", pics.parent / "kept.png")
    Image.new("RGB", (8, 8), "red").save(pics / "b07.png")
    what = "has changed" if has_names else "is not among them"
    with pytest.raises(InputError, match="triplets 'made' were made of other images") as error:
        matched(made, pics)
    assert f"`images`: image row 7{name} {what}; give the images" in str(error.value)
    (pics / "b07.png").unlink()
    (pics / "b09.png").unlink()
    with pytest.raises(InputError) as error:
        matched(made, pics)
    assert f"image row 7{name} is not among them (1 more); give" in str(error.value)


def test_a_picture_that_no_triplet_shows_may_be_gone(made, pics):
    images, triplets = load_images(str(pics)), load_triplets(str(made))
    few = DatasetDict({split: rows.filter(lambda row: 7 not in row["triplet"]) for split, rows in triplets.items()})
    expected = contents(images, few)
    (pics / "b07.png").unlink()
    images = load_images(str(pics))
    assert contents(images, match_images(few, str(made), images, progress=False)) == expected


def test_of_older_triplets_the_number_is_compared(made, pics):
    for name in ("pictures.parquet", NAMES_FILE):
        (made / name).unlink()
    expected = contents(load_images(str(pics)), load_triplets(str(made)))
    assert matched(made, pics) == expected
    Image.new("RGB", (8, 8), "red").save(pics / "a_new.png")
    with pytest.raises(InputError, match="triplets 'made' are rows of 24 images, and `images` has 25"):
        matched(made, pics)
    (made / "triplets.json").unlink()  # a user's own, of which nothing is known
    images = load_images(str(pics))
    assert match_images(load_triplets(str(made)), str(made), images)["train"].num_rows == 200


def test_names_of_files_are_not_published(made, pics, tmp_path):
    copy = publish("dataset", made, "me/mine", output_dir=tmp_path / "copy", dry_run=True, progress=False)
    assert (made / NAMES_FILE).is_file() and (copy / "pictures.parquet").is_file()
    assert not any(b"b07.png" in file.read_bytes() for file in copy.rglob("*") if file.is_file())
    expected = contents(load_images(str(pics)), load_triplets(str(made)))
    Image.new("RGB", (8, 8), "red").save(pics / "a_new.png")
    assert matched(copy, pics) == expected
