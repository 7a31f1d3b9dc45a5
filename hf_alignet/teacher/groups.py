"""People differ: one transform for each participant, or group of them, near the one of all (partial pooling).

A group weighs the leading dimensions of the common transform anew: s_ij = z_i·z_j + sum_d (w_d - 1) x_id x_jd. The
logarithms of its weights have the penalty λ ‖log w‖², which counts less beside many choices of a group than few. λ
is the largest within a standard error of the best for choices of the same people that were held out; at infinite λ all
are alike. Weights do not depend on the
context, so each group has an `AffineTransform` of its own.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from datasets import Dataset

from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.errors import InputError
from hf_alignet.judgments.judgment_dataset import PARTICIPANT, without_catch_trials
from hf_alignet.judgments.rows import arrow_column, check_columns, select_rows
from hf_alignet.judgments.splits import random_share
from hf_alignet.ranges import Count, Positive, Seed, checked
from hf_alignet.similarity.products import measured_similarities
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.affine.selection import cross_entropies
from hf_alignet.teacher.choice_likelihood import observed_choices
from hf_alignet.teacher.weighed import Weighed, minimised, strongest_within_error

REGULARIZATIONS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # in choices: the penalty beside the sum over choices in nats
HELD_OUT_SHARE = 0.2  # of the choices of each group
FEWEST_CHOICES = 10  # of a group, below which it has the common transform


@dataclass(frozen=True)
class GroupTransforms:
    """The transform of each group by its name, that of all, and how well each λ predicts choices held out."""

    common: AffineTransform
    of_groups: dict[str, AffineTransform]
    regularization: float  # λ; infinite where no difference between groups helps
    selection: pd.DataFrame  # `regularization`, `cross_entropy` in nats


@checked
def fit_groups(
    features: np.ndarray,
    judgments: Dataset,
    common: AffineTransform,
    group_column: str = PARTICIPANT,
    *,
    regularization: Positive | None = None,
    num_dimensions: Count = 20,
    seed: Seed = 42,
) -> GroupTransforms:
    """Fits a transform for each group of people, near a common one.

    Args:
        features: (n, p) of the stimuli, whose rows the judgments name.
        judgments: people's choices, one a row, with a column of groups, such as `participant`.
        common: the transform of all, from `fit_teacher`. To choose λ well it should not know many of these choices by
            heart; an affine transform of thousands does not.
        group_column: column of text that says whose choice it is. Rows without one are left out.
        regularization: λ. None chooses it, or no differences at all, by a fifth of the choices of each group.
        num_dimensions: greatest number of dimensions that groups weigh.
        seed: seed of the choices held out.

    Raises:
        InputError: the column is missing, names fewer than two groups, or no group has 10 choices.
        RunError: a fit diverged.

    Example:
        >>> fitted = fit_groups(features, judgments, teacher.transform)  # doctest: +SKIP
        >>> fitted.of_groups["anna"].save_pretrained("outputs/anna")  # doctest: +SKIP
    """
    judgments = without_catch_trials(judgments)
    check_columns(judgments, (group_column,), "judgments")
    names = np.array(arrow_column(judgments, group_column).cast("string").to_pylist(), object)
    known = sorted({name for name in names if name is not None})
    if len(known) < 2:
        raise InputError(f"the column {group_column!r} names {len(known)} groups: two or more can differ")
    parts = {name: select_rows(judgments, names == name) for name in known}
    parts = {name: part for name, part in parts.items() if len(part) >= FEWEST_CHOICES}
    if not parts:
        raise InputError(f"no group of the column {group_column!r} has {FEWEST_CHOICES} choices")
    losses: dict[float, np.ndarray] = {}
    weights = np.ones(0)
    if regularization is None:
        losses, weights = _tried(features, parts, common, num_dimensions, seed)
        regularization = strongest_within_error(losses, weights)
    rows = [(tried, float(np.average(each, weights=weights))) for tried, each in losses.items()]
    table = pd.DataFrame(rows, columns=["regularization", "cross_entropy"])
    fitted = {
        name: fit_group(common, _weighed(common, _data(features, part), num_dimensions), regularization)
        for name, part in parts.items()
    }
    return GroupTransforms(common, dict.fromkeys(known, common) | fitted, regularization, table)


def fit_group(common: AffineTransform, weighed: Weighed, regularization: float) -> AffineTransform:
    """The transform of one group, by its choices under the common one, which it is at infinite λ."""
    if np.isinf(regularization):
        return common
    rows = np.zeros((len(weighed.triplets), 3), np.int64)  # one row of weights for all images
    penalty = regularization / weighed.num_choices

    def objective(log_weights: np.ndarray) -> tuple[float, np.ndarray]:
        value, slopes = weighed.value_and_gradient(log_weights[None], rows)
        return value + penalty * float(log_weights @ log_weights), slopes[0] + 2 * penalty * log_weights

    log_weights = minimised(objective, np.zeros(weighed.leading.shape[1]))
    # z (1 + V diag(√w - 1) V') has the weighed dot products
    factor = np.eye(common.dim) + (weighed.axes * np.expm1(log_weights / 2)) @ weighed.axes.T
    weight, bias = common.weight.double().numpy() @ factor, common.bias.double().numpy() @ factor
    info = common.info | {"method": "groups", "group_regularization": regularization}
    return AffineTransform(weight, bias, common.mean, common.std, info)


def _weighed(common: AffineTransform, data: AffineData, num_dimensions: int) -> Weighed:
    return Weighed.of(common, data.features, data.triplets, data.probabilities, data.weights, num_dimensions)


def _data(features: np.ndarray, judgments: Dataset) -> AffineData:
    return AffineData.checked(features, *observed_choices(judgments))


def _tried(
    features: np.ndarray, parts: dict[str, Dataset], common: AffineTransform, num_dimensions: int, seed: int
) -> tuple[dict[float, np.ndarray], np.ndarray]:
    """By λ, cross-entropies (m,) of the held-out triplets of all groups; and their numbers of choices (m,)."""
    losses: dict[float, list[np.ndarray]] = {penalty: [] for penalty in (*REGULARIZATIONS, np.inf)}
    weights = []
    for number, part in enumerate(parts.values()):
        is_held_out = random_share(len(part), HELD_OUT_SHARE, (seed + number) % 2**32)
        fitted, held_out = (_data(features, select_rows(part, mask)) for mask in (~is_held_out, is_held_out))
        weights.append(held_out.weights)
        weighed = _weighed(common, fitted, num_dimensions)
        for regularization, found in losses.items():
            transform = fit_group(common, weighed, regularization)
            similarities = measured_similarities(transform(features), held_out.triplets)
            found.append(cross_entropies(similarities, held_out))
    return {penalty: np.concatenate(each) for penalty, each in losses.items()}, np.concatenate(weights)
