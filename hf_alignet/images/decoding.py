"""Encoded pictures become RGB pictures, or an error that names the row."""

import io
import warnings
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image, ImageOps, UnidentifiedImageError

from hf_alignet.errors import InputError
from hf_alignet.images.opening import IMAGE_COLUMN


def read_pictures(encoded: Dataset, rows: list[int]) -> list[Image.Image]:
    """RGB pictures of the given rows of a dataset from `as_encoded_images`, each decoded here and now."""
    if len(encoded.column_names) > 1:
        encoded = encoded.select_columns(IMAGE_COLUMN)
    column = encoded[rows][IMAGE_COLUMN]
    return [decode_picture(value, row) for value, row in zip(column, rows, strict=True)]


def decode_picture(value: dict[str, Any], row: int) -> Image.Image:
    """One RGB picture, upright, from `{"bytes", "path"}`; the first frame of several.

    Raises:
        InputError: it cannot be decoded, or has more pixels than Pillow reads (179 million, twice
            `PIL.Image.MAX_IMAGE_PIXELS`); names the row and the file.
    """
    name = f" ({value['path']})" if value and value.get("path") else ""
    try:
        with warnings.catch_warnings():
            # Pillow's name no file, and come with pictures that decode all the same
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(value["bytes"]) if value["bytes"] is not None else value["path"]) as picture:
                picture.load()
                return to_rgb(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError as error:
        sizes = str(error).partition(",")[0]
        raise InputError(f"image row {row}{name} is too large: {sizes}; make it smaller") from error
    except UnidentifiedImageError as error:  # its own message names an address in memory
        raise InputError(f"image row {row}{name} cannot be decoded: it is no picture in a known format") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files
        raise InputError(f"image row {row}{name} cannot be decoded: {error}") from error


def to_rgb(picture: Image.Image) -> Image.Image:
    """RGB as a person would see it: transparency on white, 16-bit grey scaled (Pillow alone would clip it)."""
    if picture.mode.startswith("I"):  # I is the mode of 16-bit PNG in older versions of Pillow
        picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.new("RGBA", layer.size, "white")
        picture.alpha_composite(layer)
    return picture.convert("RGB")
