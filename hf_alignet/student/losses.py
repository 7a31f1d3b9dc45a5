"""Triplet losses: how far a student's choice probabilities are from a teacher's, or from a choice.

Each is a pure function of similarities in pair order (see `hf_alignet.similarity`), gives one value in nats per
triplet, and computes in float32, or in float64 for float64 input. Every logarithm comes from `log_softmax`, so that
losses and gradients stay finite where `log(softmax(x))` overflows.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_alignet.similarity import choice_log_probabilities, odd_of_pair

LossType = Literal["kl", "jsd", "hard"]


def triplet_kl(
    student: Tensor, teacher: Tensor, student_temperature: float = 1.0, teacher_temperature: float = 1.0
) -> Tensor:
    """KL(softmax(S'/τ') ‖ softmax(S†/τ†)): the AligNet loss (Muttenthaler et al. 2025, eq. 5).

    Args:
        student: (..., 3) similarities S† of the student.
        teacher: (..., 3) similarities S' of the teacher.
        student_temperature: τ†.
        teacher_temperature: τ'.

    Returns:
        (...) nats, at least 0.
    """
    log_q = choice_log_probabilities(student, student_temperature)
    log_p = choice_log_probabilities(teacher, teacher_temperature)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def triplet_jsd(
    student: Tensor, teacher: Tensor, student_temperature: float = 1.0, teacher_temperature: float = 1.0
) -> Tensor:
    """Mean of KL(p ‖ m) and KL(q ‖ m) with m = (p + q) / 2, the loss of the released AligNet configuration.

    Arguments as for `triplet_kl`; gives (...) nats in [0, ln 2].
    """
    log_q = choice_log_probabilities(student, student_temperature)
    log_p = choice_log_probabilities(teacher, teacher_temperature)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return 0.5 * (log_p.exp() * (log_p - log_m) + log_q.exp() * (log_q - log_m)).sum(-1)


def triplet_hard(student: Tensor, odd: Tensor, student_temperature: float = 1.0) -> Tensor:
    """Negative log-likelihood of the pair that the person kept together (eq. 1): (...) nats, at least 0.

    Arguments as for `triplet_kl`; `odd` (...) holds integers in {0, 1, 2}, the chosen odd ones out.
    """
    log_q = choice_log_probabilities(student, student_temperature)
    return -log_q.gather(-1, odd_of_pair(odd.long()).unsqueeze(-1)).squeeze(-1)
