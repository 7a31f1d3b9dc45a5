"""Random inputs that several tests draw."""

import numpy as np


def draw_triplets(number, objects, seed=0):
    """(number, 3) of different objects each."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(objects)[:3] for _ in range(number)])
