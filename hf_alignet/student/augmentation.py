"""Augmentation of training pictures: a random crop, resized, and a flip, on the stacked uint8 batch.

AligNet has none. It is mild, because what the teacher says of a picture should stay true of its crop.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

AREA = (0.5, 1.0)  # of the crop, as a share of the picture
ASPECT_RATIO = (3 / 4, 4 / 3)
GROUP = 16  # pictures that are in memory as floats


def augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Each picture cropped at random, resized to what it was, and flipped or not.

    Args:
        pixels: (U, 3, H, W) uint8.
        rng: of the draws.

    Returns:
        (U, 3, H, W) uint8.
    """
    groups = zip(pixels.split(GROUP), _random_windows(len(pixels), rng).split(GROUP), strict=True)
    return torch.cat([_resample(group, windows) for group, windows in groups])


def _random_windows(number: int, rng: np.random.Generator) -> Tensor:
    """(number, 2, 3) float32: what takes each point of the new picture to one of the old, both in [-1, 1]."""
    area = rng.uniform(*AREA, number)
    low, high = np.log(ASPECT_RATIO)
    ratio = np.exp(rng.uniform(low, high, number))
    width, height = np.minimum(1, np.sqrt(area * ratio)), np.minimum(1, np.sqrt(area / ratio))
    windows = np.zeros((number, 2, 3), np.float32)
    windows[:, 0, 0] = width * rng.choice([-1, 1], number)
    windows[:, 1, 1] = height
    windows[:, 0, 2] = (1 - width) * rng.uniform(-1, 1, number)
    windows[:, 1, 2] = (1 - height) * rng.uniform(-1, 1, number)
    return torch.from_numpy(windows)


def _resample(pixels: Tensor, windows: Tensor) -> Tensor:
    grid = affine_grid(windows, list(pixels.shape), align_corners=False)
    sampled = grid_sample(pixels.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.round().to(torch.uint8)
