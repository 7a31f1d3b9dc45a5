"""Turns encoded pictures into RGB pictures, or raises an error that names the row."""

import contextlib
import warnings
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image, ImageOps

from hf_alignet.errors import InputError
from hf_alignet.images.formats import open_picture
from hf_alignet.images.opening import IMAGE_COLUMN
from hf_alignet.images.pixel_depth import is_deep, load_deep_colours, to_eight_bits


def read_pictures(encoded: Dataset, rows: list[int], edge: int = 0) -> list[Image.Image]:
    """RGB pictures of some rows of a dataset from `as_encoded_images`; for `edge` and errors see `decode_picture`."""
    if len(encoded.column_names) > 1:
        encoded = encoded.select_columns(IMAGE_COLUMN)
    column = encoded[rows][IMAGE_COLUMN]
    return [decode_picture(value, row, edge) for value, row in zip(column, rows, strict=True)]


def decode_picture(value: dict[str, Any] | Image.Image, row: int, edge: int = 0) -> Image.Image:
    """One RGB picture, upright; of several frames the first one.

    Args:
        value: `{"bytes", "path"}`, or a picture in memory.
        row: for messages.
        edge: in pixels, that the shorter edge of the picture, or both, will be resized to. A JPEG file whose edges are
            at least four times as long is decoded at a half, a quarter or an eighth of its size, at least twice as
            long still: the resized pixels differ by less than half a level of 255 on average, and a photograph of
            4000 x 3000 pixels takes a sixth of the time. 0 decodes at full size.

    Raises:
        InputError: it cannot be decoded, or has more pixels than Pillow reads (179 million, twice
            `PIL.Image.MAX_IMAGE_PIXELS`); names the row and the file.
    """
    path = value.get("path") if isinstance(value, dict) else None
    name = f" ({path})" if path else ""
    try:
        with warnings.catch_warnings():
            # Pillow's warnings name no file, and such pictures decode all the same
            warnings.simplefilter("ignore")
            with _opened(value) as picture:
                if edge and isinstance(value, dict):
                    picture.draft(picture.mode, (2 * edge, 2 * edge))  # which only JPEG files heed
                load_deep_colours(picture, partial(_opened, value))
                return to_rgb(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError as error:
        sizes = str(error).partition(",")[0]
        raise InputError(f"image row {row}{name} is too large: {sizes}; make it smaller") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files
        raise InputError(f"image row {row}{name} cannot be decoded: {error}") from error


def _opened(value: dict[str, Any] | Image.Image) -> contextlib.AbstractContextManager[Image.Image]:
    if isinstance(value, Image.Image):
        return contextlib.nullcontext(value)  # it stays open: it belongs to the user
    return open_picture(value["bytes"] if value["bytes"] is not None else value["path"])


def to_rgb(picture: Image.Image) -> Image.Image:
    """RGB as a person would see it: transparency on white, deep grey scaled to 8 bits (see `pixel_depth`)."""
    if is_deep(picture):  # Pillow alone would clip
        picture = Image.fromarray(to_eight_bits(np.asarray(picture)))
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.new("RGBA", layer.size, "white")
        picture.alpha_composite(layer)
    return picture if picture.mode == "RGB" else picture.convert("RGB")  # which would copy it
