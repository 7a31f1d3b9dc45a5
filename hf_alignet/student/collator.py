"""Batches of triplets: each distinct image of a batch is decoded, resized and later embedded once."""

import math
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import interpolate

from hf_alignet.errors import InputError
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import Reader, as_reader
from hf_alignet.images.tokens import TextPreprocessor
from hf_alignet.similarity import NO_CHOICE, odd_one_out
from hf_alignet.student.criterion import as_target
from hf_alignet.student.preservation import ROWS
from hf_alignet.triplets.batches import triplets_of_batch
from hf_alignet.triplets.triplet_dataset import ODD, TRIPLET

# The paper does not augment. Crops are large, because the teacher's labels of a picture should be true of its crop.
AREA = (0.5, 1.0)  # of the crop, as a share of the picture
MAX_ASPECT_RATIO = 4 / 3  # of the longer side to the shorter one


class TripletCollator:
    """Turns rows of a triplet Dataset into a batch, also in worker processes.

    Args:
        images: the image dataset that `triplet` points into, or a reader or cache of it.
        preprocessor: of the student.
        target: the column that the loss learns from, `similarities` or `odd`.
        augment: crop and flip pictures at random.
        seed: seed of the crops. They depend on it and on the triplets of the batch alone.

    Raises:
        InputError: `augment` with a preprocessor that gives no uint8 pixels.
    """

    def __init__(
        self,
        images: Dataset | Reader,
        preprocessor: Preprocessor | TextPreprocessor,
        target: str,
        augment: bool = False,
        seed: int = 0,
    ):
        self.reader = as_reader(images, preprocessor)
        self.target, self.augment, self.seed = target, augment, seed
        if augment and not preprocessor.stacks_uint8:
            raise InputError(
                f"`augment` needs uint8 pictures, but {type(preprocessor.processor).__name__} gives none: leave it out"
            )

    def __call__(self, rows: list[Any]) -> dict[str, Any]:
        """A batch of B triplets over U distinct images.

        Returns:
            `images`: inputs of the encoder, most often `pixel_values` (U, 3, H, W) uint8, of a text model `input_ids`
            (U, T); `rows`: (U,) those of the images; `triplets`: (B, 3) positions among the U; `target`: (B, 3)
            float32 similarities or (B,) int64 odd
            ones out.
        """
        triplets = np.array([row[TRIPLET] for row in rows])
        distinct, positions = np.unique(triplets, return_inverse=True)
        return {
            "images": self._read(distinct.tolist(), [self.seed, *triplets.ravel().tolist()]),
            ROWS: torch.from_numpy(distinct.astype(np.int64)),
            "triplets": torch.from_numpy(positions.reshape(triplets.shape)),
            "target": as_target(np.array([row[self.target] for row in rows])),
        }

    def _read(self, rows: list[int], seed: list[int] | np.random.Generator) -> dict[str, Any]:
        inputs = self.reader.read(rows)
        if self.augment:
            inputs["pixel_values"] = augment(inputs["pixel_values"], np.random.default_rng(seed))
        return inputs


class InBatchCollator(TripletCollator):
    """Turns items of `TeacherVectors` into a batch of all triplets among their images, or of a random subset.

    `limit` is the largest number of triplets; None for all. For `odd`, ties of the teacher are left out.
    """

    def __init__(self, *args: Any, limit: int | None = None, **options: Any):
        super().__init__(*args, **options)
        self.limit = limit

    def __call__(self, rows: list[Any]) -> dict[str, Any]:
        """From pairs of an image row and its vector.

        Returns:
            For a subset of the triplets, as `TripletCollator`. For all of them, `images`, `rows` and the teacher's
            `similarities` (U, U), because a list of the triplets would be long.
        """
        images = [row for row, _ in rows]
        vectors = torch.from_numpy(np.stack([vector for _, vector in rows]))
        rng, named = np.random.default_rng([self.seed, *images]), {ROWS: torch.tensor(images)}
        if self.limit is None or self.limit >= math.comb(len(images), 3):
            similarities = vectors @ vectors.T
            if self.target == ODD and not has_choice(similarities):
                raise _undecided(images)
            return {"images": self._read(images, rng), "similarities": similarities} | named
        triplets, target = triplets_of_batch(vectors, self.limit, rng)
        if self.target == ODD:
            target = odd_one_out(target)
            is_decided = target != NO_CHOICE
            triplets, target = triplets[is_decided], target[is_decided]
            if len(triplets) == 0:
                raise _undecided(images)
        return {"images": self._read(images, rng), "triplets": triplets, "target": target} | named


def has_choice(similarities: Tensor) -> bool:
    """Whether any triplet among images with similarities (n, n) has a pair that is more similar than the others."""
    first, second = torch.triu_indices(len(similarities), len(similarities), 1)
    for pair in similarities[first, second].argsort(descending=True).tolist():  # most often the first one is
        i, j = first[pair], second[pair]
        if ((similarities[i] < similarities[i, j]) & (similarities[j] < similarities[i, j])).any():
            return True
    return False


def _undecided(images: list[int]) -> InputError:
    return InputError(f"the teacher is undecided about every triplet of the image rows {images}")


def augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Crops each picture (U, 3, H, W) uint8 at random, resizes the crop to the old size, and flips half of them."""
    return torch.stack([_crop_and_flip(picture, rng) for picture in pixels])


def _crop_and_flip(picture: Tensor, rng: np.random.Generator) -> Tensor:
    height, width = picture.shape[1:]
    area, ratio = rng.uniform(*AREA), MAX_ASPECT_RATIO ** rng.uniform(-1, 1)
    rows = min(height, max(1, round(height * math.sqrt(area / ratio))))
    columns = min(width, max(1, round(width * math.sqrt(area * ratio))))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    crop = picture[None, :, top : top + rows, left : left + columns].contiguous(memory_format=torch.channels_last)
    resized = interpolate(crop, (height, width), mode="bilinear", antialias=True)[0]
    return resized.flip(-1) if rng.random() < 0.5 else resized
