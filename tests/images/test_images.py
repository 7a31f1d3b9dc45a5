import io

import numpy as np
import pytest
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from hf_alignet.errors import InputError
from hf_alignet.images.decoding import read_pictures, to_rgb
from hf_alignet.images.opening import as_encoded_images, load_images


def encoded(picture: Image.Image, kind: str, **options) -> dict:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def dataset(*values: dict) -> Dataset:
    return as_encoded_images(Dataset.from_dict({"image": list(values)}, features=Features({"image": ImageFeature()})))


def test_grey_pictures_become_rgb():
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    (picture,) = read_pictures(dataset(encoded(grey, "PNG")), [0])
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), np.repeat(np.asarray(grey)[..., None], 3, 2))


def test_sixteen_bit_grey_is_scaled():
    deep = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))
    (picture,) = read_pictures(dataset(encoded(deep, "PNG")), [0])
    assert np.asarray(picture)[0, :, 0].tolist() == [0, 128, 255]


def test_transparency_shows_white():
    layer = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    layer.putpixel((1, 0), (0, 0, 0, 0))
    (picture,) = read_pictures(dataset(encoded(layer, "PNG")), [0])
    assert [picture.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (255, 255, 255)]
    palette = Image.new("P", (1, 1))
    palette.info["transparency"] = 0
    assert to_rgb(palette).getpixel((0, 0)) == (255, 255, 255)


def test_cmyk_becomes_rgb():
    (picture,) = read_pictures(dataset(encoded(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG")), [0])
    assert picture.mode == "RGB" and picture.getpixel((0, 0))[0] > 200 > 60 > picture.getpixel((0, 0))[1]


def test_exif_rotation_is_undone():
    picture = Image.new("RGB", (4, 2), "black")
    picture.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    (upright,) = read_pictures(dataset(encoded(picture, "PNG", exif=exif)), [0])
    assert upright.size == (2, 4) and upright.getpixel((1, 0)) == (255, 255, 255)


@pytest.mark.parametrize("broken", [b"not a picture", b"", None, b"BM" + bytes(12) + b"\x28" + bytes(60)])
def test_undecodable_picture_is_named(broken):
    good = encoded(Image.new("RGB", (4, 4)), "PNG")
    with pytest.raises(InputError, match=r"image row 1 \(holiday.jpg\) cannot be decoded"):
        read_pictures(dataset(good, {"bytes": broken, "path": "holiday.jpg"}), [0, 1])


def test_truncated_picture_is_named():
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")
    with pytest.raises(InputError, match="image row 0 cannot be decoded"):
        read_pictures(dataset({"bytes": whole["bytes"][:500], "path": None}), [0])


def test_images_are_found_in_folders_and_files(images, tmp_path):
    images.save_to_disk(tmp_path / "both" / "images")
    images.to_parquet(tmp_path / "images.parquet")
    for path in (tmp_path / "both", tmp_path / "both" / "images", tmp_path / "images.parquet"):
        loaded = load_images(str(path))
        assert len(loaded) == 24 and read_pictures(loaded, [3])[0].size == (40, 32)


def test_missing_dataset_and_split(images, tmp_path):
    with pytest.raises(InputError, match="cannot open the dataset 'nowhere/at-all'"):
        load_images("nowhere/at-all")
    images.save_to_disk(tmp_path)
    with pytest.raises(InputError, match="has no split 'test'; it has train"):
        load_images(str(tmp_path), split="test")
