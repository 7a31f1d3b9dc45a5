"""Batches of triplets: each distinct image of a batch is decoded, resized and later embedded once."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.images import Preprocessor, as_encoded_images, read_pictures
from hf_alignet.similarity import NO_CHOICE, odd_one_out
from hf_alignet.triplets.batches import triplets_of_batch
from hf_alignet.triplets.dataset import ODD, TRIPLET


class TripletCollator:
    """Turns rows of a triplet Dataset into a batch; picklable, so that worker processes can run it.

    Args:
        images: the image dataset that `triplet` points into.
        preprocessor: of the student.
        target: the column that the loss learns from, `similarities` or `odd`.
    """

    def __init__(self, images: Dataset, preprocessor: Preprocessor, target: str):
        self.images = as_encoded_images(images)
        self.preprocessor = preprocessor
        self.target = target

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
        return {
            "images": self.preprocessor.stack(read_pictures(self.images, distinct.tolist())),
            "triplets": torch.from_numpy(positions.reshape(triplets.shape)),
            "target": target.float() if target.ndim == 2 else target.long(),
        }


class InBatchCollator:
    """Turns items of `TeacherVectors` into a batch of all triplets among their images, or a random subset.

    Args:
        images: the image dataset that the items' rows point into.
        preprocessor: of the student.
        target: what the loss learns from, `similarities` or `odd`; for `odd`, ties of the teacher are left out.
        limit: at most so many triplets; None for all.
        seed: of the subset, which depends on the images of the batch and on nothing else.
    """

    def __init__(self, images: Dataset, preprocessor: Preprocessor, target: str, limit: int | None, seed: int):
        self.images = as_encoded_images(images)
        self.preprocessor, self.target, self.limit, self.seed = preprocessor, target, limit, seed

    def __call__(self, items: list[tuple[int, np.ndarray]]) -> dict[str, Any]:
        """As `TripletCollator`."""
        rows = [row for row, _ in items]
        vectors = torch.from_numpy(np.stack([vector for _, vector in items]))
        triplets, target = triplets_of_batch(vectors, self.limit, np.random.default_rng([self.seed, *rows]))
        if self.target == ODD:
            target = odd_one_out(target)
            is_decided = target != NO_CHOICE
            triplets, target = triplets[is_decided], target[is_decided]
            if len(triplets) == 0:
                raise InputError(f"the teacher is undecided about every triplet of the image rows {rows}")
        return {
            "images": self.preprocessor.stack(read_pictures(self.images, rows)),
            "triplets": triplets,
            "target": target,
        }
