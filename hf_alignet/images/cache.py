"""A cache of resized pictures on disk, for runs of several epochs: as fast as the disk, and the same pixels."""

import hashlib
import json
import os
import shutil
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import transformers
from accelerate import PartialState
from datasets import Dataset
from PIL import Image
from torch import Tensor

from hf_alignet import __version__
from hf_alignet.errors import InputError, RunError
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import ImageReader

PIXELS, DONE = "pixels.npy", "done.npy"


class ImageCache(ImageReader):
    """Reads resized pictures from a memory map that `prepare` has filled; other rows are decoded, as without a cache.

    Each pair of an image dataset and the settings of an image processor gets a folder of its own in the directory, so
    that several runs can share it. `pixels.npy` there is a sparse file (n, 3, H, W) uint8 that takes disk space for
    the rows in it alone, 150 kB an image at 224 pixels; `done.npy` has one byte a row, set after its pixels have
    reached the disk, so that a run that was killed goes on where it stopped, and another run adds the rows it needs.

    Args:
        directory: of the caches.
        images: a Dataset with an `image` column.
        preprocessor: of the encoder that reads.

    Raises:
        InputError: the image processor does not make uint8 pixels of one shape, or the directory cannot be written.

    Example:
        >>> cache = ImageCache("cache", images, encoder.preprocessor)  # doctest: +SKIP
        >>> cache.prepare(np.arange(len(images)), num_workers=4)  # doctest: +SKIP
        >>> AlignTrainer(encoder, args, train_dataset=triplets, images=cache).train()  # doctest: +SKIP
    """

    activity = "caching images"

    def __init__(self, directory: str | Path, images: Dataset, preprocessor: Preprocessor):
        super().__init__(images, preprocessor)
        description = {
            "images": self.images._fingerprint,
            "shape": [len(images), *_pixel_shape(preprocessor)],
            "processor": preprocessor.settings(),
            # Whose decoding and resizing may change from one version to the next
            "versions": {
                "hf_alignet": __version__,
                "pillow": PIL.__version__,
                "transformers": transformers.__version__,
            },
        }
        key = hashlib.blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=8).hexdigest()
        self.directory = Path(directory).expanduser() / key
        state = PartialState(cpu=not torch.accelerator.is_available())  # else it would not see other CPU processes
        if state.is_local_main_process:
            try:
                _create(self.directory, description)
            except OSError as error:
                raise InputError(f"cannot make a cache of images in {directory}: {error}") from error
        state.wait_for_everyone()

    def read(self, rows: list[int]) -> dict[str, Tensor]:
        """As `ImageReader.read`, bit for bit."""
        pixels, done = self._arrays
        stacked = torch.from_numpy(np.asarray(pixels[rows]))
        missing = np.flatnonzero(done[rows] == 0)
        if len(missing):
            stacked[missing] = super().read([rows[i] for i in missing])["pixel_values"]
        return {"pixel_values": stacked}

    def prepare(
        self, rows: np.ndarray, num_workers: int = 0, progress: bool = True, skip_bad: bool = False
    ) -> dict[int, str]:
        """Fills the cache with these rows, unless they are in it; otherwise as `ImageReader.prepare`.

        Raises:
            InputError: a picture cannot be read, without `skip_bad` (names the row), or the disk has too little space.
            RunError: the disk got full meanwhile, or cannot be written for another reason.
        """
        pixels, done = self._arrays
        rows = rows[done[rows] == 0]
        needed, free = len(rows) * pixels[0].nbytes, shutil.disk_usage(self.directory).free
        PartialState().wait_for_everyone()  # nobody fills it before all have looked
        if needed > free:
            raise InputError(
                f"caching {len(rows)} images takes {needed / 1e9:.1f} GB, and the disk of {self.directory} has "
                f"{free / 1e9:.1f} GB left; give --cache_images a directory on another, or leave it out"
            )
        try:
            return super().prepare(rows, num_workers, progress, skip_bad)
        except OSError as error:
            raise RunError(f"cannot write the cache of images in {self.directory}: {error}") from error

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """The pixels and the flags, mapped into the memory of this process."""
        pixels, done = (np.load(self.directory / name, mmap_mode="r", allow_pickle=False) for name in (PIXELS, DONE))
        return pixels, done

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_arrays"}  # not the whole file

    def _visit(self, row: int) -> None:
        (pixels,) = self.preprocessor.stack(self._decode([row]))["pixel_values"]
        file_offset = self._arrays[0].offset + row * pixels.nbytes  # type: ignore[attr-defined]
        # Not through a memory map, where a full disk would kill the process without a word
        with open(self.directory / PIXELS, "r+b") as file:
            file.seek(file_offset)
            file.write(pixels.numpy().tobytes())

    def _finish(self, rows: list[int]) -> None:
        with open(self.directory / PIXELS, "r+b") as file:
            os.fsync(file.fileno())
        done = np.load(self.directory / DONE, mmap_mode="r+", allow_pickle=False)
        done[rows] = 1
        done.flush()


def _pixel_shape(preprocessor: Preprocessor) -> tuple[int, ...]:
    """(3, H, W) of every picture."""
    shapes = set()
    if preprocessor.stacks_uint8:
        shapes = {
            preprocessor.stack([Image.new("RGB", size)])["pixel_values"].shape[1:] for size in ((96, 80), (80, 96))
        }
    if len(shapes) != 1:
        raise InputError(
            f"images cannot be cached for {type(preprocessor.processor).__name__}: it does not make uint8 pixels of "
            "one shape; leave out --cache_images"
        )
    return tuple(shapes.pop())


def _create(directory: Path, description: dict[str, Any]) -> None:
    """An empty cache, complete from the moment that it is there."""
    if directory.exists():
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix="tmp-", dir=directory.parent))
    try:
        np.lib.format.open_memmap(temporary / PIXELS, "w+", np.uint8, tuple(description["shape"])).flush()
        np.save(temporary / DONE, np.zeros(description["shape"][0], np.uint8))
        (temporary / "cache.json").write_text(json.dumps(description, indent=2) + "\n")
        temporary.chmod(0o755)
        os.rename(temporary, directory)
    except OSError:
        if not directory.exists():  # else another run was faster
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
