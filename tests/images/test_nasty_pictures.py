"""Pictures that people have: each goes through the whole path, from collator, cache and dataset to its embedding."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from transformers import CLIPImageProcessorPil

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.images.cache import ImageCache
from hf_alignet.images.decoding import decode_picture
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import ImageReader
from hf_alignet.student import TripletCollator

RNG = np.random.default_rng(0)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def animation(kind: str) -> bytes:
    red, blue = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (40, 30), "blue")
    return encoded(red, kind, save_all=True, append_images=[blue, blue])


def transparent_palette() -> bytes:
    picture = Image.new("P", (30, 40), 1)
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    return encoded(picture, transparency=bytes([255, 255, 0]))


def dataset(*pictures: bytes) -> Dataset:
    values = [{"bytes": picture, "path": None} for picture in pictures]
    return Dataset.from_dict({"image": values}, features=Features({"image": ImageFeature()}))


# Name: (encoded, what its middle looks like or None)
NASTY = {
    "cmyk": (encoded(Image.new("CMYK", (40, 30), (0, 0, 0, 255)), "JPEG"), (0, 0, 0)),
    "1x1": (encoded(Image.new("RGB", (1, 1), (10, 20, 30))), (10, 20, 30)),
    "1x1 grey": (encoded(Image.new("L", (1, 1), 77)), (77, 77, 77)),
    "1x1 black and white": (encoded(Image.new("1", (1, 1), 1)), (255, 255, 255)),
    "1x500": (encoded(Image.new("RGB", (1, 500), (10, 20, 30))), (10, 20, 30)),
    "500x1": (encoded(Image.new("RGB", (500, 1), (10, 20, 30))), (10, 20, 30)),
    "2x3": (encoded(Image.new("RGB", (2, 3), (10, 20, 30))), (10, 20, 30)),
    "3x3": (encoded(Image.new("RGB", (3, 3), (10, 20, 30))), (10, 20, 30)),
    "3x500": (encoded(noise(3, 500)), None),
    "20000x20": (encoded(Image.new("RGB", (20_000, 20), (10, 20, 30))), (10, 20, 30)),
    "animated gif": (animation("GIF"), (255, 0, 0)),
    "animated webp": (animation("WEBP"), None),
    "animated png": (animation("PNG"), (255, 0, 0)),
    "palette": (transparent_palette(), (255, 0, 0)),
    "transparent": (encoded(Image.new("RGBA", (30, 40), (9, 9, 9, 0))), (255, 255, 255)),
    "16 bit": (encoded(Image.fromarray(np.full((30, 40), 0x4D00, np.uint16))), (77, 77, 77)),
    "16 bit tiff": (encoded(Image.fromarray(np.full((30, 40), 0x4D00, np.uint16)), "TIFF"), (77, 77, 77)),
    "32 bit tiff": (encoded(Image.fromarray(np.full((30, 40), 0x4D00, np.int32)), "TIFF"), (77, 77, 77)),
}


@pytest.mark.parametrize("family", ["dinov2", "clip", "siglip2"])
def test_nasty_pictures_are_embedded(family, tiny_directory, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family))).eval()
    images = dataset(*(picture for picture, _ in NASTY.values()))
    collator = TripletCollator(images, encoder.preprocessor, "similarities")
    rows = [{"triplet": [i, i + 1, i + 2], "similarities": [0.0, 1.0, 2.0]} for i in range(0, len(NASTY), 3)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = collator(rows)
        embeddings = encoder.embed(images, batch_size=5, progress=False)
    assert np.isfinite(embeddings).all()
    with torch.no_grad():
        np.testing.assert_allclose(encoder(**batch["images"]), embeddings, atol=1e-4)
    if not encoder.preprocessor.stacks_uint8:
        return
    for pixels, (name, (_, colour)) in zip(batch["images"]["pixel_values"], NASTY.items(), strict=True):
        if colour is not None:
            np.testing.assert_array_equal(pixels[:, 16, 16], colour, err_msg=name)
    cache = ImageCache(tmp_path, images, encoder.preprocessor)
    assert cache.prepare(np.arange(len(NASTY)), progress=False) == {}
    assert torch.equal(cache.read(list(range(len(NASTY))))["pixel_values"], batch["images"]["pixel_values"])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_truncated_files_are_named(kind, share, recwarn):
    whole = encoded(noise(64, 64), kind)
    with pytest.raises(InputError, match="image row 7 cannot be decoded"):
        decode_picture({"bytes": whole[: int(share * len(whole))], "path": None}, 7)
    assert not recwarn.list


def png_header(width: int, height: int) -> bytes:
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b"")]
    framed = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_picture_of_too_many_pixels_is_refused():
    message = r"image row 7 \(map.png\) is too large: .*400000000 pixels.* limit of 178956970 pixels; make it smaller"
    with pytest.raises(InputError, match=message):
        decode_picture({"bytes": png_header(20_000, 20_000), "path": "map.png"}, 7)


def test_large_picture_is_read_without_a_warning(monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode_picture({"bytes": encoded(noise(40, 32)), "path": None}, 0).size == (40, 32)
    assert not recwarn.list


def test_picture_too_long_to_resize_is_refused():
    processor = CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size=224)
    reader = ImageReader(
        dataset(encoded(noise(40, 32)), encoded(Image.new("RGB", (20_000, 1)))), Preprocessor(processor)
    )
    with pytest.raises(InputError, match="image row 1 of 20000 x 1 pixels is too long: .* 1003520000 pixels"):
        reader.read([0, 1])
