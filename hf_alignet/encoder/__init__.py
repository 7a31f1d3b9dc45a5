"""Encoders: any vision or text model that `AutoModel` loads, as a module: one embedding for a picture or a text."""

from hf_alignet.encoder.context_transform import ContextTransform, open_transform
from hf_alignet.encoder.embedding import embed_dataset
from hf_alignet.encoder.encoder_opening import open_encoder
from hf_alignet.encoder.export_checks import check_export, check_sharing
from hf_alignet.encoder.model import Encoder
from hf_alignet.encoder.pretrained import ALIGNMENT_FILE, read_alignment
from hf_alignet.encoder.text_model import TextEncoder
from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.encoder.vision_model import VisionEncoder

__all__ = [
    "ALIGNMENT_FILE",
    "AffineTransform",
    "ContextTransform",
    "Encoder",
    "TextEncoder",
    "VisionEncoder",
    "check_export",
    "check_sharing",
    "embed_dataset",
    "open_encoder",
    "open_transform",
    "read_alignment",
]
