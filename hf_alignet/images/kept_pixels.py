"""Pictures that are few and small are decoded once: their resized pixels stay in memory for all epochs."""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import ImageReader, Reader

MOST_BYTES = 2**26  # of all pixels: 445 pictures of 224 x 224 pixels, or 5,461 of 64 x 64


class KeptPixels(ImageReader):
    """Reads a row as another reader does the first time, and then from memory.

    Worker processes would each keep pixels of their own: by default there are none.

    Args:
        reader: of the pictures.
        shape: of the pixels of every picture.
    """

    def __init__(self, reader: ImageReader, shape: tuple[int, ...]):
        self.images, self.preprocessor, self.fingerprint = reader.images, reader.preprocessor, reader.fingerprint
        self.pixels = np.empty((len(reader), *shape), np.uint8)
        self.is_kept = np.zeros(len(reader), bool)

    def is_ready(self, rows: np.ndarray) -> bool:
        return bool(self.is_kept[rows].all())

    def default_workers(self, num_batches: int | None = None) -> int:
        return 0

    def read(self, rows: list[int]) -> dict[str, Tensor]:
        """As `ImageReader.read`, bit for bit."""
        missing = [row for row in dict.fromkeys(rows) if not self.is_kept[row]]
        if missing:
            self.pixels[missing] = super().read(missing)["pixel_values"].numpy()
            self.is_kept[missing] = True
        return {"pixel_values": torch.from_numpy(self.pixels[rows])}  # torch would take ten times as long


def keep_if_small(reader: Reader) -> Reader:
    """A reader that keeps the pixels of all pictures, if they take little memory; else the same reader."""
    if not isinstance(reader, ImageReader) or (shape := pixel_shape(reader.preprocessor)) is None:
        return reader
    return KeptPixels(reader, shape) if len(reader) * math.prod(shape) <= MOST_BYTES else reader


def pixel_shape(preprocessor: Preprocessor) -> tuple[int, ...] | None:
    """(3, H, W) of every picture; None if it differs, or they are no uint8 pixels."""
    pictures = [Image.new("RGB", size) for size in ((96, 80), (80, 96))]
    shapes = {preprocessor.stack([picture])["pixel_values"].shape[1:] for picture in pictures}
    return tuple(shapes.pop()) if preprocessor.stacks_uint8 and len(shapes) == 1 else None
