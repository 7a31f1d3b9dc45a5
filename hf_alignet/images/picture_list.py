"""Pictures in memory, or paths of image files, in place of an image dataset."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from hf_alignet.errors import InputError
from hf_alignet.images.decoding import decode_picture
from hf_alignet.images.formats import check_format

Picture = Image.Image | str | Path


class PictureList:
    """Rows that are decoded as those of a dataset are.

    Args:
        pictures: PIL images or paths, or both. A leading `~` of a path is the home directory.

    Raises:
        InputError: it is no list, an item is neither a picture nor the path of a file, or a picture cannot be loaded
            (names the row).
    """

    def __init__(self, pictures: Sequence[Picture]):
        if isinstance(pictures, Picture | Mapping):
            kind = type(pictures).__name__
            raise InputError(f"images must be a Dataset, or a list of PIL images or paths, not {kind}")
        self.rows = [_as_row(picture, row) for row, picture in enumerate(pictures)]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, rows: list[int], edge: int = 0) -> list[Image.Image]:
        """RGB pictures of some rows; for `edge` and errors see `decode_picture`."""
        return [decode_picture(self.rows[row], row, edge) for row in rows]

    @property
    def fingerprint(self) -> str:
        """A hash of the content: the pixels of the pictures, and the bytes of the files."""
        digest = hashlib.blake2b(digest_size=16)
        for row, value in enumerate(self.rows):
            if isinstance(value, Image.Image):
                picture = decode_picture(value, row)
                digest.update(repr(picture.size).encode() + picture.tobytes())
            else:
                with open(value["path"], "rb") as file:
                    digest.update(hashlib.file_digest(file, "blake2b").digest())
        return digest.hexdigest()


def _as_row(picture: Any, row: int) -> Image.Image | dict[str, Any]:
    if isinstance(picture, Image.Image):
        try:
            check_format(picture)
            picture.load()  # before worker processes start, which would share the position in its file
        except Exception as error:  # Pillow's decoders raise nearly anything on broken files
            raise InputError(f"image row {row} cannot be loaded: {error}") from error
        return picture
    if not isinstance(picture, str | Path):
        raise InputError(f"image row {row} is neither a PIL image nor a path, but {type(picture).__name__}")
    path = Path(picture).expanduser()
    if not path.is_file():
        raise InputError(f"image row {row}: there is no file {str(picture)!r}")
    return {"bytes": None, "path": str(path)}
