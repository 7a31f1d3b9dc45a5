"""Only pictures in an allowed list of formats are opened; no program runs, and nothing is waited for."""

import io
import os

import numpy as np
import pytest
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import EpsImagePlugin, Image

from hf_alignet.errors import InputError
from hf_alignet.images.decoding import decode_picture
from hf_alignet.images.formats import FORMATS, is_picture_name
from hf_alignet.images.picture_list import PictureList
from hf_alignet.images.picture_record import UNREADABLE, PictureRecord

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
CARDS = ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 4", "NAXIS2  = 4", "END")
FITS = "".join(f"{card[:10]}{card[10:].rjust(20)}".ljust(80) for card in CARDS).ljust(2880).encode() + bytes(2880)
REFUSED = {
    "it is EPS, which is not opened; save it as PNG": EPS,
    "it is FITS, which is not opened": FITS,
    "it is PDF, which is not opened": b"%PDF-1.7\n" + bytes(100),
    "it is SVG, which is not opened": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "it is no picture in a known format": b"\x00\x00\x01\xb3\x01\x00\x10" + bytes(50),  # MPEG
}
PLUGGED = {
    "HEIF, which needs a plug-in: pip install pillow-heif; or": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50),
    "JXL, which needs a plug-in: pip install pillow-jxl-plugin; or": b"\xff\x0a" + bytes(50),
}


@pytest.fixture(autouse=True)
def no_program(monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("a program was started"))


@pytest.mark.parametrize("said", REFUSED)
def test_other_formats_are_named_and_not_opened(said, tmp_path):
    (tmp_path / "scan.png").write_bytes(REFUSED[said])
    for value in ({"bytes": REFUSED[said], "path": "scan.png"}, {"bytes": None, "path": str(tmp_path / "scan.png")}):
        with pytest.raises(InputError, match=rf"image row 3 \(.*scan.png\) cannot be decoded: {said}"):
            decode_picture(value, 3)


@pytest.mark.parametrize("said", PLUGGED)
def test_formats_of_plug_ins_say_which(said, monkeypatch):
    monkeypatch.setattr(Image, "OPEN", {k: v for k, v in Image.OPEN.items() if k not in ("HEIF", "JXL")})
    with pytest.raises(InputError, match=f"image row 0 cannot be decoded: it is {said} save it as PNG or JPEG"):
        decode_picture({"bytes": PLUGGED[said], "path": None}, 0)


def test_picture_that_the_user_opened_in_another_format_is_refused(tmp_path):
    (tmp_path / "drawing.eps").write_bytes(EPS)
    with pytest.raises(InputError, match="image row 1 cannot be loaded: it is EPS, which is not opened"):
        PictureList([PICTURE, Image.open(tmp_path / "drawing.eps")])


@pytest.mark.parametrize("name", sorted(set(FORMATS) & set(Image.SAVE)))
def test_allowed_formats_are_read(name):
    buffer = io.BytesIO()
    try:
        PICTURE.save(buffer, name)
    except OSError:
        pytest.skip(f"this Pillow cannot write {name}")
    found = decode_picture({"bytes": buffer.getvalue(), "path": None}, 0)
    assert found.size == (32, 32) and abs(np.asarray(found).mean() - np.asarray(PICTURE).mean()) < 5


def test_suffixes_count_in_any_case():
    assert all(map(is_picture_name, ("a.png", "b.JpG", "c.HEIC", "d.jxl", "e.tar.webp")))
    assert not any(map(is_picture_name, ("png", ".png", "a.eps", "b.pdf", "c.png.bak", "d")))


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    pipe = str(tmp_path / "pipe.png")
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero"):
        with pytest.raises(InputError, match="cannot be decoded: it is no regular file"):
            decode_picture({"bytes": None, "path": path}, 0)
    with pytest.raises(InputError, match="there is no file"):
        PictureList([pipe])
    images = Dataset.from_dict({"image": [pipe]}, features=Features({"image": ImageFeature()}))
    assert PictureRecord.of(images, progress=False).contents.tolist() == [UNREADABLE]
