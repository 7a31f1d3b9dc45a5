"""Corrupted pictures: eight of the fifteen corruptions of ImageNet-C (Hendrycks & Dietterich 2019, arXiv 1903.12261).

Each has the five severities of that paper, and acts on a picture of 224 × 224 pixels, since noise, blur and blocks are
in pixels. Of the groups noise, blur, weather and digital there are those that need NumPy, SciPy and Pillow alone: the
packages that offer all fifteen need OpenCV, and draw from NumPy's global generator, so that no seed belongs to a
picture. Two things differ from the published files: pictures are not compressed once more as JPEG of quality 85, and
noise is drawn anew, from a seed.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy
from PIL import Image

EDGE, RESIZED_EDGE = 224, 256  # the centre of 224 of a picture whose shorter edge is 256
SEVERITIES = (1, 2, 3, 4, 5)


class Corruption(NamedTuple):
    """A kind of corruption, and how strong it is, from 1 to 5."""

    name: str
    severity: int


def central_square(picture: Image.Image) -> Image.Image:
    """224 × 224 pixels: the shorter edge resized to 256, and the centre of that, as for ImageNet-C.

    Only the centre is resized, so that a picture that is very long takes no more memory.
    """
    side = min(picture.size) * EDGE / RESIZED_EDGE
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    return picture.resize((EDGE, EDGE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def corrupt(picture: Image.Image, corruption: Corruption, rng: np.random.Generator) -> Image.Image:
    """The picture with one corruption. What is random comes from `rng`."""
    kind, strengths = CORRUPTIONS[corruption.name]
    found = kind(picture, strengths[corruption.severity - 1], rng)
    if isinstance(found, Image.Image):
        return found
    return Image.fromarray((found.clip(0, 1) * 255).astype(np.uint8))


def _colours(picture: Image.Image) -> np.ndarray:
    """(H, W, 3) in [0, 1]."""
    return np.asarray(picture) / 255


def _gaussian_noise(picture: Image.Image, scale: float, rng: np.random.Generator) -> np.ndarray:
    colours = _colours(picture)
    return colours + rng.normal(0, scale, colours.shape)


def _shot_noise(picture: Image.Image, photons: float, rng: np.random.Generator) -> np.ndarray:
    """As many photons of each colour as a Poisson distribution gives."""
    return rng.poisson(_colours(picture) * photons) / photons


def _impulse_noise(picture: Image.Image, share: float, rng: np.random.Generator) -> np.ndarray:
    """A share of the values is 0 or 1."""
    colours = _colours(picture)
    is_hit, is_white = rng.random(colours.shape) < share, rng.random(colours.shape) < 0.5
    return np.where(is_hit, is_white, colours)


def _defocus_blur(picture: Image.Image, disk: tuple[int, float], rng: np.random.Generator) -> np.ndarray:
    """The mean over a disk, given by its radius and by the standard deviation of a Gaussian that smooths its edge."""
    radius, smooth = disk
    reach = max(8, radius)
    x, y = np.meshgrid(*2 * [np.arange(-reach, reach + 1)])
    kernel = (x**2 + y**2 <= radius**2).astype(np.float64)
    kernel /= kernel.sum()  # not after smoothing: where the disk reaches the border the sum becomes 1.01, as there
    taps = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
    gaussian = np.exp(-(taps**2) / (2 * smooth**2))
    for axis in (0, 1):
        kernel = scipy.ndimage.correlate1d(kernel, gaussian / gaussian.sum(), axis, mode="mirror")
    colours = np.pad(_colours(picture), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    return scipy.signal.fftconvolve(colours, kernel[..., None], mode="valid", axes=(0, 1))


def _brightness(picture: Image.Image, more: float, rng: np.random.Generator) -> np.ndarray:
    """More of the value of a colour (HSV), its largest part; hue and saturation stay."""
    colours = _colours(picture)
    value = colours.max(-1, keepdims=True)
    brighter = np.minimum(value + more, 1)
    return np.divide(colours * brighter, value, out=np.broadcast_to(brighter, colours.shape).copy(), where=value > 0)


def _contrast(picture: Image.Image, share: float, rng: np.random.Generator) -> np.ndarray:
    """A share of the difference to the mean colour."""
    colours = _colours(picture)
    mean = colours.mean((0, 1))
    return (colours - mean) * share + mean


def _pixelate(picture: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """A share of the pixels along each edge."""
    small = picture.resize((int(picture.width * share), int(picture.height * share)), Image.Resampling.BOX)
    return small.resize(picture.size, Image.Resampling.NEAREST)


def _jpeg_compression(picture: Image.Image, quality: int, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


# By name: what it does, and its five strengths
CORRUPTIONS: dict[str, tuple[Callable[..., np.ndarray | Image.Image], tuple]] = {
    "gaussian_noise": (_gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": (_shot_noise, (60, 25, 12, 5, 3)),
    "impulse_noise": (_impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "defocus_blur": (_defocus_blur, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "pixelate": (_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg_compression": (_jpeg_compression, (25, 18, 15, 10, 7)),
}
ALL = tuple(Corruption(name, severity) for name in CORRUPTIONS for severity in SEVERITIES)
