"""The pictures of a study, as every browser shows them: upright, 8-bit RGB, WebP, without metadata.

TIFF, 16 bits a channel and CMYK are converted as for a model (see `images.decoding`). The names of the files are
numbers, so that a participant learns nothing from them, and nothing else can be asked for.
"""

from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from tqdm.auto import tqdm

from hf_alignet.collect.study_database import PICTURES, picture_file
from hf_alignet.images import read_pictures

QUALITY = 95
AT_ONCE = 32


def write_pictures(folder: Path, images: Dataset, rows: Sequence[int], edge: int, progress: bool = True) -> None:
    """Writes the pictures of some rows.

    Args:
        folder: of the study.
        images: encoded pictures, from `load_images`.
        rows: of the pictures to write; they keep these numbers.
        edge: greatest length of the longer edge in pixels; smaller pictures keep their size.
        progress: show a bar.

    Raises:
        InputError: a picture cannot be decoded (names it).
    """
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    with tqdm(desc="pictures", total=len(rows), unit="picture", disable=not progress) as bar:
        for start in range(0, len(rows), AT_ONCE):
            some = list(rows[start : start + AT_ONCE])
            for row, picture in zip(some, read_pictures(images, some), strict=True):
                picture.thumbnail((edge, edge))
                picture.save(picture_file(folder, row), "WEBP", quality=QUALITY)
            bar.update(len(some))
