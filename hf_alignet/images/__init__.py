"""Images in: opens datasets and folders of pictures, or texts; decodes, preprocesses, reads and caches them."""

from hf_alignet.images.cache import ImageCache
from hf_alignet.images.decoding import decode_picture, read_pictures, to_rgb
from hf_alignet.images.opening import IMAGE_COLUMN, as_encoded_images, load_images
from hf_alignet.images.picture_list import Picture, PictureList
from hf_alignet.images.preprocessing import Preprocessor, load_processor
from hf_alignet.images.reader import ImageReader, Reader, TextReader, as_reader
from hf_alignet.images.tokens import TextPreprocessor, load_tokenizer

__all__ = [
    "IMAGE_COLUMN",
    "ImageCache",
    "ImageReader",
    "Picture",
    "PictureList",
    "Preprocessor",
    "Reader",
    "TextPreprocessor",
    "TextReader",
    "as_encoded_images",
    "as_reader",
    "decode_picture",
    "load_images",
    "load_processor",
    "load_tokenizer",
    "read_pictures",
    "to_rgb",
]
