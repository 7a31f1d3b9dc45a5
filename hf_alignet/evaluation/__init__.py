"""Benchmarks: how human-like, and how useful, is a model? Each gives plain dicts with n, chance and interval."""

from hf_alignet.evaluation.downstream.anomaly import anomaly
from hf_alignet.evaluation.downstream.breeds import breeds
from hf_alignet.evaluation.downstream.few_shot import few_shot_accuracy
from hf_alignet.evaluation.downstream.hierarchy import Hierarchy
from hf_alignet.evaluation.downstream.labelled import Labelled
from hf_alignet.evaluation.downstream.retrieval import retrieval
from hf_alignet.evaluation.downstream.robustness import corruption_robustness
from hf_alignet.evaluation.downstream.shift import shift
from hf_alignet.evaluation.downstream.shots import few_shot, linear_probe, mlp_head
from hf_alignet.evaluation.human.agreement import agreement, agreement_table
from hf_alignet.evaluation.human.breakdown import accuracy_by_category, accuracy_by_group, leading_dimensions
from hf_alignet.evaluation.human.choices import choice_accuracy, choice_cross_entropy, human_model_divergence
from hf_alignet.evaluation.human.concepts import (
    PredictedDimensions,
    dimension_scores,
    predict_dimensions,
    predicted_odd_one_out_accuracy,
)
from hf_alignet.evaluation.human.levels import LevelScore, level_metrics, level_scores, select_level
from hf_alignet.evaluation.human.noise_ceiling import (
    leave_one_out,
    modal_share,
    noise_ceiling,
    noise_ceilings,
    noise_ceilings_from_shares,
)
from hf_alignet.evaluation.human.odd_one_out import (
    are_correct,
    evaluate_splits,
    odd_one_out_accuracy,
    odd_one_out_choices,
)
from hf_alignet.evaluation.human.rsa import (
    RsmCorrelation,
    compare_rsms,
    correlate_rsms,
    permutation_p_value,
    rsa_noise_ceiling,
    rsa_score,
)
from hf_alignet.evaluation.human.rsm import Rsm
from hf_alignet.evaluation.human.teacher_predictions import (
    Predictions,
    base_temperature,
    dot_product_choices,
    predictors,
    vice_choices,
)
from hf_alignet.evaluation.human.uncertainty import Uncertainty, choice_entropies, evaluate_uncertainty
from hf_alignet.evaluation.statistics.calibration import expected_calibration_error, fit_temperature, reliability
from hf_alignet.evaluation.statistics.changes import change, changes, repeated_measures, with_changes
from hf_alignet.evaluation.statistics.correlations import Correlation, spearman
from hf_alignet.evaluation.statistics.intervals import share_correct

__all__ = [
    "Correlation",
    "Hierarchy",
    "Labelled",
    "LevelScore",
    "PredictedDimensions",
    "Predictions",
    "Rsm",
    "RsmCorrelation",
    "Uncertainty",
    "accuracy_by_category",
    "accuracy_by_group",
    "agreement",
    "agreement_table",
    "anomaly",
    "are_correct",
    "base_temperature",
    "breeds",
    "change",
    "changes",
    "choice_accuracy",
    "choice_cross_entropy",
    "choice_entropies",
    "compare_rsms",
    "correlate_rsms",
    "corruption_robustness",
    "dimension_scores",
    "dot_product_choices",
    "evaluate_splits",
    "evaluate_uncertainty",
    "expected_calibration_error",
    "few_shot",
    "few_shot_accuracy",
    "fit_temperature",
    "human_model_divergence",
    "leading_dimensions",
    "leave_one_out",
    "level_metrics",
    "level_scores",
    "linear_probe",
    "mlp_head",
    "modal_share",
    "noise_ceiling",
    "noise_ceilings",
    "noise_ceilings_from_shares",
    "odd_one_out_accuracy",
    "odd_one_out_choices",
    "permutation_p_value",
    "predict_dimensions",
    "predicted_odd_one_out_accuracy",
    "predictors",
    "reliability",
    "repeated_measures",
    "retrieval",
    "rsa_noise_ceiling",
    "rsa_score",
    "select_level",
    "share_correct",
    "shift",
    "spearman",
    "vice_choices",
    "with_changes",
]
