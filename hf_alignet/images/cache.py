"""A cache of resized pictures on disk, for runs of several epochs: as fast as the disk, with the same pixels."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL
import torch
import transformers
from accelerate import PartialState
from datasets import Dataset
from torch import Tensor

from hf_alignet import __version__
from hf_alignet.errors import InputError
from hf_alignet.images.kept_pixels import pixel_shape
from hf_alignet.images.picture_list import Picture
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import ImageReader
from hf_alignet.processes import this_process
from hf_alignet.storage import ResumableArray, output_folder

SECONDS = 60.0  # that a run waits for another one to make the files of a cache


class ImageCache(ImageReader):
    """Reads resized pictures that `prepare` has stored on the disk. It decodes other rows, as `ImageReader` does.

    Each pair of an image dataset and the settings of an image processor gets a folder of its own, so several runs can
    share the directory. `pixels.npy` in it is (n, 3, H, W) uint8. It takes disk space only for the stored rows: 150 kB
    an image at 224 pixels. A run that was killed continues where it stopped, and another run adds the rows it needs.

    Args:
        directory: for the folders of all caches.
        images: as for `ImageReader`, like `preprocessor`.

    Raises:
        InputError: the image processor does not make uint8 pixels of one shape, or the directory cannot be written.

    Example:
        >>> cache = ImageCache("cache", images, encoder.preprocessor)  # doctest: +SKIP
        >>> cache.prepare(np.arange(len(images)), num_workers=4)  # doctest: +SKIP
        >>> AlignTrainer(encoder, args, train_dataset=triplets, images=cache).train()  # doctest: +SKIP
    """

    activity = "caching images"

    def __init__(self, directory: str | Path, images: Dataset | Sequence[Picture], preprocessor: Preprocessor):
        super().__init__(images, preprocessor)
        # Decoding and resizing may change from one version to the next
        versions = {"hf_alignet": __version__, "pillow": PIL.__version__, "transformers": transformers.__version__}
        description = {
            "images": self.fingerprint,
            "shape": [len(self), *_pixel_shape(preprocessor)],
            "processor": preprocessor.settings(),
            "versions": versions,
        }
        key = hashlib.blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=8).hexdigest()
        self.pixels = ResumableArray(Path(directory) / key, "pixels.npy", "cache.json")
        self.directory = self.pixels.directory
        state = this_process()
        if state.is_local_main_process:
            with output_folder(self.directory, "cache_images", "cache_images", wait=SECONDS):
                self.pixels.create(description, np.uint8)
        state.wait_for_everyone()

    def is_ready(self, rows: np.ndarray) -> bool:
        return bool(self.pixels.done[rows].all())

    def read(self, rows: list[int]) -> dict[str, Tensor]:
        """As `ImageReader.read`, bit for bit."""
        is_stored = self.pixels.done[rows] == 1
        if is_stored.all():  # one copy, of whole pictures
            return {"pixel_values": torch.from_numpy(self.pixels.values[rows])}
        asked = np.asarray(rows)
        stacked = np.empty((len(rows), *self.pixels.values.shape[1:]), np.uint8)
        # Rows that nobody has written are not touched: in a file system in memory that would take space
        stacked[is_stored] = self.pixels.values[asked[is_stored]]
        stacked[~is_stored] = super().read(asked[~is_stored].tolist())["pixel_values"].numpy()
        return {"pixel_values": torch.from_numpy(stacked)}

    def prepare(
        self, rows: np.ndarray, num_workers: int | None = None, progress: bool = True, skip_bad: bool = False
    ) -> dict[int, str]:
        """Stores the rows that the cache lacks; otherwise as `ImageReader.prepare`.

        Raises:
            InputError: as `ImageReader.prepare`, or the disk has not enough space.
            RunError: the disk gets full meanwhile, or cannot be written for another reason.
        """
        rows = rows[self.pixels.done[rows] == 0]
        needed, free = len(rows) * self.pixels.values[0].nbytes, shutil.disk_usage(self.directory).free
        PartialState().wait_for_everyone()  # no process writes before all have looked
        if needed > free:
            raise InputError(
                f"caching {len(rows)} images takes {needed / 1e9:.1f} GB, and the disk of {self.directory} has "
                f"{free / 1e9:.1f} GB left; set `cache_images` to a directory on another disk, or leave it out"
            )
        return super().prepare(rows, num_workers, progress, skip_bad)

    def _visit(self, row: int) -> None:
        (pixels,) = self.preprocessor.stack(self._decode([row]))["pixel_values"]
        self.pixels.write(row, pixels.numpy()[None])

    def _finish(self, rows: list[int]) -> None:
        self.pixels.finish(rows)


def _pixel_shape(preprocessor: Preprocessor) -> tuple[int, ...]:
    """(3, H, W) of every picture."""
    shape = pixel_shape(preprocessor)
    if shape is None:
        raise InputError(
            f"images cannot be cached for {type(preprocessor.processor).__name__}: it does not make uint8 pixels of "
            "one shape; leave out `cache_images`"
        )
    return shape
