"""Batches of triplets: each distinct image of a batch is decoded, resized and later embedded once."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import ImageReader, as_reader
from hf_alignet.similarity import NO_CHOICE, odd_one_out
from hf_alignet.student.augmentation import augment
from hf_alignet.triplets.batches import triplets_of_batch
from hf_alignet.triplets.triplet_dataset import ODD, TRIPLET


class TripletCollator:
    """Turns rows of a triplet Dataset into a batch; picklable, so that worker processes can run it.

    Args:
        images: the image dataset that `triplet` points into, or a reader or cache of it.
        preprocessor: of the student.
        target: the column that the loss learns from, `similarities` or `odd`.
        augment: crop and flip pictures at random.
        seed: of that, which depends on the triplets of the batch and on nothing else.

    Raises:
        InputError: `augment` with a preprocessor that gives no uint8 pixels.
    """

    def __init__(
        self,
        images: Dataset | ImageReader,
        preprocessor: Preprocessor,
        target: str,
        augment: bool = False,
        seed: int = 0,
    ):
        self.reader = as_reader(images, preprocessor)
        self.target, self.augment, self.seed = target, augment, seed
        _check_augment(augment, preprocessor)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch of B triplets over U distinct images.

        Returns:
            `images`: inputs of the encoder, U pictures, most often `pixel_values` (U, 3, H, W) uint8;
            `triplets`: (B, 3) positions among those U; `target`: (B, 3) float32 similarities or (B,) int64 odd ones
                out.
        """
        triplets = np.array([row[TRIPLET] for row in rows])
        distinct, positions = np.unique(triplets, return_inverse=True)
        target = torch.as_tensor(np.array([row[self.target] for row in rows]))
        inputs = self.reader.read(distinct.tolist())
        if self.augment:
            rng = np.random.default_rng([self.seed, *triplets.ravel().tolist()])
            inputs["pixel_values"] = augment(inputs["pixel_values"], rng)
        return {
            "images": inputs,
            "triplets": torch.from_numpy(positions.reshape(triplets.shape)),
            "target": target.float() if target.ndim == 2 else target.long(),
        }


class InBatchCollator:
    """Turns items of `TeacherVectors` into a batch of all triplets among their images, or a random subset.

    Args:
        images: the image dataset that the items' rows point into, or a reader or cache of it.
        preprocessor: of the student.
        target: what the loss learns from, `similarities` or `odd`; for `odd`, ties of the teacher are left out.
        limit: at most so many triplets; None for all.
        seed: of the subset and of `augment`, which depend on the images of the batch and on nothing else.
        augment: crop and flip pictures at random.

    Raises:
        InputError: `augment` with a preprocessor that gives no uint8 pixels.
    """

    def __init__(
        self,
        images: Dataset | ImageReader,
        preprocessor: Preprocessor,
        target: str,
        limit: int | None,
        seed: int,
        augment: bool = False,
    ):
        self.reader = as_reader(images, preprocessor)
        self.target, self.limit, self.seed, self.augment = target, limit, seed, augment
        _check_augment(augment, preprocessor)

    def __call__(self, items: list[tuple[int, np.ndarray]]) -> dict[str, Any]:
        """As `TripletCollator`."""
        rows = [row for row, _ in items]
        vectors = torch.from_numpy(np.stack([vector for _, vector in items]))
        rng = np.random.default_rng([self.seed, *rows])
        triplets, target = triplets_of_batch(vectors, self.limit, rng)
        if self.target == ODD:
            target = odd_one_out(target)
            is_decided = target != NO_CHOICE
            triplets, target = triplets[is_decided], target[is_decided]
            if len(triplets) == 0:
                raise InputError(f"the teacher is undecided about every triplet of the image rows {rows}")
        inputs = self.reader.read(rows)
        if self.augment:
            inputs["pixel_values"] = augment(inputs["pixel_values"], rng)
        return {"images": inputs, "triplets": triplets, "target": target}


def _check_augment(augment: bool, preprocessor: Preprocessor) -> None:
    if augment and not preprocessor.stacks_uint8:
        raise InputError(
            f"--augment works on pixels, and {type(preprocessor.processor).__name__} does not give them as uint8 "
            "pictures; leave it out"
        )
