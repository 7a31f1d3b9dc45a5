"""What a student is asked for about a batch of triplets: the loss, and what is logged beside it."""

from collections.abc import Callable

from torch import Tensor

from hf_alignet.similarity import (
    SimilarityKind,
    choice_log_probabilities,
    entropy,
    is_correct,
    odd_one_out,
    triplet_similarities,
)
from hf_alignet.student.losses import LossType, triplet_hard, triplet_jsd, triplet_kl
from hf_alignet.student.temperature import match_entropy, maximize_likelihood
from hf_alignet.triplets.triplet_dataset import ODD, SIMILARITIES


class Criterion:
    """A loss on the similarities of triplets.

    Args:
        loss_type: `kl`, `jsd` or `hard`.
        similarity: of two embeddings of the student.
        teacher_temperature: τ'.

    Attributes:
        target: the column that it learns from, `odd` for the hard loss, `similarities` for the others.
    """

    def __init__(self, loss_type: LossType, similarity: SimilarityKind, teacher_temperature: float):
        self.loss_type, self.similarity, self.teacher_temperature = loss_type, similarity, teacher_temperature
        self.target = ODD if loss_type == "hard" else SIMILARITIES

    def similarities(self, embeddings: Tensor, triplets: Tensor) -> Tensor:
        """(B, 3) of the student, from embeddings (U, d) and positions (B, 3) among them."""
        return triplet_similarities(embeddings, triplets, self.similarity)

    def loss(self, similarities: Tensor, target: Tensor, temperature: float | None) -> Tensor:
        """(B,) nats."""
        if temperature is None:
            raise ValueError("the student's temperature is not chosen yet; call calibrate() or train()")
        if self.loss_type == "hard":
            return triplet_hard(similarities, target, temperature)
        loss: Callable[..., Tensor] = triplet_kl if self.loss_type == "kl" else triplet_jsd
        return loss(similarities, target, temperature, self.teacher_temperature)

    def describe(self, similarities: Tensor, target: Tensor, temperature: float | None) -> dict[str, Tensor]:
        """Agreement with the teacher, and mean entropies (nats)."""
        odd = target if self.loss_type == "hard" else odd_one_out(target)
        described = {"agreement": is_correct(odd_one_out(similarities), odd).float().mean()}
        if temperature is not None:
            described["student_entropy"] = entropy(choice_log_probabilities(similarities, temperature)).mean()
        if self.loss_type != "hard":
            log_p = choice_log_probabilities(target, self.teacher_temperature)
            described["teacher_entropy"] = entropy(log_p).mean()
        return described

    def best_temperature(self, similarities: Tensor, target: Tensor) -> float:
        """The τ† to train with, of a student that is not aligned yet; see `hf_alignet.student.temperature`."""
        if self.loss_type == "hard":
            return maximize_likelihood(similarities, target)
        return match_entropy(similarities, target, self.teacher_temperature)
