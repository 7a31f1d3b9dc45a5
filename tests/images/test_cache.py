import os
import pickle
import shutil
import signal
import time
from collections import namedtuple

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from transformers import CLIPImageProcessorPil, Siglip2ImageProcessorPil, ViTImageProcessorPil

from hf_alignet.encoder.embedding import load_embeddings
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.images.cache import ImageCache
from hf_alignet.images.opening import load_images
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import ImageReader, as_reader

ROWS = np.array([3, 17, 5, 8, 21])


@pytest.fixture
def preprocessor():
    return Preprocessor(ViTImageProcessorPil(size={"height": 32, "width": 32}))


@pytest.fixture
def broken(images):
    """The images, but rows 5 and 8 are no pictures."""
    rows = images.cast_column("image", ImageFeature(decode=False)).to_list()
    for row in (5, 8):
        rows[row]["image"] = {"bytes": b"not a picture", "path": f"{row}.jpg"}
    return Dataset.from_list(rows, features=images.features)


@pytest.fixture
def visited(monkeypatch):
    """Rows that were put into a cache."""
    rows, visit = [], ImageCache._visit
    monkeypatch.setattr(ImageCache, "_visit", lambda self, row: (rows.append(row), visit(self, row)))
    return rows


@pytest.mark.parametrize("workers", [0, 2])
def test_cached_pixels_are_those_decoded(workers, images, preprocessor, tmp_path):
    cache = ImageCache(tmp_path, images, preprocessor)
    assert cache.prepare(ROWS, num_workers=workers, progress=False) == {}
    everything = list(range(24))[::-1]
    expected = ImageReader(images, preprocessor).read(everything)
    assert set(expected) == {"pixel_values"}
    assert torch.equal(cache.read(everything)["pixel_values"], expected["pixel_values"])
    assert len(cache) == 24


def test_only_rows_asked_for_are_decoded_and_once(images, preprocessor, visited, tmp_path, monkeypatch):
    ImageCache(tmp_path, images, preprocessor).prepare(ROWS, progress=False)
    cache = ImageCache(tmp_path, images, preprocessor)
    cache.prepare(np.array([17, 2, 3]), progress=False)
    assert visited == [*ROWS, 2]
    monkeypatch.setattr(ImageReader, "read", lambda *_: pytest.fail("decoded what is cached"))
    cache.read([2, 3, 5])


def test_stopped_cache_is_continued(broken, images, preprocessor, visited, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_alignet.images.reader.SPAN", 2)
    rows = np.array([0, 1, 2, 3, 5, 6])
    with pytest.raises(InputError, match=r"image row 5 \(5.jpg\) cannot be decoded"):
        ImageCache(tmp_path, broken, preprocessor).prepare(rows, progress=False)
    assert visited == [0, 1, 2, 3, 5]
    cache = ImageCache(tmp_path, broken, preprocessor)
    assert list(cache.prepare(rows, progress=False, skip_bad=True)) == [5]
    assert visited == [0, 1, 2, 3, 5, 5, 6]
    good = [0, 1, 2, 3, 6]
    expected = ImageReader(images, preprocessor).read(good)["pixel_values"]
    assert torch.equal(cache.read(good)["pixel_values"], expected)
    with pytest.raises(InputError, match="image row 5"):
        cache.read([0, 5])


def test_killed_cache_is_continued(images, preprocessor, visited, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_alignet.images.reader.SPAN", 2)
    cache = ImageCache(tmp_path, images, preprocessor)
    child = os.fork()
    if child == 0:
        finish = cache._finish
        cache._finish = lambda rows: os.kill(os.getpid(), signal.SIGKILL) if rows == [4, 5] else finish(rows)
        try:
            cache.prepare(np.arange(24), progress=False)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    cache.prepare(np.arange(24), progress=False)
    assert visited == list(range(4, 24))
    expected = ImageReader(images, preprocessor).read(list(range(24)))["pixel_values"]
    assert torch.equal(cache.read(list(range(24)))["pixel_values"], expected)


def test_undecodable_images_are_found(broken, preprocessor, tmp_path):
    for reader in (ImageReader(broken, preprocessor), ImageCache(tmp_path, broken, preprocessor)):
        for workers in (0, 2):
            bad = reader.prepare(np.arange(24)[::-1], num_workers=workers, progress=False, skip_bad=True)
            assert list(bad) == [5, 8] and bad[8].startswith("image row 8 (8.jpg) cannot be decoded")


def test_other_images_and_processors_get_caches_of_their_own(images, preprocessor, tmp_path):
    def directory(dataset, **settings):
        processor = ViTImageProcessorPil(**{"size": {"height": 32, "width": 32}} | settings)
        return ImageCache(tmp_path, dataset, Preprocessor(processor)).directory

    ours = directory(images)
    assert ours == directory(images, image_mean=[0.1, 0.2, 0.3])  # normalisation comes later
    others = [
        directory(images.select(range(23))),
        directory(images.select(list(range(24))[::-1])),
        directory(images, size={"height": 16, "width": 16}),
        directory(images, resample=3),
    ]
    assert len({ours, *others}) == 5 and all((path / "cache.json").exists() for path in others)
    assert sorted(tmp_path.iterdir()) == sorted({ours, *others})


def test_worker_process_gets_the_map_not_the_pixels(images, preprocessor, tmp_path):
    cache = ImageCache(tmp_path, images, preprocessor)
    cache.prepare(ROWS, progress=False)
    expected = cache.read(ROWS.tolist())["pixel_values"]
    before = len(pickle.dumps(ImageReader(images, preprocessor)))
    assert len(pickle.dumps(cache)) < before + 2000 < before + expected.nbytes
    assert torch.equal(pickle.loads(pickle.dumps(cache)).read(ROWS.tolist())["pixel_values"], expected)


def test_embedding_reads_the_cache(images, tiny_directory, tmp_path, monkeypatch):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    expected = encoder.embed(images, progress=False)
    cache = ImageCache(tmp_path, images, encoder.preprocessor)
    cache.prepare(np.arange(24), progress=False)
    monkeypatch.setattr(ImageReader, "read", lambda *_: pytest.fail("decoded what is cached"))
    np.testing.assert_array_equal(encoder.embed(cache, progress=False), expected)


def test_pictures_in_memory_are_cached_by_their_content(images, pictures, preprocessor, visited, tmp_path):
    ImageCache(tmp_path, pictures, preprocessor).prepare(ROWS, progress=False)
    cache = ImageCache(tmp_path, [picture.copy() for picture in pictures], preprocessor)
    cache.prepare(np.arange(10), progress=False)
    assert visited == [*ROWS, 0, 1, 2, 4, 6, 7, 9]
    expected = ImageReader(images, preprocessor).read(list(range(24)))["pixel_values"]
    assert torch.equal(cache.read(list(range(24)))["pixel_values"], expected)
    assert ImageCache(tmp_path, pictures[::-1], preprocessor).directory != cache.directory


def test_reader_for_another_encoder_is_refused(images, preprocessor, tmp_path):
    other = Preprocessor(ViTImageProcessorPil(size={"height": 16, "width": 16}))
    with pytest.raises(InputError, match=r"another image processor \(size differ\)"):
        as_reader(ImageCache(tmp_path, images, preprocessor), other)
    normalised = Preprocessor(ViTImageProcessorPil(size={"height": 32, "width": 32}, image_std=[0.1, 0.1, 0.1]))
    as_reader(ImageReader(images, preprocessor), normalised)


@pytest.mark.parametrize(
    "processor",
    [
        Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16),
        CLIPImageProcessorPil(size={"shortest_edge": 32}, do_center_crop=False),
    ],
)
def test_pictures_without_one_shape_are_not_cached(processor, images, tmp_path):
    with pytest.raises(InputError, match="images cannot be cached for .*: it does not make uint8 pixels of one shape"):
        ImageCache(tmp_path, images, Preprocessor(processor))


def test_directory_that_cannot_be_written(images, preprocessor, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to .*file.*; give another `cache_images`"):
        ImageCache(tmp_path / "file", images, preprocessor)
    cache = ImageCache(tmp_path, images, preprocessor)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000, 0, 1000))
    with pytest.raises(InputError, match=r"caching 5 images takes 0.0 GB, and the disk of .* has 0.0 GB left"):
        cache.prepare(ROWS, progress=False)


def test_rows_that_are_not_cached_take_no_space(images, tmp_path):
    many = Dataset.from_dict({"image": [None] * 5000}, features=images.features)
    processor = ViTImageProcessorPil(size={"height": 64, "width": 64})
    directory = ImageCache(tmp_path, many, Preprocessor(processor)).directory
    assert os.stat(directory / "pixels.npy").st_blocks * 512 < 1e6 < 5000 * 3 * 64 * 64


# ---- what happens to files on the disk


def damage(file, how):
    content = file.read_bytes()
    if how == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif how == "gone":
        file.unlink()
    elif how in ("short", "long"):
        array = np.load(file)
        np.save(file, array[:-1] if how == "short" else np.concatenate([array, array]))
    else:
        file.write_text(how)


DAMAGES = [(file, how) for file in ("array", "done.npy") for how in ("cut", "gone", "short", "long", "")]
DAMAGES += [("description", how) for how in ("cut", "", "[1, 2]", "{}", '{"shape": []}')]


@pytest.mark.parametrize(("file", "how"), DAMAGES)
def test_damaged_cache_is_refused(file, how, images, preprocessor, tmp_path):
    cache = ImageCache(tmp_path, images, preprocessor)
    cache.prepare(np.arange(24), progress=False)
    damage(cache.directory / {"array": "pixels.npy", "description": "cache.json"}.get(file, file), how)
    with pytest.raises(InputError, match="holds damaged pixels: .* is not complete; delete this directory, or give"):
        ImageCache(tmp_path, images, preprocessor)


@pytest.mark.parametrize(("file", "how"), DAMAGES)
def test_damaged_embeddings_are_refused(file, how, images, tiny_directory, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    encoder.embed(images, save_to=tmp_path, progress=False)
    damage(tmp_path / {"array": "embeddings.npy", "description": "embeddings.json"}.get(file, file), how)
    with pytest.raises(InputError, match="holds damaged embeddings: .*; delete this directory, or give another one"):
        encoder.embed(images, save_to=tmp_path, progress=False)
    with pytest.raises(InputError, match="holds damaged embeddings|cannot read features"):
        load_embeddings(str(tmp_path / "embeddings.npy"), "features", images, progress=False)


@pytest.mark.parametrize("kind", ["folder", "dataset", "list"])
def test_replaced_picture_is_read_again_whatever_its_time_and_size(kind, pictures, tiny_directory, tmp_path):
    def write(row: int, picture: int) -> None:
        (tmp_path / "pics").mkdir(exist_ok=True)
        file = tmp_path / "pics" / f"{row}.bmp"
        pictures[picture].save(file)
        os.utime(file, (1e9, 1e9))

    def opened():
        files = sorted(map(str, (tmp_path / "pics").glob("*.bmp")))
        in_memory = Dataset.from_dict({"image": files}, Features({"image": ImageFeature()}))
        return {"folder": load_images(str(tmp_path / "pics")), "dataset": in_memory, "list": files}[kind]

    def cached() -> ImageCache:
        cache = ImageCache(tmp_path / "cache", opened(), encoder.preprocessor)
        cache.prepare(np.arange(4), progress=False)
        return cache

    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    for row in range(4):
        write(row, row)
    first = np.array(encoder.embed(opened(), save_to=tmp_path / "made", progress=False))
    directory = cached().directory
    with pytest.MonkeyPatch.context() as patch:  # nothing has changed
        patch.setattr(ImageReader, "read", lambda *_: pytest.fail("decoded again"))
        np.testing.assert_array_equal(encoder.embed(opened(), save_to=tmp_path / "made", progress=False), first)
        assert cached().directory == directory
    time.sleep(0.02)  # the clock of a file system ticks every few milliseconds
    write(1, 7)
    with pytest.raises(InputError, match="holds embeddings of .*; give another directory, or delete this one"):
        encoder.embed(opened(), save_to=tmp_path / "made", progress=False)
    expected = ImageReader([pictures[7]], encoder.preprocessor).read([0])["pixel_values"]
    assert torch.equal(cached().read([1])["pixel_values"], expected)
