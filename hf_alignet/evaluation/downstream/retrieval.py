"""Retrieval: whether the images nearest to an image are of its class."""

import numpy as np
import torch

from hf_alignet.errors import InputError
from hf_alignet.evaluation.downstream.classifiers import CELLS, unit
from hf_alignet.evaluation.downstream.labelled import Labelled
from hf_alignet.evaluation.statistics.clustered import clustered_mean
from hf_alignet.metric import Metric
from hf_alignet.ranges import Count, Seed, checked

RECALLS = (1, 5, 10)
NUM_QUERIES = 10_000  # more change the third digit, and take the time of all pairs


@checked
def retrieval(images: Labelled, num_queries: Count = NUM_QUERIES, seed: Seed = 0) -> dict[str, Metric]:
    """Recall and mean average precision when each image asks for others of its class, by cosine.

    Args:
        images: the gallery; its images are the queries too, each against all others.
        num_queries: largest number of queries, drawn at random.
        seed: seed of this draw.

    Returns:
        `recall_at_1`, `_5`, `_10`: the share of queries with an image of their class among so many nearest.
        `mean_average_precision`: over the ranks of all images of the class. Intervals are over classes. A query whose
        class has no other image is left out.

    Raises:
        InputError: no class has two images.
    """
    able = np.flatnonzero(images.sizes[images.labels] > 1)
    if not len(able):
        raise InputError("no class has two images, so that there is nothing to find")
    rows = np.sort(np.random.default_rng(seed).permutation(able)[:num_queries])
    directions = torch.from_numpy(unit(images.embeddings))
    labels = torch.from_numpy(images.labels)
    found = {f"recall_at_{k}": np.empty(len(rows)) for k in RECALLS} | {"mean_average_precision": np.empty(len(rows))}
    step = max(1, CELLS // (4 * len(labels)))
    for start in range(0, len(rows), step):
        asked = torch.from_numpy(rows[start : start + step])
        products = directions[asked] @ directions.T
        products[torch.arange(len(asked)), asked] = -2  # below any cosine: last, and not counted
        order = products.argsort(1, descending=True)[:, :-1]
        is_hit = labels[order] == labels[asked, None]
        part = slice(start, start + len(asked))
        for k in RECALLS:
            found[f"recall_at_{k}"][part] = is_hit[:, :k].any(1).double().numpy()
        precision = is_hit.double().cumsum(1) / torch.arange(1, is_hit.shape[1] + 1)
        found["mean_average_precision"][part] = ((precision * is_hit).sum(1) / is_hit.sum(1)).numpy()
    classes = images.labels[rows]
    return {name: clustered_mean(values, classes, "classes", None) for name, values in found.items()}
