"""Simulated raters: a teacher whose similarity follows a hierarchy of concepts, plus noise.

They stand in for people where no human data can be shipped, and are called simulated wherever their labels appear.
"""

import numpy as np
from datasets import Dataset

from hf_alignet.similarity import PAIRS

LEVELS = {"group": 2.0, "subgroup": 1.5, "concept": 6.0}  # what sharing a level adds to the similarity
NOISE_DIM = 64  # raters' own ideas of a concept: random directions, whose dot products have SD NOISE / sqrt(NOISE_DIM)
NOISE = 4.0


class SimulatedRaters:
    """Similarity of two pictures: the weights of the levels they share, plus noise between different concepts.

    The noise (SD 0.5) is a dot product of random directions, one a concept, fixed by the seed, so that raters are
    consistently idiosyncratic: like people, they also find some unrelated things alike.

    Args:
        images: a dataset with the columns `group`, `subgroup` and `concept`.
        seed: of the noise.
    """

    def __init__(self, images: Dataset, seed: int):
        self.codes = {level: np.unique(images[level], return_inverse=True)[1] for level in LEVELS}
        directions = np.random.default_rng(seed).normal(size=(self.codes["concept"].max() + 1, NOISE_DIM))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self.noise = np.sqrt(NOISE) * directions[self.codes["concept"]]

    def similarities(self, triplets: np.ndarray, noisy: bool = True) -> np.ndarray:
        """(n, 3) float32 in pair order for (n, 3) rows; without noise, the hierarchy alone."""
        pairs = [(triplets[:, i], triplets[:, j]) for i, j in PAIRS]
        columns = [
            sum(w * (self.codes[level][a] == self.codes[level][b]) for level, w in LEVELS.items()) for a, b in pairs
        ]
        if noisy:
            concept = self.codes["concept"]
            columns = [
                column + np.where(concept[a] == concept[b], 0.0, (self.noise[a] * self.noise[b]).sum(1))
                for column, (a, b) in zip(columns, pairs, strict=True)
            ]
        return np.stack(columns, axis=1).astype(np.float32)
