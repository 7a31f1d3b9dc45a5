"""Judgments: what people chose, as Datasets of one schema."""

from hf_alignet.judgments.judgment_dataset import (
    FEATURES,
    LEVELS,
    Majority,
    Repeats,
    aggregate,
    check_judgments,
    choice_counts,
    majority,
    make_judgments,
)
from hf_alignet.judgments.levels_study import Exclusions, LevelsStudy, in_shared_sets, load_levels, trial_sets
from hf_alignet.judgments.loading import load_judgments
from hf_alignet.judgments.similarity_files import load_cichy, load_king, load_peterson, load_similarity_matrix
from hf_alignet.judgments.similarity_matrices import SimilarityMatrix
from hf_alignet.judgments.splits import (
    object_folds,
    objects_within,
    shared_triplets,
    split_by_object,
    split_by_triplet,
    triplets_within,
)
from hf_alignet.judgments.stimulus_names import image_names
from hf_alignet.judgments.things import file_name_order

__all__ = [
    "FEATURES",
    "LEVELS",
    "Exclusions",
    "LevelsStudy",
    "Majority",
    "Repeats",
    "SimilarityMatrix",
    "aggregate",
    "check_judgments",
    "choice_counts",
    "file_name_order",
    "image_names",
    "in_shared_sets",
    "load_cichy",
    "load_judgments",
    "load_king",
    "load_levels",
    "load_peterson",
    "load_similarity_matrix",
    "majority",
    "make_judgments",
    "object_folds",
    "objects_within",
    "shared_triplets",
    "split_by_object",
    "split_by_triplet",
    "trial_sets",
    "triplets_within",
]
