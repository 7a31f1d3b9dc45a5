"""Pictures that benchmarks read: JPEG files of smooth noise, about as large as those of photographs."""

import io

import numpy as np
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image


def jpeg_pictures(number: int, size: tuple[int, int], spacing: int, rng: np.random.Generator) -> Dataset:
    """Distinct pictures of (width, height), with a random colour at every `spacing` pixels and between them smooth."""
    files = []
    for _ in range(number):
        noise = Image.fromarray(rng.integers(0, 256, (size[1] // spacing, size[0] // spacing, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        noise.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        files.append({"bytes": buffer.getvalue(), "path": None})
    return Dataset.from_dict({"image": files}, features=Features({"image": ImageFeature()}))
