"""The maths of triplets that all rooms share; `products` has what needs no gradient, for many triplets."""

from hf_alignet.similarity.pairs import (
    CHANCE,
    NO_CHOICE,
    PAIRS,
    SimilarityKind,
    at_least_float32,
    check_finite,
    check_vectors,
    choice_log_probabilities,
    entropy,
    is_correct,
    odd_of_pair,
    odd_one_out,
    of_chosen_pair,
    pairwise_similarities,
    prepare_embeddings,
    triplet_similarities,
)

__all__ = [
    "CHANCE",
    "NO_CHOICE",
    "PAIRS",
    "SimilarityKind",
    "at_least_float32",
    "check_finite",
    "check_vectors",
    "choice_log_probabilities",
    "entropy",
    "is_correct",
    "odd_of_pair",
    "odd_one_out",
    "of_chosen_pair",
    "pairwise_similarities",
    "prepare_embeddings",
    "triplet_similarities",
]
