"""Images in: datasets and folders of pictures are opened, decoded, preprocessed, read and cached."""

from hf_alignet.images.cache import ImageCache
from hf_alignet.images.decoding import decode_picture, read_pictures, to_rgb
from hf_alignet.images.opening import IMAGE_COLUMN, as_encoded_images, load_images, write_images
from hf_alignet.images.preprocessing import Preprocessor, load_processor
from hf_alignet.images.reader import ImageReader, as_reader

__all__ = [
    "IMAGE_COLUMN",
    "ImageCache",
    "ImageReader",
    "Preprocessor",
    "as_encoded_images",
    "as_reader",
    "decode_picture",
    "load_images",
    "load_processor",
    "read_pictures",
    "to_rgb",
    "write_images",
]
