"""Random inputs that several tests draw."""

import numpy as np

from hf_alignet.evaluation.downstream.labelled import Labelled

NAMES = ["ant", "bee", "cat", "dog"]


def draw_triplets(number, objects, seed=0):
    """(number, 3) of different objects each."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(objects)[:3] for _ in range(number)])


def draw_labelled(number, seed=0, noise=1.0, names=NAMES, dim=12, means=None):
    """Images of classes with a mean each."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(size=(len(names), dim)) if means is None else means
    labels = rng.permutation(np.repeat(np.arange(len(names)), number))
    embeddings = means[labels] + noise * rng.normal(size=(len(labels), dim))
    return Labelled(embeddings.astype(np.float32), labels, names)
