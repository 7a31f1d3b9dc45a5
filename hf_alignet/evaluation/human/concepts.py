"""Which human dimensions a ridge regression can predict from a model's embeddings, for objects that were left out.

The protocol is that of Muttenthaler et al. 2023 ("Human alignment of neural network representations", section 5). The
objects make five folds. Each dimension has a ridge regression of its own, whose strength is chosen by leave-one-out
inside the training objects. The predicted dimensions then choose the odd one out, in triplets within one fold.
"""

from typing import Annotated, NamedTuple

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.odd_one_out import are_correct, odd_one_out_choices, odd_positions
from hf_alignet.evaluation.statistics.intervals import mean_metric, share_correct
from hf_alignet.judgments import object_folds
from hf_alignet.metric import Metric
from hf_alignet.ranges import Range, Seed, checked, row_numbers
from hf_alignet.similarity import SimilarityKind, check_finite

STRENGTHS = np.logspace(-1, 6, 8)
NUM_FOLDS, SEED = 5, 42


class PredictedDimensions(NamedTuple):
    """Human dimensions of n objects, each predicted by a regression that did not see the object."""

    values: np.ndarray  # (n, k) float64
    folds: np.ndarray  # (n,) number of the fold in which the object was left out
    r2: np.ndarray  # (folds, k) coefficient of determination on the left-out objects; below 0 if the mean is better


@checked
def predict_dimensions(
    embeddings: np.ndarray, human: np.ndarray, num_folds: Annotated[int, Range(2)] = NUM_FOLDS, seed: Seed = SEED
) -> PredictedDimensions:
    """Predicts human dimensions of each object by regressions that were fitted to other objects.

    Args:
        embeddings: (n, p) of the model, one row an object. They are not standardised, as in gLocal.
        human: (n, k), such as VICE's embedding of the same objects.
        num_folds: Number of folds of the objects.
        seed: Seed of the folds.

    Raises:
        InputError: the numbers of objects differ or are too small for the folds, or a number is not finite.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import r2_score

    if embeddings.ndim != 2 or human.ndim != 2 or len(embeddings) != len(human):
        raise InputError(
            f"embeddings {embeddings.shape} and human dimensions {human.shape} must be two tables of the same objects"
        )
    check_finite(embeddings)
    check_finite(human, "human dimensions")
    folds = object_folds(len(embeddings), num_folds, seed)
    x, y = embeddings.astype(np.float64), human.astype(np.float64)
    values, r2 = np.empty_like(y), np.empty((num_folds, y.shape[1]))
    for fold in range(num_folds):
        is_out = folds == fold
        ridge = RidgeCV(alphas=STRENGTHS, alpha_per_target=True).fit(x[~is_out], y[~is_out])
        values[is_out] = ridge.predict(x[is_out]).reshape(-1, y.shape[1])
        r2[fold] = r2_score(y[is_out], values[is_out], multioutput="raw_values")
    return PredictedDimensions(values, folds, r2)


def dimension_scores(predicted: PredictedDimensions) -> list[Metric]:
    """R² of each dimension, mean over folds; `n` counts objects, and the interval is Student's over folds."""
    return [mean_metric(r2, unit="folds", chance=0.0, n=len(predicted.values)) for r2 in predicted.r2.T]


@checked
def predicted_odd_one_out_accuracy(
    predicted: PredictedDimensions,
    triplets: np.ndarray,
    odd: np.ndarray,
    similarity: SimilarityKind = "cosine",
) -> Metric:
    """Odd-one-out accuracy of predicted dimensions, on triplets whose three objects were left out together.

    Args:
        predicted: from `predict_dimensions`.
        triplets: (m, 3) rows of the objects. Triplets with objects of several folds are left out.
        odd: (m,) positions that people chose.
        similarity: of predicted dimensions; `cosine` in the paper.

    Raises:
        InputError: no triplet lies within a fold, or a triplet names an object that does not exist.
    """
    triplets = row_numbers(triplets, len(predicted.folds), "the triplets", "objects")
    odd = odd_positions(odd, triplets)
    of_objects = predicted.folds[triplets]
    is_inside = (of_objects == of_objects[:, :1]).all(axis=1)
    if not is_inside.any():
        raise InputError(
            f"none of the {len(triplets)} triplets has its three objects in one of the {len(predicted.r2)} folds "
            f"(about {len(predicted.r2) ** -2:.0%} of random ones do); give more triplets, or a smaller `num_folds`"
        )
    choices = odd_one_out_choices(predicted.values, triplets[is_inside], similarity)
    return share_correct(are_correct(choices, odd[is_inside]), triplets[is_inside])
