"""The AligNet loss for the trainer of sentence-transformers, as its loss classes are.

It has no pull to the initial weights, which is a part of `AlignTrainer`, not of a loss.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from torch import Tensor, nn

from hf_alignet.errors import InputError
from hf_alignet.similarity import SimilarityKind, triplet_similarities
from hf_alignet.similarity.matched_entropy import match_entropy
from hf_alignet.student.losses import triplet_kl
from hf_alignet.triplets.triplet_dataset import SIMILARITIES, TRIPLET, check_triplets, column

IMAGE_COLUMNS, LABEL = ("image_0", "image_1", "image_2"), "label"
SAMPLE = 256  # triplets that a temperature is found on


class TripletKLLoss(nn.Module):
    """KL(softmax(S'/τ') ‖ softmax(S†/τ†)), the mean over triplets (Muttenthaler et al. 2025, eq. 5).

    Args:
        model: a `SentenceTransformer`, or another module that turns features into `sentence_embedding`.
        student_temperature: τ†, which fits one scale of embeddings: see `fitting_temperature`.
        similarity: of two embeddings of the student.
        teacher_temperature: τ'.

    Raises:
        InputError: a temperature is not positive.

    Example:
        >>> data = triplet_columns(images, triplets)  # doctest: +SKIP
        >>> loss = TripletKLLoss(model, fitting_temperature(model, data))  # doctest: +SKIP
        >>> SentenceTransformerTrainer(model=model, train_dataset=data, loss=loss).train()  # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        student_temperature: float = 100.0,
        similarity: SimilarityKind = "dot",
        teacher_temperature: float = 1.0,
    ):
        super().__init__()
        for name, value in {"student": student_temperature, "teacher": teacher_temperature}.items():
            if not 0 < value < float("inf"):
                raise InputError(f"`{name}_temperature` must be a positive number, got {value}")
        self.model, self.similarity = model, similarity
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor) -> Tensor:
        """Nats. The features are of three columns of pictures; labels (B, 3) are the teacher's similarities."""
        return self.compute_loss_from_embeddings(
            [self.model(f)["sentence_embedding"] for f in sentence_features], labels
        )

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        """As `forward`, from three embeddings (B, d) of each triplet."""
        if len(embeddings) != 3 or labels.shape[-1:] != (3,):
            raise InputError(
                f"the loss takes three columns of pictures and labels (B, 3) in pair order, got {len(embeddings)} and "
                f"{tuple(labels.shape)}"
            )
        student = column_similarities(embeddings, self.similarity)
        return triplet_kl(student, labels, self.student_temperature, self.teacher_temperature).mean()

    def get_config_dict(self) -> dict[str, Any]:
        """Settings, for the model card of sentence-transformers."""
        names = ("similarity", "student_temperature", "teacher_temperature")
        return {name: getattr(self, name) for name in names}


def column_similarities(embeddings: list[Tensor], similarity: SimilarityKind = "dot") -> Tensor:
    """(B, 3) similarities in pair order, from the embeddings (B, d) of the first, second and third pictures."""
    number = len(embeddings[0])
    positions = torch.arange(3 * number, device=embeddings[0].device).view(3, number).T
    return triplet_similarities(torch.cat(embeddings), positions, similarity)


def triplet_columns(images: Dataset, triplets: Dataset) -> Dataset:
    """Triplets as sentence-transformers reads them: `image_0`, `image_1`, `image_2`, and the similarities as `label`.

    Each row holds copies of its pictures, so that a large image dataset grows by the number of its uses.

    Args:
        images: with a column `image`.
        triplets: rows of the images, with similarities.

    Raises:
        InputError: the triplets name other rows, or have no similarities.
    """
    check_triplets(triplets, len(images), SIMILARITIES)
    rows = np.asarray(column(triplets, TRIPLET))
    pictures = images.select_columns(["image"])
    parts = [pictures.select(rows[:, i]).rename_column("image", name) for i, name in enumerate(IMAGE_COLUMNS)]
    labels = Dataset.from_dict({LABEL: np.asarray(column(triplets, SIMILARITIES), np.float32)})
    return concatenate_datasets([*parts, labels], axis=1)


def fitting_temperature(model: Any, data: Dataset, similarity: SimilarityKind = "dot") -> float:
    """The τ† at which the untrained student is as certain as the teacher; see `hf_alignet.student.temperature`."""
    sample = data.select(range(min(SAMPLE, len(data))))
    embeddings = [torch.as_tensor(model.encode(sample[name][:], show_progress_bar=False)) for name in IMAGE_COLUMNS]
    return match_entropy(column_similarities(embeddings, similarity), torch.tensor(sample[LABEL][:]))
