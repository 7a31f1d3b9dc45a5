import io

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    ConvNextImageProcessorPil,
    LevitImageProcessorPil,
    ViTImageProcessorPil,
)

from hf_alignet.errors import InputError
from hf_alignet.images.decoding import decode_picture, read_pictures, to_rgb
from hf_alignet.images.opening import as_encoded_images, load_images
from hf_alignet.images.picture_list import PictureList
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import ImageReader


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


# ---- lists of pictures and paths


def every_kind() -> list[Image.Image]:
    """Pictures in memory, of the modes that need care."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    return [
        Image.fromarray(colours[..., :3]),
        Image.fromarray(colours, "RGBA"),
        Image.fromarray(colours[..., 0]),
        Image.fromarray(rng.integers(0, 65536, (6, 5), dtype=np.uint16)),
        Image.fromarray(colours[..., :3]).convert("P"),
    ]


def pixels(images) -> list[np.ndarray]:
    reader = ImageReader(images, Preprocessor(ViTImageProcessorPil(size={"height": 32, "width": 32})))
    return [np.asarray(picture) for picture in reader._decode(list(range(len(reader))))]


def test_pictures_in_memory_are_read_as_those_of_a_dataset():
    pictures = every_kind()
    of_dataset = pixels(Dataset.from_dict({"image": pictures}, features=Features({"image": ImageFeature()})))
    assert all((a == b).all() for a, b in zip(pixels(pictures), of_dataset, strict=True))
    assert [picture.mode for picture in pictures] == [picture.mode for picture in every_kind()]  # unchanged


def test_paths_and_opened_files_are_read_as_those_of_a_dataset(tmp_path):
    upright = Image.Exif()
    upright[0x0112] = 6  # the camera was turned
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    files = [tmp_path / "turned.jpg", *(tmp_path / f"{i}.png" for i in range(5))]
    picture.save(files[0], exif=upright)
    for file, other in zip(files[1:], every_kind(), strict=True):
        other.save(file)
    of_dataset = pixels(Dataset.from_dict({"image": list(map(str, files))}, Features({"image": ImageFeature()})))
    assert of_dataset[0].shape == (30, 40, 3)
    mixed = [files[0], *map(str, files[1:4]), *map(Image.open, files[4:])]
    for images in (files, [Image.open(file) for file in files], mixed):
        assert all((a == b).all() for a, b in zip(pixels(images), of_dataset, strict=True))


def test_path_that_is_no_picture_is_named(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    pictures[0].save(tmp_path / "good.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert pixels(["~/good.png"])[0].shape == (32, 40, 3)
    for bad in ("~/gone.png", str(tmp_path)):
        with pytest.raises(InputError, match=f"image row 1: there is no file '{bad}'"):
            PictureList(["~/good.png", bad])
    with pytest.raises(InputError, match=rf"image row 1 \({tmp_path}/notes.txt\) cannot be decoded: it is no picture"):
        pixels(["~/good.png", "~/notes.txt"])
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:200])
    for cut in (tmp_path / "cut.png", Image.open(tmp_path / "cut.png")):
        with pytest.raises(InputError, match="image row 0 .*cannot be (decoded|loaded)"):
            pixels([cut])


def test_what_is_no_list_of_pictures(pictures):
    for wrong in (pictures[0], "photo.png", {"train": pictures}):
        with pytest.raises(InputError, match=f"must be a Dataset, or a list of .* not {type(wrong).__name__}"):
            PictureList(wrong)
    with pytest.raises(InputError, match="image row 1 is neither a PIL image nor a path, but ndarray"):
        PictureList([pictures[0], np.asarray(pictures[1])])


def test_fingerprint_of_a_list_follows_the_content(pictures, tmp_path):
    first, second = pictures[:2]
    found = [PictureList(images).fingerprint for images in ([first, second], [second, first], [first], [first, first])]
    assert len(set(found)) == 4
    assert PictureList([first.copy(), second.copy()]).fingerprint == found[0]
    changed = first.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    assert PictureList([changed, second]).fingerprint != found[0]
    first.save(tmp_path / "a.png")
    before = PictureList([tmp_path / "a.png"]).fingerprint
    first.save(tmp_path / "moved.png")
    assert PictureList([str(tmp_path / "moved.png")]).fingerprint == before
    second.save(tmp_path / "a.png")
    assert PictureList([tmp_path / "a.png"]).fingerprint != before


@pytest.mark.parametrize(
    ("processor", "is_ours"),
    [
        (ViTImageProcessorPil(size={"height": 40, "width": 32}), True),
        (CLIPImageProcessorPil(size={"shortest_edge": 33}, crop_size=32), True),
        (CLIPImageProcessorPil(size={"shortest_edge": 33}, do_center_crop=False), True),
        (ViTImageProcessorPil(size={"height": 32, "width": 32}, do_resize=False), False),
        (ConvNextImageProcessorPil(size={"shortest_edge": 32}), False),  # resizes to more, and crops
        (LevitImageProcessorPil(size={"shortest_edge": 32}), False),
    ],
)
def test_pixels_are_those_of_the_image_processor_to_the_bit(processor, is_ours):
    preprocessor, rng = Preprocessor(processor), np.random.default_rng(0)
    assert preprocessor.resizes == is_ours
    for width, height in [(32, 32), (1, 90), (300, 7), *rng.integers(20, 200, (20, 2)).tolist()]:
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        whole = processor([picture], return_tensors="pt", do_rescale=False, do_normalize=False)
        assert torch.equal(preprocessor.stack([picture])["pixel_values"], whole["pixel_values"]), (width, height)


def test_large_jpeg_files_are_decoded_at_a_smaller_size_with_nearly_the_same_pixels(tmp_path):
    preprocessor = Preprocessor(ViTImageProcessorPil(size={"height": 32, "width": 32}))
    rng = np.random.default_rng(0)
    sizes = {"small": ((120, 127), (120, 127)), "half": ((130, 200), (65, 100)), "eighth": ((1024, 520), (128, 65))}
    for name, (size, decoded) in sizes.items():
        noise = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        path = tmp_path / f"{name}.jpg"
        noise.resize(size, Image.Resampling.BICUBIC).save(path, quality=95)
        value = {"bytes": None, "path": str(path)}
        assert decode_picture(value, 0, preprocessor.shrunk_edge).size == decoded
        whole = preprocessor.stack([decode_picture(value, 0)])["pixel_values"].int()
        read = ImageReader([str(path)], preprocessor).read([0])["pixel_values"].int()
        difference = (read - whole).abs()
        assert difference.float().mean() < 0.5 and difference.max() <= 8
