"""Fits affine transforms. `affine_teacher` has the estimator, the other modules its parts."""
