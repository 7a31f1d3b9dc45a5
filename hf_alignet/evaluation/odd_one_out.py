"""Odd-one-out accuracy: how often a model picks the image that people, or the teacher, picked.

A model chooses by the similarities of its embeddings; it is right when the odd one out is the labelled one. Chance is
1/3. Ties are wrong, so that a model which finds everything equally similar scores 0.
"""

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy.stats import binomtest

from hf_alignet.encoder import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.metric import Metric
from hf_alignet.reader import ImageReader
from hf_alignet.similarity import CHANCE, NO_CHOICE, SimilarityKind, is_correct, odd_one_out, triplet_similarities
from hf_alignet.triplets.dataset import ODD, SIMILARITIES, TRIPLET, check_triplets, column


def odd_one_out_accuracy(
    embeddings: np.ndarray, triplets: np.ndarray, odd: np.ndarray, similarity: SimilarityKind = "dot"
) -> Metric:
    """Share of triplets whose odd one out the embeddings get right.

    The interval is Wilson's. It treats triplets as independent; they share images, so that the uncertainty over new
    images is larger.

    Args:
        embeddings: (n, d).
        triplets: (m, 3) rows of `embeddings`.
        odd: (m,) positions in {0, 1, 2}.
        similarity: `dot`, `cosine` or `pearson`.

    Raises:
        InputError: there are no triplets, or an embedding that they use is not finite.
    """
    if len(triplets) == 0:
        raise InputError("there are no triplets to measure odd-one-out accuracy on")
    if not np.isfinite(embeddings).all():
        raise InputError(f"row {np.argwhere(~np.isfinite(embeddings))[0][0]} of the embeddings is not finite")
    similarities = triplet_similarities(torch.as_tensor(embeddings), torch.as_tensor(triplets).long(), similarity)
    correct = int(is_correct(odd_one_out(similarities), torch.as_tensor(odd)).sum())
    interval = binomtest(correct, len(triplets)).proportion_ci(0.95, method="wilson")
    return Metric(
        value=correct / len(triplets), n=len(triplets), chance=CHANCE, ci95=[float(interval.low), float(interval.high)]
    )


def odd_labels(triplets: Dataset) -> np.ndarray:
    """(n,) labelled odd ones out: the column `odd`, or else what the column `similarities` implies."""
    if ODD in triplets.column_names:
        return column(triplets, ODD).astype(np.int64)
    return odd_one_out(torch.from_numpy(column(triplets, SIMILARITIES))).numpy()


def _scorable(triplets: Dataset, num_images: int, variant: str) -> Dataset:
    """Checked triplets, without those whose label is undecided."""
    required = ODD if ODD in triplets.column_names else SIMILARITIES
    if required == SIMILARITIES:
        check_triplets(triplets, num_images, required, variant)  # first, lest NaN passes for undecided
    triplets = triplets.select(np.flatnonzero(odd_labels(triplets) != NO_CHOICE))
    check_triplets(triplets, num_images, required, variant)
    return triplets


def evaluate_splits(
    encoder: VisionEncoder,
    images: Dataset | ImageReader,
    splits: dict[str, Dataset],
    name: str,
    similarity: SimilarityKind = "dot",
    **embed_options: Any,
) -> tuple[dict[str, Metric], np.ndarray, np.ndarray]:
    """Odd-one-out accuracy on several sets of triplets of one image dataset, each image embedded once.

    Args:
        encoder: the model.
        images: what the triplets point into, or a reader or cache of it.
        splits: triplets by name of the variant. Those whose label is undecided (-1, or a tie of the teacher) have no
            right answer, and are left out.
        name: of the dataset, for the names of the metrics.
        similarity: `dot`, `cosine` or `pearson`.
        **embed_options: see `hf_alignet.embedding.embed_dataset`.

    Returns:
        `{"name/variant/odd_one_out_accuracy": metric}`, the distinct image rows (U,), and their embeddings (U, d).
    """
    splits = {variant: _scorable(dataset, len(images), variant) for variant, dataset in splits.items()}
    table = np.concatenate([column(dataset, TRIPLET) for dataset in splits.values()])
    rows, positions = np.unique(table, return_inverse=True)
    embeddings = encoder.embed(images, rows=rows, **embed_options)
    metrics, start = {}, 0
    for variant, dataset in splits.items():
        triplets = positions.reshape(-1, 3)[start : start + len(dataset)]
        start += len(dataset)
        metrics[f"{name}/{variant}/odd_one_out_accuracy"] = odd_one_out_accuracy(
            embeddings, triplets, odd_labels(dataset), similarity
        )
    return metrics, rows, embeddings
