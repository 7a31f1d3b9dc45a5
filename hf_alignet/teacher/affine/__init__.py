"""Fitting of affine transforms: `teacher` is the estimator, the other modules are its parts."""

from hf_alignet.teacher.affine.affine_teacher import AffineTeacher

__all__ = ["AffineTeacher"]
