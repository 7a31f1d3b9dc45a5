"""Simulated raters: a teacher whose similarities follow a hierarchy of concepts, plus noise.

They replace people, because no human data can come with the package. Their labels are always called simulated.
"""

import numpy as np
from datasets import Dataset

from hf_alignet.similarity import PAIRS

LEVELS = {"group": 2.0, "subgroup": 1.5, "concept": 6.0}  # added to the similarity of two pictures with the same level
NOISE_DIM = 64  # of random directions; NOISE times their dot products has SD NOISE / sqrt(NOISE_DIM)
NOISE = 4.0


class SimulatedRaters:
    """Similarity of two pictures: the sum of the weights of their common levels, plus noise between concepts.

    The noise (SD 0.5) is a dot product of random directions, one for each concept. It does not change between
    triplets: like people, the raters always find certain unrelated things similar.

    Args:
        images: a dataset with the columns `group`, `subgroup` and `concept`.
        seed: seed of the noise.
    """

    def __init__(self, images: Dataset, seed: int):
        self.codes = {level: np.unique(images[level], return_inverse=True)[1] for level in LEVELS}
        directions = np.random.default_rng(seed).normal(size=(self.codes["concept"].max() + 1, NOISE_DIM))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        directions *= np.sqrt(NOISE)
        self.noise = np.stack([(directions * direction).sum(1) for direction in directions])  # of two concepts

    def similarities(self, triplets: np.ndarray, noisy: bool = True) -> np.ndarray:
        """Similarities (n, 3) float32 in pair order of triplets (n, 3) of rows."""
        columns = []
        for a, b in ((triplets[:, i], triplets[:, j]) for i, j in PAIRS):
            is_same = {level: codes[a] == codes[b] for level, codes in self.codes.items()}
            column = sum(weight * is_same[level] for level, weight in LEVELS.items())
            if noisy:
                concepts = self.codes["concept"]
                column = column + np.where(is_same["concept"], 0.0, self.noise[concepts[a], concepts[b]])
            columns.append(column)
        return np.stack(columns, axis=1).astype(np.float32)
