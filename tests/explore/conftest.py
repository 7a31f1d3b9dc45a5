"""A small world: 60 pictures of 6 concepts in 2 groups; the base model sees noise, the aligned one the groups."""

import numpy as np
import pytest
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image

from hf_alignet.explore import Exploration, judged_triplets
from hf_alignet.triplets.triplet_dataset import triplets_from_arrays

NUMBER = 60
LABELS = [f"<b>{name}</b>" if name == "cat" else name for name in ("cat", "dog", "cow", "car", "bus", "van")]


@pytest.fixture(scope="session")
def world() -> Exploration:
    rng = np.random.default_rng(0)
    concept = np.arange(NUMBER) % 6
    pictures = [Image.new("RGB", (64, 48), tuple(40 * int(c) + 10 for _ in range(3))) for c in concept]
    columns = {
        "image": pictures,
        "concept": [LABELS[c] for c in concept],
        "group": ["animal" if c < 3 else "vehicle" for c in concept],
    }
    features = Features({"image": ImageFeature(), "concept": Value("string"), "group": Value("string")})
    images = Dataset.from_dict(columns, features=features)
    noise = rng.standard_normal((NUMBER, 8)).astype(np.float32)
    aligned = noise.copy()
    aligned[:, 0] += np.where(concept < 3, 6, -6)
    rows = np.stack([rng.choice(NUMBER, 3, replace=False) for _ in range(200)])
    group = (concept < 3).astype(float)[rows]
    labels = np.stack([2.0 * (group[:, i] == group[:, j]) for i, j in ((0, 1), (0, 2), (1, 2))], 1)
    splits = {
        "coarse": triplets_from_arrays(rows[:150], labels[:150]),
        "other": triplets_from_arrays(rows[150:], labels[150:]),
    }
    return Exploration(images, {"base": noise, "aligned": aligned}, judged_triplets(splits), seed=0)
