"""Augmentation of training pictures: a random crop, resized, and a random flip, on the stacked uint8 batch.

The paper does not augment. The crops are large, because the teacher's labels of a picture should be true of its crop.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

AREA = (0.5, 1.0)  # of the crop, as a share of the picture
MAX_ASPECT_RATIO = 4 / 3  # of the longer side to the shorter one


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
