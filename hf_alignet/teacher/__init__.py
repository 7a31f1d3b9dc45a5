"""Teachers: models of human choices, fitted to judgments."""

from hf_alignet.teacher.transform import AffineTransform

__all__ = ["AffineTransform"]
