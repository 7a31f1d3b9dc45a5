"""Figures of what alignment did, and how alike models are."""

from hf_alignet.analysis.figures import (
    before_after_figure,
    benchmark_figure,
    calibration_figure,
    curves_figure,
    elbow_figure,
    save_figure,
    trade_off_figure,
)
from hf_alignet.analysis.model_similarity import linear_cka, model_similarities, model_similarities_before_and_after

__all__ = [
    "before_after_figure",
    "benchmark_figure",
    "calibration_figure",
    "curves_figure",
    "elbow_figure",
    "linear_cka",
    "model_similarities",
    "model_similarities_before_and_after",
    "save_figure",
    "trade_off_figure",
]
