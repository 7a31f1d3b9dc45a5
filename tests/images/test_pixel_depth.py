"""Pictures of more than 8 bits: no picture becomes black, white or clipped, and the log says once what was done."""

import io
import logging
import struct
import zlib

import numpy as np
import pytest
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from transformers import ViTImageProcessorPil

from hf_alignet.errors import InputError
from hf_alignet.images import pixel_depth
from hf_alignet.images.decoding import decode_picture
from hf_alignet.images.picture_list import PictureList
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import ImageReader

RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)
WHOLE = np.arange(256, dtype=np.int64).repeat(16).reshape(64, 64)  # 0..255, 16 times each


@pytest.fixture(autouse=True)
def said(monkeypatch):
    flag = bytearray(1)
    monkeypatch.setattr(pixel_depth, "_said", flag)
    return flag


def encoded(values: np.ndarray, kind: str = "TIFF") -> dict:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return {"bytes": buffer.getvalue(), "path": None}


def grey(values: np.ndarray, kind: str = "TIFF") -> np.ndarray:
    pixels = np.asarray(decode_picture(encoded(values, kind), 0))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_upper_eight_of_the_bits_in_use_count(bits, kind, said):
    deep = (WHOLE << (bits - 8)).astype(np.uint16)
    np.testing.assert_array_equal(grey(deep, kind), WHOLE)
    assert said[0] == (bits in (10, 12, 14))


@pytest.mark.parametrize("dtype", [np.int32, ">u2"])
def test_other_containers_follow_the_same_rule(dtype):
    values = (WHOLE << 4).astype(dtype)
    np.testing.assert_array_equal(np.asarray(PictureList([Image.fromarray(values)]).read([0])[0])[..., 0], WHOLE)


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype(np.float32),
        (RAMP * 255).astype(np.float32),
        (RAMP * 1.5).astype(np.float32),
        (RAMP * 4 - 2).astype(np.float32),
        (RAMP * 1e-4).astype(np.float32),
        (RAMP * 30 + 270).astype(np.float32),
        (RAMP * 1e6).astype(np.int32),
        (RAMP * 2000 - 1000).astype(np.int32),
    ],
)
def test_other_values_are_stretched(values):
    np.testing.assert_allclose(grey(values), RAMP * 255, atol=0.75)


def test_picture_does_not_become_one_colour():
    narrow = np.where(RAMP < 0.5, 20_000, 20_001).astype(np.uint16)  # equal in their upper 8 bits
    assert set(grey(narrow).ravel().tolist()) == {0, 255}
    assert (grey(np.full((4, 4), 20_000, np.uint16)) == 78).all()


def test_what_is_no_number_is_black_and_what_is_infinite_the_end():
    for offset in (0, 3):
        values = (RAMP * (1 + offset) - offset).astype(np.float32)
        values[0, :3] = np.nan, np.inf, -np.inf
        pixels = grey(values)
        assert pixels[0, :3].tolist() == [0, 255, 0]
        np.testing.assert_allclose(pixels[1:], RAMP[1:] * 255, atol=1)
    with pytest.raises(InputError, match="image row 0 cannot be decoded: none of its values is a finite number"):
        grey(np.full((4, 4), np.nan, np.float32))


def png(values: np.ndarray) -> dict:
    """16 bits a channel, which Pillow cannot write."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(">u2"))
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    framed = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks)
    return {"bytes": b"\x89PNG\r\n\x1a\n" + b"".join(framed), "path": None}


def tiff(values: np.ndarray, order: str) -> dict:
    """The same, without compression, in an order of bytes."""
    height, width, _ = values.shape
    content = values.astype(f"{order}u2").tobytes()
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, 134),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 140),
    ]
    tags += [(277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(content)), (284, 3, 1, 1)]
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    for tag, kind, count, value in tags:
        single = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        head += struct.pack(f"{order}HHI", tag, kind, count) + single
    head += struct.pack(f"{order}I", 0)
    return {"bytes": head + struct.pack(f"{order}HHH", 16, 16, 16) + content, "path": None}


@pytest.mark.parametrize("kind", ["png", "png with transparency", "tiff <", "tiff >"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_colours_of_sixteen_bits_follow_the_same_rule(bits, kind):
    colours = np.random.default_rng(0).integers(0, 256, (8, 6, 3))
    colours[0, 0] = 255
    deep = (colours << (bits - 8)) + 1
    if kind == "png with transparency":
        value = png(np.concatenate([deep, np.full((8, 6, 1), 65535)], axis=2))
    else:
        value = png(deep) if kind == "png" else tiff(deep, kind[-1])
    np.testing.assert_array_equal(np.asarray(decode_picture(value, 0)), colours)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"])
def test_other_modes_keep_their_content(mode):
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    steps = {"PA": ["P", "PA"], "RGBa": ["RGBA", "RGBa"]}.get(mode, [mode])
    picture = Image.merge("LAB", colours.split()) if mode == "LAB" else colours
    for step in [] if mode == "LAB" else steps:
        picture = picture.convert(step)
    found = PictureList([picture]).read([0])[0]
    assert found.mode == "RGB" and np.asarray(found).std() > 20


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_says_it_once(workers, capfd, monkeypatch):
    shared = pixel_depth.mmap.mmap(-1, 1)
    monkeypatch.setattr(pixel_depth, "_said", shared)
    logger = logging.getLogger(pixel_depth.__name__)
    printed = logging.StreamHandler()  # workers have a log of their own
    logger.addHandler(printed)
    values = [encoded((WHOLE << 4).astype(np.uint16)) for _ in range(130)]
    images = Dataset.from_dict({"image": values}, features=Features({"image": ImageFeature()}))
    reader = ImageReader(images, Preprocessor(ViTImageProcessorPil(size={"height": 8, "width": 8})))
    for _ in range(2):
        reader.prepare(np.arange(130), num_workers=workers, progress=False)
    logger.removeHandler(printed)
    said = capfd.readouterr().err
    assert said.count("pictures of more than 8 bits are scaled to 0..255") == 1 and "has 12 bits" in said
