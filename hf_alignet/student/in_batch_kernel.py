"""The sums of `hf_alignet.student.in_batch` as one kernel for NVIDIA GPUs, where arrays of blocks would cost more.

A program has a tile of pairs (i, j) and goes through some third images k. It adds up the gradient by its pairs, of all
k, and the other sums, of k > j, so that each triplet counts once. No two programs add to one place: the result is the
same each time.
"""

import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor

from hf_alignet.student.losses import LossType

try:
    import triton
    import triton.language as tl
    from triton.language import constexpr
except ImportError:  # it comes with PyTorch for CUDA
    triton = tl = constexpr = None

TILE = 16  # pairs of a program: its square
SPLIT = 4  # programs that share the third images of a tile
WARPS = 4
KINDS: dict[LossType, int] = {"kl": 0, "jsd": 1, "hard": 2}

logger = logging.getLogger(__name__)


def works_for(matrix: Tensor) -> bool:
    """Whether the kernel takes such a matrix, and can be built on this machine."""
    return matrix.dtype == torch.float32 and matrix.is_cuda and _can_be_built(matrix.device)


@cache
def _can_be_built(device: torch.device) -> bool:
    if triton is None:
        return False
    try:
        sums_on_gpu(torch.zeros(3, 3, device=device), torch.zeros(3, 3, device=device), "kl", 1.0, 1.0)
    except Exception as error:  # of any kind: it needs a C compiler and a GPU that Triton knows
        logger.info("triplets of a batch are computed in blocks, as their kernel cannot be built: %s", error)
        return False
    return True


def sums_on_gpu(
    student: Tensor, teacher: Tensor, loss_type: LossType, student_temperature: float, teacher_temperature: float
) -> tuple[Tensor, Tensor]:
    """The five sums of `Totals` (5,), and the gradient (n, n) by the scaled similarities of pairs i < j.

    `student` and `teacher` are symmetric (n, n) float32 on the GPU.
    """
    n = len(student)
    tiles = -(-n // TILE)
    gradient = student.new_zeros(SPLIT, n, n)
    sums = student.new_zeros(5, tiles, tiles, SPLIT)
    scales = 1 / student_temperature, 1 / teacher_temperature
    launch: Any = _kernel
    constants = {"KIND": KINDS[loss_type], "TILE": TILE, "SHARE": -(-n // SPLIT), "num_warps": WARPS}
    launch[tiles, tiles, SPLIT](student, teacher, gradient, sums, n, *scales, **constants)
    return sums.sum((1, 2, 3)), gradient.sum(0)


def _kernel(  # type: ignore[no-untyped-def]
    student,
    teacher,
    gradient,
    sums,
    n,
    student_scale,
    teacher_scale,
    KIND: constexpr,
    TILE: constexpr,
    SHARE: constexpr,
):
    row, column, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    if column >= row:  # else the tile is below the diagonal
        i, j = row * TILE + tl.arange(0, TILE), column * TILE + tl.arange(0, TILE)
        pairs = i[:, None] * n + j[None, :]
        is_pair = (i[:, None] < j[None, :]) & (j[None, :] < n)
        a = tl.load(student + pairs, mask=is_pair, other=0.0)
        d = tl.load(teacher + pairs, mask=is_pair, other=0.0)
        a_scaled, d_scaled = a * student_scale, d * teacher_scale
        slope = tl.zeros((TILE, TILE), tl.float32)
        loss, agreement, number = slope, slope, slope
        student_entropy, teacher_entropy = slope, slope
        for step in range(SHARE):
            k = part * SHARE + step
            within = k < n
            b = tl.load(student + k * n + i, mask=within & (i < n), other=0.0)[:, None]
            c = tl.load(student + k * n + j, mask=within & (j < n), other=0.0)[None, :]
            e = tl.load(teacher + k * n + i, mask=within & (i < n), other=0.0)[:, None]
            f = tl.load(teacher + k * n + j, mask=within & (j < n), other=0.0)[None, :]
            counts = within & is_pair & (i[:, None] != k) & (j[None, :] != k)
            first, second, third = (d > e) & (d > f), (e > d) & (e > f), (f > d) & (f > e)
            agrees = (a > b) & (a > c) & first | (b > a) & (b > c) & second | (c > a) & (c > b) & third
            if KIND == 2:
                counts = counts & (first | second | third)
            log_a, log_b, log_c, q_a, q_b, q_c = _softmax(a_scaled, b * student_scale, c * student_scale)
            log_d, log_e, log_f, p_d, p_e, p_f = _softmax(d_scaled, e * teacher_scale, f * teacher_scale)
            if KIND == 0:
                value = p_d * (log_d - log_a) + p_e * (log_e - log_b) + p_f * (log_f - log_c)
                by_pair = q_a - p_d
            elif KIND == 1:
                m_a, m_b, m_c = _log_mean(log_a, log_d), _log_mean(log_b, log_e), _log_mean(log_c, log_f)
                of_q = 0.5 * (q_a * (log_a - m_a) + q_b * (log_b - m_b) + q_c * (log_c - m_c))
                value = of_q + 0.5 * (p_d * (log_d - m_a) + p_e * (log_e - m_b) + p_f * (log_f - m_c))
                by_pair = q_a * (0.5 * (log_a - m_a) - of_q)
            else:
                value = -tl.where(first, log_a, tl.where(second, log_b, log_c))
                by_pair = q_a - tl.where(first, 1.0, 0.0)
            slope += tl.where(counts, by_pair, 0.0)
            counts = counts & (j[None, :] < k)
            loss += tl.where(counts, value, 0.0)
            agreement += tl.where(counts & agrees, 1.0, 0.0)
            student_entropy -= tl.where(counts, q_a * log_a + q_b * log_b + q_c * log_c, 0.0)
            teacher_entropy -= tl.where(counts, p_d * log_d + p_e * log_e + p_f * log_f, 0.0)
            number += tl.where(counts, 1.0, 0.0)
        tl.store(gradient + part * n * n + pairs, slope, mask=is_pair)
        place = (row * tl.num_programs(1) + column) * tl.num_programs(2) + part
        size = tl.num_programs(0) * tl.num_programs(1) * tl.num_programs(2)
        tl.store(sums + place, tl.sum(loss))
        tl.store(sums + size + place, tl.sum(agreement))
        tl.store(sums + 2 * size + place, tl.sum(student_entropy))
        tl.store(sums + 3 * size + place, tl.sum(teacher_entropy))
        tl.store(sums + 4 * size + place, tl.sum(number))


def _softmax(a, b, c):  # type: ignore[no-untyped-def]
    """Logarithms of the choice probabilities of three pairs, and these themselves."""
    largest = tl.maximum(tl.maximum(a, b), c)
    a, b, c = a - largest, b - largest, c - largest
    x, y, z = tl.exp(a), tl.exp(b), tl.exp(c)
    total = x + y + z
    log_total = tl.log(total)
    return a - log_total, b - log_total, c - log_total, x / total, y / total, z / total


def _log_mean(a, b):  # type: ignore[no-untyped-def]
    """log((eᵃ + eᵇ) / 2)"""
    largest = tl.maximum(a, b)
    return largest + tl.log(0.5 * (tl.exp(a - largest) + tl.exp(b - largest)))


if triton is not None:
    _softmax, _log_mean, _kernel = triton.jit(_softmax), triton.jit(_log_mean), triton.jit(_kernel)
