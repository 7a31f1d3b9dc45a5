"""Batches of triplets: each distinct image of a batch is decoded, resized and later embedded once."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.images import Preprocessor, as_encoded_images, read_pictures
from hf_alignet.triplets.dataset import TRIPLET


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
