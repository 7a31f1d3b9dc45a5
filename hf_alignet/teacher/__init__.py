"""Teachers: models of human choices, fitted to judgments."""

from hf_alignet.teacher.affine import AffineTeacher
from hf_alignet.teacher.choices import Choices, observed_choices
from hf_alignet.teacher.transform import AffineTransform

__all__ = ["AffineTeacher", "AffineTransform", "Choices", "observed_choices"]
