"""The temperature at which one set of similarities is as undecided as another."""

import math

import scipy
import torch
from torch import Tensor

from hf_alignet.errors import InputError
from hf_alignet.similarity.pairs import choice_log_probabilities, entropy

LOG_RANGE = 20.0  # temperatures from e^-20 to e^20 times the spread of the similarities


def match_entropy(student: Tensor, teacher: Tensor, teacher_temperature: float = 1.0) -> float:
    """The τ† at which the choices of student and teacher have the same mean entropy.

    The mean entropy of `softmax(S†/τ†)` over triplets grows with τ† from 0 to ln 3, so that it has one solution.
    The similarities, of the student before training and of the teacher, are (n, 3).

    Raises:
        InputError: the teacher is certain of every triplet or of none, or the student finds all pairs equally similar.
    """
    target = entropy(choice_log_probabilities(teacher.double(), teacher_temperature)).mean().item()

    def excess(log_temperature: float) -> float:
        return entropy(choice_log_probabilities(student.double(), math.exp(log_temperature))).mean().item() - target

    low, high = log_bounds(student)
    if excess(low) >= 0 or excess(high) <= 0:
        raise InputError(
            f"no student temperature gives the teacher's mean entropy of {target:.4f} nats (ln 3 = 1.0986 is chance); "
            "check the teacher's similarities and `teacher_temperature`, or set `student_temperature` to a number"
        )
    return math.exp(scipy.optimize.brentq(excess, low, high, xtol=1e-6))


def log_bounds(student: Tensor) -> tuple[float, float]:
    """Of the logarithm of a temperature that is searched for similarities (n, 3); InputError if they all are equal."""
    spread = torch.std(student.double(), dim=-1).mean().item()
    if not math.isfinite(spread) or spread == 0:
        raise InputError(
            f"the student's similarities do not differ within triplets (spread {spread}): is it collapsed?"
        )
    return math.log(spread) - LOG_RANGE, math.log(spread) + LOG_RANGE
