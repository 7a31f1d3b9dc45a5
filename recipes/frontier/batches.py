"""Batches of photographs, some of each cluster, for a given number of steps."""

import numpy as np

from hf_alignet.triplets.batches import ClusterSampler


def batches_of(clusters: np.ndarray, steps: int, images: int, images_per_cluster: int, seed: int) -> np.ndarray:
    """(steps, images) positions among `clusters`, in as many epochs as they take."""
    sampler = ClusterSampler(clusters, images, images_per_cluster, seed)
    order: list[int] = []
    while len(order) < steps * images:
        order += list(sampler)
        sampler.set_epoch(sampler.epoch + 1)
    return np.array(order[: steps * images]).reshape(steps, -1)
