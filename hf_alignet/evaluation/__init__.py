"""Benchmarks: how human-like is a model? Each returns plain dicts of floats with n, chance and interval."""

from hf_alignet.evaluation.choices import choice_accuracy, choice_cross_entropy, fit_temperature, reliability
from hf_alignet.evaluation.few_shot import few_shot_accuracy
from hf_alignet.evaluation.odd_one_out import evaluate_splits, odd_one_out_accuracy
from hf_alignet.evaluation.report import comparison_table
from hf_alignet.evaluation.teachers import Predictions, base_temperature, dot_product_choices, predictors, vice_choices
from hf_alignet.metric import Metric

__all__ = [
    "Metric",
    "Predictions",
    "base_temperature",
    "choice_accuracy",
    "choice_cross_entropy",
    "comparison_table",
    "dot_product_choices",
    "evaluate_splits",
    "few_shot_accuracy",
    "fit_temperature",
    "odd_one_out_accuracy",
    "predictors",
    "reliability",
    "vice_choices",
]
