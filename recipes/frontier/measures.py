"""What a setting gains, and what it keeps."""

import numpy as np
import torch
from photographs import Photographs

from hf_alignet.evaluation import few_shot_accuracy, odd_one_out_accuracy
from hf_alignet.similarity import odd_one_out, triplet_similarities


def measure(embeddings: np.ndarray, photographs: Photographs) -> dict[str, float]:
    """From embeddings (num_measured, d): agreement, few-shot accuracies, and how much of the base's order is kept.

    `unseen` is of the classes that no training had; `inside_classes_sure` of the half of the triplets inside a class
    where the base's first and second pair differ most.
    """
    labels, base = photographs.labels[: photographs.num_measured], torch.from_numpy(photographs.base)
    similarities = triplet_similarities(base, torch.from_numpy(photographs.fine), "cosine")
    order, ranked = odd_one_out(similarities).numpy(), similarities.sort(dim=1).values
    unseen = np.isin(labels, labels[np.unique(photographs.triplets)])
    fine, margin = photographs.fine, (ranked[:, 2] - ranked[:, 1]).numpy()
    sure = margin >= np.median(margin)
    centred = embeddings - embeddings.mean(0), photographs.base[: len(embeddings)] - photographs.base.mean(0)
    return {
        "agreement": odd_one_out_accuracy(embeddings, photographs.triplets, photographs.odd)["value"],
        "1_shot": few_shot_accuracy(embeddings, labels, 1)["value"],
        "10_shot": few_shot_accuracy(embeddings, labels, 10)["value"],
        "1_shot_unseen": few_shot_accuracy(embeddings[unseen], labels[unseen], 1)["value"],
        "10_shot_unseen": few_shot_accuracy(embeddings[unseen], labels[unseen], 10)["value"],
        "inside_classes": odd_one_out_accuracy(embeddings, fine, order, "cosine")["value"],
        "inside_classes_sure": odd_one_out_accuracy(embeddings, fine[sure], order[sure], "cosine")["value"],
        "neighbours": neighbours_kept(*centred),
    }


def neighbours_kept(embeddings: np.ndarray, base: np.ndarray, k: int = 10) -> float:
    """Mean share of the k nearest neighbours by cosine that stay: needs no labels."""
    near = []
    for matrix in (embeddings, base):
        unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        cosines = unit @ unit.T
        np.fill_diagonal(cosines, -np.inf)
        near.append(np.argpartition(-cosines, k, axis=1)[:, :k])
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(*near, strict=True)]))
