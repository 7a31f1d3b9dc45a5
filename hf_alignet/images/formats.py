"""The formats of pictures that are opened, and their suffixes. Pillow gets this list and tries no other format.

EPS, PDF and the like are programs or documents that other software would run, so they are not in it. HEIC and JPEG XL
are read where the plug-in of Pillow for them is installed: pillow-heif, pillow-jxl-plugin.
"""

import contextlib
import importlib
import io
import os
import stat

from PIL import Image, UnidentifiedImageError

FORMATS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".mpo",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heics", ".heif", ".heifs", ".hif"),
    "JXL": (".jxl",),
    "DDS": (".dds",),
    "ICO": (".ico",),
    "PCX": (".pcx",),
    "PSD": (".psd",),
    "QOI": (".qoi",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
    "TGA": (".tga", ".icb", ".vda", ".vst"),  # last: its files have no mark at the beginning
}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
PLUG_INS = {"HEIF": ("pillow_heif.HeifImagePlugin", "pillow-heif"), "JXL": ("pillow_jxl", "pillow-jxl-plugin")}
for module, _ in PLUG_INS.values():
    with contextlib.suppress(ImportError):
        importlib.import_module(module)  # which registers the format
Image.init()
# What a file begins with, from the given place on, and what it is then
MARKS = (
    (4, b"ftypavi", "AVIF"),
    (4, b"ftyp", "HEIF"),
    (0, b"\xff\x0a", "JXL"),
    (4, b"JXL ", "JXL"),
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "SVG"),
)
START = 16  # bytes that show a mark


def is_picture_name(name: str) -> bool:
    """Whether a file name has the suffix of a picture, in any case."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def regular_file(path: str) -> str:
    """The same path; OSError if there is no file, or another thing, such as a pipe, which would wait for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is no regular file")
    return path


def open_picture(content: bytes | str) -> Image.Image:
    """The picture in bytes or in a regular file, not decoded yet.

    Raises:
        OSError: it is no regular file, or none of the `FORMATS`; the message says what it is instead.
    """
    try:
        file = io.BytesIO(content) if isinstance(content, bytes) else regular_file(content)
        return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    except UnidentifiedImageError as error:  # its own message has an address in memory
        raise OSError(_what(content)) from error


def check_format(picture: Image.Image) -> None:
    """Raises an OSError if a picture that the user opened is in another format: Pillow would run a program on it."""
    if getattr(picture, "format", None) not in (None, *FORMATS):
        raise OSError(_advice(str(picture.format)))


def _what(content: bytes | str) -> str:
    with io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb") as file:
        start = file.read(START)
    found = next((kind for place, mark, kind in MARKS if start[place:].startswith(mark)), None)
    return "it is no picture in a known format" if found is None else _advice(found)


def _advice(kind: str) -> str:
    if kind in PLUG_INS and kind not in Image.OPEN:
        return f"it is {kind}, which needs a plug-in: pip install {PLUG_INS[kind][1]}; or save it as PNG or JPEG"
    if kind in FORMATS:
        return f"it is {kind} that Pillow cannot read here; save it as PNG or JPEG"
    return f"it is {kind}, which is not opened; save it as PNG or JPEG"
