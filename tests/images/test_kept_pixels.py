"""Pixels that stay in memory are those of the pictures, and only few and small pictures are kept."""

import pytest
import torch
from transformers import Siglip2ImageProcessorPil, ViTImageProcessorPil

from hf_alignet.images import kept_pixels
from hf_alignet.images.kept_pixels import KeptPixels, keep_if_small
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import ImageReader


@pytest.fixture
def plain(images):
    return ImageReader(images, Preprocessor(ViTImageProcessorPil(size={"height": 32, "width": 32})))


def test_each_picture_is_decoded_once(plain, monkeypatch):
    asked = [[3, 17, 3, 5], [5, 21, 17], [21, 3]]
    expected = [plain.read(rows)["pixel_values"] for rows in asked]
    decoded = []
    monkeypatch.setattr(ImageReader, "_decode", lambda self, rows, work=ImageReader._decode: (
        decoded.extend(rows), work(self, rows))[1])  # fmt: skip
    kept = keep_if_small(plain)
    assert kept.fingerprint == plain.fingerprint
    for rows, pixels in zip(asked, expected, strict=True):
        found = kept.read(rows)["pixel_values"]
        assert torch.equal(found, pixels)
        found.zero_()  # what a caller does to its batch changes nothing here
    assert sorted(decoded) == [3, 5, 17, 21]


def test_other_pictures_are_not_kept(plain, images, monkeypatch):
    of_patches = ImageReader(images, Preprocessor(Siglip2ImageProcessorPil(max_num_patches=16)))
    assert keep_if_small(of_patches) is of_patches
    monkeypatch.setattr(kept_pixels, "MOST_BYTES", len(images) * 3 * 32 * 32)
    assert isinstance(kept := keep_if_small(plain), KeptPixels)
    assert keep_if_small(kept).pixels.shape == kept.pixels.shape
    monkeypatch.setattr(kept_pixels, "MOST_BYTES", len(images) * 3 * 32 * 32 - 1)
    assert keep_if_small(plain) is plain
