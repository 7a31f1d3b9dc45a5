"""Small pictures are those of the dataset alone, and uploads are read within limits."""

import io

import numpy as np
import pytest
from PIL import Image

from hf_alignet.errors import InputError
from hf_alignet.explore import thumbnails
from hf_alignet.explore.thumbnails import Thumbnails, as_jpeg, read_upload


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def test_rows_are_small_jpegs_and_others_are_none(world):
    found = Thumbnails(world.images)
    with Image.open(io.BytesIO(found.jpeg(3))) as picture:
        assert picture.format == "JPEG" and picture.size == (64, 48)
        assert np.abs(np.asarray(picture).astype(int) - 130).max() < 4
    assert found.jpeg(60) is None and found.jpeg(-1) is None
    assert found.key != Thumbnails(world.images.select(range(30))).key


def test_large_pictures_become_small_and_lose_their_metadata():
    with Image.open(io.BytesIO(as_jpeg(Image.new("RGB", (1000, 500))))) as small:
        assert small.size == (192, 96) and not small.getexif()


def test_an_upload_is_a_picture():
    upright = Image.Exif()
    upright[0x0112] = 6  # turned by 90 degrees
    assert read_upload(encoded(Image.new("RGB", (40, 30)), "JPEG", exif=upright)).size == (30, 40)
    clear = read_upload(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "PNG"))
    assert clear.mode == "RGB" and clear.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no picture", "no picture in a known format"),
        (b"", "cannot be opened"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS, which is not opened"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG, which is not opened"),
        (encoded(Image.new("RGB", (64, 64)), "PNG")[:60], "the picture cannot be decoded"),
        (encoded(Image.new("1", (10_000, 6_000)), "PNG"), "10000 x 6000 pixels; the most is 50 million"),
    ],
)
def test_other_uploads_are_refused(content, message):
    with pytest.raises(InputError, match=message):
        read_upload(content)


def test_uploads_have_a_size_limit(monkeypatch):
    monkeypatch.setattr(thumbnails, "LARGEST_UPLOAD", 1_000_000)
    with pytest.raises(InputError, match="has 2 MB; the most is 1 MB"):
        read_upload(bytes(2_000_000))
