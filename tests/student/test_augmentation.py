import numpy as np
import pytest
import torch

from hf_alignet.student import collator
from hf_alignet.student.collator import augment


@pytest.fixture
def pixels():
    """Forty pictures whose red tells the column, and whose green tells the row."""
    down, right = np.meshgrid(np.arange(64) * 4, np.arange(48) * 5, indexing="ij")
    return torch.from_numpy(np.stack([right, down, 0 * down]).astype(np.uint8)).repeat(40, 1, 1, 1)


def test_augmented_pictures_are_crops_within_bounds(pixels):
    new = augment(pixels, np.random.default_rng(0))
    assert new.shape == pixels.shape and new.dtype == torch.uint8
    red, green = new[:, 0].float(), new[:, 1].float()
    # How much of the width and height is seen, from the first column (row) to the last
    width = (red[:, 0, -1] - red[:, 0, 0]) / 5 / 47
    height = (green[:, -1, 0] - green[:, 0, 0]) / 4 / 63
    area, ratio = width.abs() * height, width.abs() / height
    assert area.min() > 0.48 and area.max() < 1.01 and area.std() > 0.05
    assert ratio.min() > 0.72 and ratio.max() < 1.37 and ratio.std() > 0.05
    assert 10 < (width < 0).sum() < 30  # flipped
    assert (height > 0).all()
    assert red[:, 0].min(1).values.std() > 5  # crops are at different places


def test_draws_depend_on_the_seed_alone(pixels):
    first, same, other = (augment(pixels, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_whole_picture_is_left_as_it_is(pixels, monkeypatch):
    monkeypatch.setattr(collator, "AREA", (1.0, 1.0))
    monkeypatch.setattr(collator, "MAX_ASPECT_RATIO", 1.0)
    noise = torch.randint(0, 256, (20, 3, 32, 33), dtype=torch.uint8)
    new = augment(noise, np.random.default_rng(0))
    same = [torch.equal(ours, old) or torch.equal(ours, old.flip(-1)) for ours, old in zip(new, noise, strict=True)]
    assert all(same)
