"""Teachers: models of human choices, fitted to judgments."""

from hf_alignet.teacher.affine.affine_teacher import AffineTeacher
from hf_alignet.teacher.choice_likelihood import ChoiceLikelihood, observed_choices, pair_counts
from hf_alignet.teacher.embeddings import Teacher
from hf_alignet.teacher.fitting import FittedTeacher, fit_teacher
from hf_alignet.teacher.groups import GroupTransforms, fit_groups
from hf_alignet.teacher.vice import Vice

__all__ = [
    "AffineTeacher",
    "ChoiceLikelihood",
    "FittedTeacher",
    "GroupTransforms",
    "Teacher",
    "Vice",
    "fit_groups",
    "fit_teacher",
    "observed_choices",
    "pair_counts",
]
