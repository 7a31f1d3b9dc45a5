"""Odd-one-out accuracy: how often a model picks the image that people, or the teacher, picked.

A model chooses by the similarities of its embeddings. It is right if its odd one out is the labelled one. Chance is
1/3. Ties are wrong, so that a model that finds everything equally similar scores 0.
"""

import logging
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.encoder.model import Encoder
from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.intervals import share_correct
from hf_alignet.images.reader import Reader
from hf_alignet.judgments.rows import check_rows
from hf_alignet.metric import Metric
from hf_alignet.ranges import check, checked, row_numbers
from hf_alignet.similarity import (
    NO_CHOICE,
    SimilarityKind,
    TripletSimilarity,
    check_finite,
    is_correct,
    odd_one_out,
)
from hf_alignet.similarity.products import measured_similarities
from hf_alignet.triplets.triplet_dataset import ODD, SIMILARITIES, TRIPLET, check_triplets, column

logger = logging.getLogger(__name__)


@checked
def odd_one_out_choices(
    embeddings: np.ndarray, triplets: np.ndarray, similarity: SimilarityKind | TripletSimilarity = "dot"
) -> np.ndarray:
    """(m,) int64 positions that the embeddings choose, -1 where two pairs are equally similar.

    The arguments and errors are those of `similarities_of_triplets`.
    """
    return odd_one_out(similarities_of_triplets(embeddings, triplets, similarity)).numpy()


@checked
def similarities_of_triplets(
    embeddings: np.ndarray, triplets: np.ndarray, similarity: SimilarityKind | TripletSimilarity = "dot"
) -> torch.Tensor:
    """Similarities (m, 3) in pair order.

    Args:
        embeddings: (n, d).
        triplets: (m, 3) rows of `embeddings`.
        similarity: `dot`, `cosine` or `pearson`; or, where the third image counts, a function of features and triplets
            such as `ContextTransform.similarities`, and then `embeddings` are these features.

    Raises:
        InputError: an embedding is not finite, or a triplet points outside the embeddings.
    """
    check_finite(embeddings)
    rows = row_numbers(triplets, len(embeddings), "the triplets", "embeddings")
    if callable(similarity):
        found = similarity(np.asarray(embeddings), rows)
    else:
        kind = check("similarity", similarity, SimilarityKind)
        found = measured_similarities(np.asarray(embeddings), rows, kind)
    similarities = torch.from_numpy(found)
    if not similarities.isfinite().all():
        raise InputError("similarities overflow float32: scale the embeddings, or compare them by cosine or pearson")
    return similarities


@checked
def odd_one_out_accuracy(
    embeddings: np.ndarray,
    triplets: np.ndarray,
    odd: np.ndarray,
    similarity: SimilarityKind | TripletSimilarity = "dot",
) -> Metric:
    """Share of triplets whose odd one out the embeddings get right, with its interval over objects.

    Args:
        embeddings: (n, d).
        triplets: (m, 3) rows of `embeddings`.
        odd: (m,) positions in {0, 1, 2}.
        similarity: `dot`, `cosine` or `pearson`.

    Raises:
        InputError: there are no triplets, one names an image twice, or an embedding is not finite.
    """
    if len(triplets) == 0:
        raise InputError("there are no triplets to measure odd-one-out accuracy on")
    check_rows(np.asarray(triplets), len(embeddings), "triplets")
    choices = odd_one_out_choices(embeddings, triplets, similarity)
    return share_correct(are_correct(choices, odd_positions(odd, triplets)), triplets)


def odd_positions(odd: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    """The odd ones out (m,) as int64; InputError if one is not 0, 1 or 2, or they are not those of triplets (m, 3)."""
    odd = row_numbers(odd, 3, "the odd ones out", "positions")
    if odd.shape != (len(triplets),):
        raise InputError(f"{len(triplets)} triplets need one odd one out each, got an array of shape {odd.shape}")
    return odd


def are_correct(choices: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """(m,) bool, whether each choice is the labelled one; no choice is wrong."""
    return is_correct(torch.as_tensor(choices), torch.as_tensor(odd)).numpy()


def odd_labels(triplets: Dataset) -> np.ndarray:
    """(n,) labelled odd ones out: from the column `odd`, or else from the column `similarities`."""
    if ODD in triplets.column_names:
        return column(triplets, ODD).astype(np.int64)
    return odd_one_out(torch.from_numpy(column(triplets, SIMILARITIES))).numpy()


def _scorable(triplets: Dataset, num_images: int, variant: str) -> Dataset:
    """Checked triplets, without those whose label is undecided."""
    required = ODD if ODD in triplets.column_names else SIMILARITIES
    if required == SIMILARITIES:
        check_triplets(triplets, num_images, required, variant)  # first: NaN would look like an undecided label
    is_decided = odd_labels(triplets) != NO_CHOICE
    if len(triplets) and not is_decided.any():
        raise InputError(f"none of the {variant!r} triplets has an odd one out: is the teacher collapsed?")
    triplets = triplets.select(np.flatnonzero(is_decided))
    check_triplets(triplets, num_images, required, variant)
    return triplets


@checked
def evaluate_splits(
    encoder: Encoder,
    images: Dataset | Reader,
    splits: dict[str, Dataset],
    name: str,
    similarity: SimilarityKind | TripletSimilarity = "dot",
    **embed_options: Any,
) -> tuple[dict[str, Metric], np.ndarray, np.ndarray]:
    """Odd-one-out accuracy on several sets of triplets of one image dataset. Each image is embedded once.

    Args:
        encoder: the model.
        images: the dataset whose rows the triplets name, or a reader or cache of it.
        splits: triplets by name of the variant. Triplets with an undecided label (-1, or a tie of the teacher) have
            no right answer, and are left out.
        name: Name of the dataset, for the names of the metrics.
        similarity: `dot`, `cosine` or `pearson`.
        **embed_options: see `embed_dataset`.

    Returns:
        `{"name/variant/odd_one_out_accuracy": metric}`, the distinct image rows (U,), and their embeddings (U, d).
    """
    splits = {variant: _scorable(dataset, len(images), variant) for variant, dataset in splits.items()}
    table = np.concatenate([column(dataset, TRIPLET) for dataset in splits.values()])
    rows, positions = np.unique(table, return_inverse=True)
    embeddings = encoder.embed(images, rows=rows, **embed_options)
    if (embeddings == embeddings[0]).all():
        logger.warning("the model gives every image the same embedding, which scores 0: is it collapsed?")
    parts = np.split(positions.reshape(-1, 3), np.cumsum([len(data) for data in splits.values()])[:-1])
    metrics = {
        f"{name}/{variant}/odd_one_out_accuracy": odd_one_out_accuracy(embeddings, part, odd_labels(data), similarity)
        for (variant, data), part in zip(splits.items(), parts, strict=True)
    }
    return metrics, rows, embeddings
