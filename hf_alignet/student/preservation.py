"""Keeps the neighbours that images had before training, while their global order is aligned.

For each image of a batch, the base's similarities to the other images are a distribution, which lies on the nearest.
The loss is how far the student's is from it: gLocal has it for a linear transform (Muttenthaler et al. 2023), t-SNE
takes the temperature of each image from a perplexity (van der Maaten & Hinton 2008). The base's embeddings are made
once, before training.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hf_alignet.errors import InputError

PERPLEXITY = 4.0  # on about how many of the other images the base's distribution lies
LOG_TEMPERATURES = (-6.0, 3.0)  # of cosines; outside, a distribution is on one image or on all
BISECTIONS = 30
ROWS = "rows"  # of a batch


def neighbour_kl(student: Tensor, base: Tensor) -> Tensor:
    """KL(softmax(cos(base)/τ) ‖ softmax(cos(student)/τ)) of each image, over the other images, as many as there are.

    Args:
        student: (n, d) embeddings.
        base: (n, p) embeddings of the same images by the base, which also choose τ of each image.

    Returns:
        (n,) nats, at least 0, in float32, or in float64 for float64 input. 0 for fewer than three images.
    """
    with torch.autocast(student.device.type, enabled=False):
        student, base = (cosines_to_others(x) for x in (student, base))
        if len(student) < 3:
            return 0 * student.sum(-1)
        temperature = local_temperature(base)
        log_q, log_p = (F.log_softmax(x / temperature, dim=-1) for x in (student, base))
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def cosines_to_others(embeddings: Tensor) -> Tensor:
    """(n, n - 1): the matrix of cosines without its diagonal."""
    embeddings = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    unit = F.normalize(embeddings, dim=-1, eps=torch.finfo(embeddings.dtype).tiny)
    n = len(unit)
    return (unit @ unit.T).flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)


@torch.no_grad()
def local_temperature(cosines: Tensor) -> Tensor:
    """(n, 1) τ at which the softmax of each row of `cosines` (n, m) has PERPLEXITY, or half of m if that is less."""
    wanted = math.log(min(PERPLEXITY, cosines.shape[1] / 2))
    low, high = (torch.full_like(cosines[:, :1], bound) for bound in LOG_TEMPERATURES)
    for _ in range(BISECTIONS):  # entropy grows with τ
        middle = (low + high) / 2
        log_p = F.log_softmax(cosines / middle.exp(), dim=-1)
        is_flat = -(log_p.exp() * log_p).sum(-1, keepdim=True) > wanted
        low, high = torch.where(is_flat, low, middle), torch.where(is_flat, middle, high)
    return ((low + high) / 2).exp()


class Preservation:
    """The loss of a batch, from the embeddings of the base.

    Args:
        rows: (m,) sorted rows of the images.
        embeddings: (m, d) float32 of the encoder before training.
    """

    def __init__(self, rows: np.ndarray, embeddings: Tensor):
        self.rows, self.embeddings = torch.from_numpy(rows), embeddings

    def loss(self, embeddings: Tensor, inputs: dict[str, Any]) -> Tensor:
        """A scalar, from embeddings of the student and the batch of the collator; InputError if it names no rows."""
        if ROWS not in inputs:
            raise InputError(
                f"`preserve_weight` needs the rows of the images of a batch, and `data_collator` gives no {ROWS!r}: "
                "leave one of them out"
            )
        places = torch.searchsorted(self.rows, inputs[ROWS].cpu())
        base = self.embeddings[places].to(embeddings.device, non_blocking=True)
        return neighbour_kl(embeddings, base).mean()
