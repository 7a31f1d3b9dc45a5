"""What cameras and editors write into pictures, and nobody sees: the place, the people, the camera."""

import io
from collections import Counter
from pathlib import Path

from PIL import ExifTags, Image

from hf_alignet.hub.transport.file_formats import PICTURES, parquet_values

FORMATS = [*dict.fromkeys(PICTURES.values()), "TIFF", "MPO"]
MARKS = (b"Exif\0", b"eXIf", b"EXIF", b"II*\0", b"MM\0*", b"http://ns.adobe.com/xap/")  # of EXIF and XMP
LARGEST = 256_000_000  # bytes
PEOPLE = (ExifTags.Base.Artist, ExifTags.Base.XPAuthor, ExifTags.Base.CameraOwnerName)
SERIAL_NUMBERS = (ExifTags.Base.BodySerialNumber, ExifTags.Base.LensSerialNumber)


def count_camera_data(file: Path) -> Counter[str]:
    """How many pictures in a file, a picture or a parquet file, tell a place, a person, or the number of a camera."""
    if file.suffix.lower() in PICTURES:
        return Counter(_told(file.read_bytes())) if file.stat().st_size < LARGEST else Counter()
    counted: Counter[str] = Counter()
    if file.suffix == ".parquet":
        for values in parquet_values(file, only_bytes=True):
            for value in values.drop_null():
                counted.update(_told(value.as_py()))
    return counted


def _told(content: bytes) -> set[str]:
    if not any(mark in content for mark in MARKS):
        return set()
    told = {"a place"} if b"exif:GPSL" in content else set()
    told |= {"a person"} if b"dc:creator" in content else set()
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            exif = picture.getexif()
            camera = exif.get_ifd(ExifTags.IFD.Exif)
            every = {**camera, **exif}
            told |= {"a place"} if exif.get_ifd(ExifTags.IFD.GPSInfo) else set()
    except (OSError, ValueError, SyntaxError, KeyError, TypeError, Image.DecompressionBombError):
        return told  # others check whether it is a picture
    told |= {"a person"} if any(every.get(tag) for tag in PEOPLE) else set()
    return told | ({"the number of a camera"} if any(every.get(tag) for tag in SERIAL_NUMBERS) else set())
