"""Encoders: any vision model that `AutoModel` loads, as a module that gives one embedding per image."""

from hf_alignet.encoder.context_transform import ContextTransform, open_transform
from hf_alignet.encoder.embedding import embed_dataset
from hf_alignet.encoder.export_checks import check_export, check_sharing
from hf_alignet.encoder.model import VisionEncoder
from hf_alignet.encoder.pretrained import ALIGNMENT_FILE, read_alignment
from hf_alignet.encoder.transform import AffineTransform

__all__ = [
    "ALIGNMENT_FILE",
    "AffineTransform",
    "ContextTransform",
    "VisionEncoder",
    "check_export",
    "check_sharing",
    "embed_dataset",
    "open_transform",
    "read_alignment",
]
