"""The triplets about whose choices a fitted VICE would learn most.

The measure is the mutual information of a choice and the posterior (Houlsby et al. 2011, arXiv 1112.5745): the entropy
of the mean choice probabilities, less the mean entropy. It leaves out what people disagree about, which no further
choice would settle.
"""

import numpy as np
import torch

from hf_alignet.errors import InputError
from hf_alignet.similarity import choice_log_probabilities, entropy
from hf_alignet.similarity.products import measured_similarities
from hf_alignet.teacher import Vice

DRAWS = 30  # from the posterior


def expected_information(vice: Vice, triplets: np.ndarray, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Mutual information (m,) in nats, in [0, ln 3], of a choice about each triplet (m, 3) and the posterior."""
    if triplets.max(initial=0) >= len(vice.loc_):
        raise InputError(f"`vice` knows {len(vice.loc_)} objects, and the images are more: fit it to these images")
    loc, scale = torch.from_numpy(vice.loc_), torch.from_numpy(vice.scale_)
    generator = torch.Generator().manual_seed(seed)
    mean = torch.zeros(len(triplets), 3)
    inner = torch.zeros(len(triplets))
    for _ in range(draws):
        draw = torch.addcmul(loc, scale, torch.randn(loc.shape, generator=generator)).relu_()
        logarithms = choice_log_probabilities(torch.from_numpy(measured_similarities(draw.numpy(), triplets)))
        mean += logarithms.exp()
        inner += entropy(logarithms)
    return (entropy((mean / draws).log()) - inner / draws).clamp(min=0).numpy()


def most_informative(vice: Vice, triplets: np.ndarray, number: int) -> np.ndarray:
    """The `number` triplets, of (m, 3), with the largest expected information, in the order in which they came."""
    best = np.argsort(-expected_information(vice, triplets), kind="stable")[:number]
    return triplets[np.sort(best)]
