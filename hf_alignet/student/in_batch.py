"""The loss of all triplets among the images of a batch, from two similarity matrices, without a list of triplets.

A batch of 512 images has 22 million triplets. They are computed in blocks, and of each block only sums stay: of the
loss, of what is logged, and of the gradient by pair of images. So memory does not grow with the number of triplets,
and the result is exact.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hf_alignet.student.in_batch_kernel import sums_on_gpu, works_for
from hf_alignet.student.losses import LossType

BLOCK = 1 << 18  # places in a block, of which there are some arrays at a time
BLOCK_ON_DEVICE = 1 << 22  # which takes longer to start than to compute

Three = tuple[Tensor, Tensor, Tensor]


class Totals(NamedTuple):
    """Sums over the triplets that the loss counts, each a scalar; and the gradient of the sum of losses.

    `gradient` (n, n) is that by the scaled similarities of pairs i < j of the student, and 0 elsewhere.
    """

    loss: Tensor
    agreement: Tensor
    student_entropy: Tensor
    teacher_entropy: Tensor
    number: Tensor
    gradient: Tensor


def mean_over_triplets(
    student: Tensor, teacher: Tensor, loss_type: LossType, student_temperature: float, teacher_temperature: float
) -> dict[str, Tensor]:
    """The mean loss over all triplets i < j < k, which can be differentiated by `student`; agreement and entropies.

    Args:
        student: (n, n) similarities, float32 or float64, of which those above the diagonal count.
        teacher: (n, n), the same of the teacher.
        loss_type: as in `hf_alignet.student.losses`. `hard` learns the teacher's choices; its ties do not count.
        student_temperature: τ†.
        teacher_temperature: τ'.

    Returns:
        `loss`, `agreement`, `student_entropy`, `teacher_entropy` (nats), each a scalar.
    """
    means = _MeanOverTriplets.apply(student, teacher, loss_type, student_temperature, teacher_temperature)
    return dict(zip(Totals._fields[:4], means, strict=True))


class _MeanOverTriplets(torch.autograd.Function):
    """The gradient is computed with the loss, and kept: (n, n)."""

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        loss_type: LossType,
        student_temperature: float,
        teacher_temperature: float,
    ) -> tuple[Tensor, ...]:
        with torch.autocast(student.device.type, enabled=False):
            teacher = teacher.to(student.dtype)
            totals = sum_over_triplets(student, teacher, loss_type, student_temperature, teacher_temperature)
            ctx.save_for_backward(totals.gradient / (totals.number * student_temperature))
            loss, *rest = (total / totals.number for total in totals[:4])
        ctx.mark_non_differentiable(*rest)
        return loss, *rest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        (saved,) = ctx.saved_tensors
        return gradient * saved, None, None, None, None


def sum_over_triplets(
    student: Tensor, teacher: Tensor, loss_type: LossType, student_temperature: float, teacher_temperature: float
) -> Totals:
    """The work of `mean_over_triplets`."""
    student, teacher = _mirrored(student), _mirrored(teacher)
    add_up = sums_on_gpu if works_for(student) else _sums_in_blocks
    sums, gradient = add_up(student, teacher, loss_type, student_temperature, teacher_temperature)
    loss, agreement, student_entropy, teacher_entropy, number = sums.unbind()
    return Totals(loss, agreement, student_entropy, teacher_entropy, number, gradient)


def _sums_in_blocks(
    student: Tensor, teacher: Tensor, loss_type: LossType, student_temperature: float, teacher_temperature: float
) -> tuple[Tensor, Tensor]:
    """The five sums of `Totals`, and the gradient, in blocks of some k with all i and j below them."""
    scaled = student / student_temperature, teacher / teacher_temperature
    n, block = len(student), BLOCK if student.device.type == "cpu" else BLOCK_ON_DEVICE
    gradient = torch.zeros_like(student)
    sums = student.new_zeros(5)
    place = torch.arange(n, device=student.device)
    last = 2  # the first k that is not done
    while last < n:
        first, size = last, max(1, block // (last + 1) ** 2)
        last = min(n, first + max(1, min(size, first // 4)))
        k, below = slice(first, last), slice(last - 1)
        is_triplet = (place[below, None] < place[None, below]) & (place[None, below] < place[k, None, None])
        values, by_pair = _block(
            _pairs(student, k, below),
            _pairs(teacher, k, below),
            _pairs(scaled[0], k, below),
            _pairs(scaled[1], k, below),
            is_triplet,
            loss_type,
        )
        sums += values
        gradient[below, below] += by_pair[0].sum(0)
        gradient[below, k] += (by_pair[1].sum(2) + by_pair[2].sum(1)).T
    return sums, gradient


def _mirrored(matrix: Tensor) -> Tensor:
    """What is above the diagonal, and its mirror image below: a matrix product need not be symmetric to the bit."""
    upper = matrix.triu(1)
    return upper + upper.T


def _pairs(matrix: Tensor, k: slice, below: slice) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs ij, ik, jk of a block (k, i, j), which can be broadcast."""
    rows = matrix[k, below]
    return matrix[below, below][None], rows[:, :, None], rows[:, None, :]


def _block(
    student: Three, teacher: Three, student_scaled: Three, teacher_scaled: Three, counts: Tensor, loss_type: LossType
) -> tuple[Tensor, Three]:
    """The five sums of a block, and its gradient by each of the three pairs; 0 for a place that does not count."""
    right, chosen = _is_largest(student), _is_largest(teacher)
    if loss_type == "hard":
        counts = counts & (chosen[0] | chosen[1] | chosen[2])
    agrees = (right[0] & chosen[0]) | (right[1] & chosen[1]) | (right[2] & chosen[2])
    (log_q, q), (log_p, p) = _softmax(student_scaled), _softmax(teacher_scaled)
    if loss_type == "kl":
        loss = _sum(p, [a - b for a, b in zip(log_p, log_q, strict=True)])
        slopes = [a - b for a, b in zip(q, p, strict=True)]
    elif loss_type == "hard":
        kept = [pair.to(q[0].dtype) for pair in chosen]
        loss = -_sum(kept, log_q)
        slopes = [a - b for a, b in zip(q, kept, strict=True)]
    else:
        log_m = [torch.logaddexp(a, b) - math.log(2) for a, b in zip(log_p, log_q, strict=True)]
        by_q = [0.5 * (a - m) for a, m in zip(log_q, log_m, strict=True)]
        of_q = _sum(q, by_q)
        loss = of_q + 0.5 * _sum(p, [a - m for a, m in zip(log_p, log_m, strict=True)])
        slopes = [a * (b - of_q) for a, b in zip(q, by_q, strict=True)]
    sums = [(counts * value).sum() for value in (loss, agrees, -_sum(q, log_q), -_sum(p, log_p))]
    a, b, c = (counts * slope for slope in slopes)
    return torch.stack([*sums, counts.sum()]), (a, b, c)


def _is_largest(pairs: Three) -> Three:
    """Whether each pair is the only most similar one."""
    a, b, c = pairs
    return (a > b) & (a > c), (b > a) & (b > c), (c > a) & (c > b)


def _softmax(pairs: Three) -> tuple[list[Tensor], list[Tensor]]:
    """Logarithms of the choice probabilities, and these themselves."""
    a, b, c = pairs
    largest = torch.maximum(torch.maximum(a, b), c)
    logits = [pair - largest for pair in pairs]
    powers = [logit.exp() for logit in logits]
    total = powers[0] + powers[1] + powers[2]
    log_total = total.log()
    return [logit - log_total for logit in logits], [power / total for power in powers]


def _sum(weights: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
    return weights[0] * values[0] + weights[1] * values[1] + weights[2] * values[2]
