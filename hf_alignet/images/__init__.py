"""Images in: opens datasets, folders and lists of pictures; decodes, preprocesses, reads and caches them."""

from hf_alignet.images.cache import ImageCache
from hf_alignet.images.decoding import decode_picture, read_pictures, to_rgb
from hf_alignet.images.opening import IMAGE_COLUMN, as_encoded_images, load_images
from hf_alignet.images.picture_list import Picture, PictureList
from hf_alignet.images.preprocessing import Preprocessor, load_processor
from hf_alignet.images.reader import ImageReader, as_reader

__all__ = [
    "IMAGE_COLUMN",
    "ImageCache",
    "ImageReader",
    "Picture",
    "PictureList",
    "Preprocessor",
    "as_encoded_images",
    "as_reader",
    "decode_picture",
    "load_images",
    "load_processor",
    "read_pictures",
    "to_rgb",
]
