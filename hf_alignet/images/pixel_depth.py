"""Turns pictures of more than 8 bits a pixel into those of 8 bits, as bright as the picture is meant.

The values of the picture decide, the same way each time:

* Whole numbers from 0 to 65535 have the smallest of 8, 10, 12, 14 or 16 bits that holds them all, and keep the upper 8
  of these bits. So data of a 12-bit camera in a 16-bit file are as bright as those of 8 bits.
* Fractions from 0 to 1 are shares of white.
* All others, and those that would become one single value, are stretched: the least becomes 0, the largest 255.

What is no number becomes 0, and what is infinite the end of the range. Colours of 16 bits follow the first rule.
"""

import logging
import mmap
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from PIL import Image

logger = logging.getLogger(__name__)

DEPTHS = (8, 10, 12, 14, 16)
WHITE = 255
# How Pillow calls the order of the bytes of a colour of 16 bits, of which it keeps the upper one, and the other order
COLOUR = re.compile(r"^(RGB[AX]?);16([BLN])$")
OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_said = mmap.mmap(-1, 1)  # shared with the worker processes, so that a run says it once


def is_deep(picture: Image.Image) -> bool:
    """Whether a picture has one channel of more than 8 bits."""
    return picture.mode == "F" or picture.mode.startswith("I")  # I, I;16, I;16B …


def load_deep_colours(picture: Image.Image, reopen: Callable[[], AbstractContextManager[Image.Image]]) -> None:
    """Loads a picture. If it has colours of 16 bits that are all dark, their lower bytes count too.

    Args:
        picture: just opened; it gets the pixels.
        reopen: opens it once more.
    """
    is_deep_colour = any(COLOUR.match(_raw_mode(tile)) for tile in getattr(picture, "tile", ()))
    picture.load()
    if not is_deep_colour:
        return
    upper = np.array(picture)
    if upper[..., :3].max() >> (max(DEPTHS[:-1]) - DEPTHS[0]):
        return  # all 16 bits are in use
    with reopen() as other:
        other.tile = [_in_other_order(tile) for tile in other.tile]  # type: ignore[attr-defined]
        other.load()
        lower = np.asarray(other)
    upper[..., :3] = to_eight_bits(upper[..., :3].astype(np.uint16) << 8 | lower[..., :3])
    picture.frombytes(upper.tobytes())


def _raw_mode(tile: tuple) -> str:
    return str(tile[3][0] if isinstance(tile[3], tuple) else tile[3])


def _in_other_order(tile: tuple) -> tuple:
    raw_mode = COLOUR.sub(lambda match: f"{match[1]};16{OTHER_ORDER[match[2]]}", _raw_mode(tile))
    arguments = (raw_mode, *tile[3][1:]) if isinstance(tile[3], tuple) else raw_mode
    make = getattr(tile, "_make", tuple)  # a plain tuple before Pillow 11
    return make((*tile[:3], arguments))


def to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Values (H, W) or (H, W, 3) of any number type as uint8; ValueError if none of them is finite."""
    is_float = values.dtype.kind == "f"
    finite = values[np.isfinite(values)] if is_float else values
    if finite.size == 0:
        raise ValueError("none of its values is a finite number")
    low, high = finite.min(), finite.max()
    depth = next((depth for depth in DEPTHS if high < 1 << depth), None)
    if is_float and low >= 0 and high <= 1:
        scaled, how = np.rint(np.clip(np.nan_to_num(values, nan=0.0), 0, 1) * WHITE), "fractions from 0 to 1"
    elif is_float or low < 0 or depth is None:
        scaled, how = _stretched(values, low, high), f"values from {low:g} to {high:g}"
    else:
        scaled, how = values >> (depth - DEPTHS[0]), f"{depth} bits"
    if low < high and scaled.min() == scaled.max():
        scaled, how = _stretched(values, low, high), f"values from {low:g} to {high:g}"
    if how not in ("8 bits", "16 bits"):
        _say(how)
    return scaled.astype(np.uint8)


def _stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    span = float(high) - float(low) or 1.0
    shares = np.nan_to_num((values.astype(np.float64) - float(low)) / span, nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(shares.clip(0, 1) * WHITE)


def _say(how: str) -> None:
    """Tells the user once a run."""
    if not _said[0]:
        _said[0] = 1
        logger.warning(
            "pictures of more than 8 bits are scaled to 0..255 by the range of their values (the first has %s); to "
            "scale them in another way, save them with 8 bits",
            how,
        )
