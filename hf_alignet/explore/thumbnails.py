"""Small pictures of a dataset, made when somebody first looks at them, and uploaded pictures, read within limits."""

import base64
import io
from functools import lru_cache

from datasets import Dataset
from PIL import Image

from hf_alignet.errors import InputError
from hf_alignet.images.decoding import decode_picture, read_pictures
from hf_alignet.images.formats import open_picture
from hf_alignet.images.opening import IMAGE_COLUMN, as_encoded_images
from hf_alignet.images.picture_files import content_fingerprint

EDGE = 192  # pixels
KEPT = 4096  # in memory, some kB each
LARGEST_UPLOAD = 20_000_000  # bytes
MOST_PIXELS = 50_000_000  # of an upload


class Thumbnails:
    """Of the pictures of a dataset, and of no other file.

    Args:
        images: from `load_images`.
    """

    def __init__(self, images: Dataset):
        self.key = content_fingerprint(images)[:16]  # browsers keep pictures by it
        self.number = len(images)
        self._encoded = as_encoded_images(images).select_columns(IMAGE_COLUMN)
        self._kept = lru_cache(KEPT)(self._make)

    def jpeg(self, row: int) -> bytes | None:
        """One as a JPEG file; None if there is no such row, or its picture cannot be decoded."""
        if not 0 <= row < self.number:
            return None
        try:
            return self._kept(row)
        except InputError:
            return None

    def _make(self, row: int) -> bytes:
        (picture,) = read_pictures(self._encoded, [row], EDGE)
        return as_jpeg(picture)


def as_jpeg(picture: Image.Image) -> bytes:
    """A copy whose longer edge has at most 192 pixels, as a JPEG file without metadata."""
    small = picture.copy()
    small.thumbnail((EDGE, EDGE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=88)
    return file.getvalue()


def as_address(picture: Image.Image) -> str:
    """The small copy as an address that holds it, for a page."""
    return f"data:image/jpeg;base64,{base64.b64encode(as_jpeg(picture)).decode()}"


def read_upload(content: bytes) -> Image.Image:
    """The RGB picture in a file that a visitor sent.

    Raises:
        InputError: it has more than 20 MB or 50 million pixels, or is no picture in a format that we open.
    """
    if len(content) > LARGEST_UPLOAD:
        raise InputError(f"the picture has {len(content) / 1e6:.0f} MB; the most is {LARGEST_UPLOAD / 1e6:.0f} MB")
    try:
        with open_picture(content) as picture:
            width, height = picture.size
    except Exception as error:  # Pillow's readers raise nearly anything on broken files
        raise InputError(f"the file cannot be opened: {error}") from error
    if width * height > MOST_PIXELS:
        raise InputError(f"the picture has {width} x {height} pixels; the most is {MOST_PIXELS / 1e6:.0f} million")
    try:
        return decode_picture({"bytes": content, "path": None}, 0)
    except InputError as error:
        raise InputError(str(error).replace("image row 0", "the picture")) from error
