"""The loss of a batch of triplets, and what is logged beside it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_alignet.similarity import (
    SimilarityKind,
    choice_log_probabilities,
    entropy,
    is_correct,
    odd_one_out,
    prepare_embeddings,
    triplet_similarities,
)
from hf_alignet.similarity.matched_entropy import match_entropy
from hf_alignet.student.in_batch import mean_over_triplets
from hf_alignet.student.losses import LossType, triplet_hard, triplet_jsd, triplet_kl
from hf_alignet.student.temperature import maximize_likelihood
from hf_alignet.triplets.triplet_dataset import ODD, SIMILARITIES, TRIPLET, column


class Criterion:
    """A loss on the similarities of triplets.

    Args:
        loss_type: `kl`, `jsd` or `hard`.
        similarity: of two embeddings of the student.
        teacher_temperature: τ'.
    """

    def __init__(self, loss_type: LossType, similarity: SimilarityKind, teacher_temperature: float):
        self.loss_type, self.similarity, self.teacher_temperature = loss_type, similarity, teacher_temperature
        self.target = ODD if loss_type == "hard" else SIMILARITIES  # the column that the loss learns from

    def arrays(self, dataset: Any) -> tuple[np.ndarray, Tensor, Tensor]:
        """Distinct image rows (U,) of a triplet Dataset, triplets (n, 3) as positions among them, and targets."""
        rows, positions = np.unique(column(dataset, TRIPLET), return_inverse=True)
        return rows, torch.from_numpy(positions.reshape(-1, 3)), as_target(column(dataset, self.target))

    def similarities(self, embeddings: Tensor, triplets: Tensor) -> Tensor:
        """(B, 3) similarities of the student, from embeddings (U, d) and positions (B, 3) among them."""
        return triplet_similarities(embeddings, triplets, self.similarity)

    def loss(self, similarities: Tensor, target: Tensor, temperature: float) -> Tensor:
        """(B,) nats."""
        if self.loss_type == "hard":
            return triplet_hard(similarities, target, temperature)
        loss = triplet_kl if self.loss_type == "kl" else triplet_jsd
        return loss(similarities, target, temperature, self.teacher_temperature)

    def measure(self, similarities: Tensor, target: Tensor, temperature: float | None) -> dict[str, Tensor]:
        """The mean loss, which can be differentiated, agreement with the teacher, and mean entropies (nats)."""
        temperature = _known(temperature)
        measured = {"loss": self.loss(similarities, target, temperature).mean()}
        similarities = similarities.detach()
        odd = target if self.loss_type == "hard" else odd_one_out(target)
        measured["agreement"] = is_correct(odd_one_out(similarities), odd).float().mean()
        measured["student_entropy"] = entropy(choice_log_probabilities(similarities, temperature)).mean()
        if self.loss_type != "hard":
            log_p = choice_log_probabilities(target, self.teacher_temperature)
            measured["teacher_entropy"] = entropy(log_p).mean()
        return measured

    def measure_batch(self, embeddings: Tensor, teacher: Tensor, temperature: float | None) -> dict[str, Tensor]:
        """As `measure`, of all triplets among the embeddings (n, d), which have the teacher's similarities (n, n)."""
        temperature = _known(temperature)
        embeddings = prepare_embeddings(embeddings, self.similarity)
        with torch.autocast(embeddings.device.type, enabled=False):
            student = embeddings @ embeddings.T
        measured = mean_over_triplets(student, teacher, self.loss_type, temperature, self.teacher_temperature)
        if self.loss_type == "hard":
            del measured["teacher_entropy"]
        return measured

    def best_temperature(self, embeddings: Tensor, triplets: Tensor, target: Tensor) -> float:
        """The τ† to train with, for a student before alignment; see `hf_alignet.student.temperature`."""
        similarities = self.similarities(embeddings, triplets)
        if self.loss_type == "hard":
            return maximize_likelihood(similarities, target)
        return match_entropy(similarities, target, self.teacher_temperature)


def _known(temperature: float | None) -> float:
    if temperature is None:
        raise ValueError("the student's temperature is not known yet: call calibrate() or train()")
    return temperature


def as_target(values: np.ndarray) -> Tensor:
    """(B, 3) float32 similarities or (B,) int64 odd ones out."""
    target = torch.as_tensor(values)
    return target.float() if target.ndim == 2 else target.long()
