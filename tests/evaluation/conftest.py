"""What several tests of the evaluation start from."""

import numpy as np
import pytest


@pytest.fixture
def predicted() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (2000, 3), and counts of choices that follow them; some triplets are judged thrice, some never."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([1.0, 1.0, 1.0], 2000)
    judged = [0, 1, 1, 3] * 500
    return probabilities, np.stack([rng.multinomial(k, p) for k, p in zip(judged, probabilities, strict=True)])
