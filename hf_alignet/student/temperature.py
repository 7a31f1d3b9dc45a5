"""Picks the student's temperature τ† from data, instead of a constant that fits one scale of embeddings.

The paper found τ† = 100 by grid search for the dot products of one model. Dot products differ between models by
orders of magnitude, and a τ† of the wrong order leaves the choice probabilities flat or saturated, with next to no
gradient.
"""

import math

import torch
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor

from hf_alignet.errors import InputError
from hf_alignet.similarity import choice_log_probabilities, entropy
from hf_alignet.student.losses import triplet_hard

LOG_RANGE = 20.0  # temperatures from e^-20 to e^20 times the spread of the similarities


def match_entropy(student: Tensor, teacher: Tensor, teacher_temperature: float = 1.0) -> float:
    """The τ† at which the student is, on average, as undecided as the teacher.

    The mean entropy of `softmax(S†/τ†)` over triplets grows with τ† from 0 to ln 3, so that the solution is unique.

    Args:
        student: (n, 3) similarities of the student before training.
        teacher: (n, 3) similarities of the teacher.
        teacher_temperature: τ'.

    Raises:
        InputError: the teacher is certain of every triplet or of none, or the student finds all pairs equally similar.
    """
    target = entropy(choice_log_probabilities(teacher.double(), teacher_temperature)).mean().item()

    def excess(log_temperature: float) -> float:
        return entropy(choice_log_probabilities(student.double(), math.exp(log_temperature))).mean().item() - target

    low, high = _log_bounds(student)
    if excess(low) >= 0 or excess(high) <= 0:
        raise InputError(
            f"no student temperature gives the teacher's mean entropy of {target:.4f} nats (ln 3 = 1.0986 is chance); "
            "check the teacher's similarities and --teacher_temperature, or set --student_temperature to a number"
        )
    return math.exp(brentq(excess, low, high, xtol=1e-6))


def maximize_likelihood(student: Tensor, odd: Tensor) -> float:
    """The τ† that makes given choices most likely: for the `hard` loss, whose teacher has no entropy to match.

    Searched within a factor of ten of the spread of the student's similarities. Outside, next to nothing could be
    learned, and a student that agrees with the choices no better than chance would be sent to infinity.

    Args:
        student: (n, 3) similarities of the student before training.
        odd: (n,) chosen odd ones out.
    """

    def loss(log_temperature: float) -> float:
        return triplet_hard(student.double(), odd, math.exp(log_temperature)).mean().item()

    middle = sum(_log_bounds(student)) / 2
    bounds = (middle - math.log(10), middle + math.log(10))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def _log_bounds(student: Tensor) -> tuple[float, float]:
    spread = torch.std(student.double(), dim=-1).mean().item()
    if not math.isfinite(spread) or spread == 0:
        raise InputError(
            f"the student's similarities do not differ within triplets (mean spread {spread}); is it collapsed?"
        )
    return math.log(spread) - LOG_RANGE, math.log(spread) + LOG_RANGE
