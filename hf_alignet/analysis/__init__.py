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
from hf_alignet.analysis.usefulness_figures import (
    downstream_before_after_figure,
    gains_figure,
    severity_figure,
    shots_figure,
)

__all__ = [
    "before_after_figure",
    "benchmark_figure",
    "calibration_figure",
    "curves_figure",
    "downstream_before_after_figure",
    "elbow_figure",
    "gains_figure",
    "linear_cka",
    "model_similarities",
    "model_similarities_before_and_after",
    "save_figure",
    "severity_figure",
    "shots_figure",
    "trade_off_figure",
]
