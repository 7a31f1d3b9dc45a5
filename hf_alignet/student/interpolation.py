"""How far to go from the initial weights to the trained ones, so that what the model knew is kept.

On the way, agreement with people grows, and at some point the model begins to forget (Wortsman et al. 2022, WiSE-FT).
Where that is, images without labels can tell. The base's clusters of them stand for classes; the student knows as much
as the base if one image of each cluster finds the others as often. This 1-shot accuracy follows that of real classes,
and is a little lower, because the clusters are the base's own: recipes/frontier has both for many trainings.
"""

import logging
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hf_alignet.errors import InputError
from hf_alignet.triplets.clusters import fit_clusters

MIN_IMAGES, ENOUGH_HELD_OUT, MAX_IMAGES = 8, 250, 500
IMAGES_PER_CLUSTER = 16  # on average
NUM_CLUSTERINGS = 4  # with other first centers
NUM_DRAWS = 50  # of the images that stand for their clusters, for each of these
Z = 1.96  # of a 95 % interval
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # the measure tells no finer steps apart

logger = logging.getLogger(__name__)


def sample_rows(trained: np.ndarray, held_out: np.ndarray, seed: int) -> np.ndarray:
    """Sorted rows of up to 500 images to compare base and student on.

    Args:
        trained: (m,) rows to train on.
        held_out: (h,) others. If they are fewer than 250, rows are drawn from all.
        seed: of the sample.

    Raises:
        InputError: there are fewer than 8 images.
    """
    rows = held_out if len(held_out) >= ENOUGH_HELD_OUT else np.union1d(trained, held_out)
    if len(rows) < MIN_IMAGES:
        raise InputError(
            f"`interpolation=auto` needs {MIN_IMAGES} images or more, got {len(rows)}: set a number, such as 0.5"
        )
    return np.sort(np.random.default_rng(seed).permutation(rows)[:MAX_IMAGES])


class Knowledge:
    """What the base knows about some images, to compare it with what a student knows.

    Args:
        base: (n, d) embeddings of the images by the base.
        seed: of the clusters and of the draws of shots.

    Raises:
        InputError: an embedding is not finite.
    """

    def __init__(self, base: Tensor, seed: int):
        rng, places = np.random.default_rng(seed), _unit(base).numpy()
        number = max(2, len(base) // IMAGES_PER_CLUSTER)
        self.tasks = [
            _task(fit_clusters(places, number, seed + start, progress=False).assignments, rng)
            for start in range(NUM_CLUSTERINGS)
        ]
        self.of_base = self.accuracies(base)

    def accuracies(self, embeddings: Tensor) -> Tensor:
        """(n,) float64, the 1-shot accuracy of each image in the clusters, from embeddings (n, d) of the same images.

        An image is in the cluster whose shot has the largest cosine to it, of standardised embeddings. A tie is wrong.
        It is the mean over clusterings and draws of the shots; an image does not count where it is a shot.
        """
        unit = _unit(embeddings)
        cosines = unit @ unit.T
        hits, number = torch.zeros(len(unit)).double(), torch.zeros(len(unit)).double()
        for clusters, draws in self.tasks:
            for shots in draws:
                near = cosines[:, shots]  # (n, k)
                is_hit = (near >= near.gather(1, clusters[:, None])).sum(1) == 1
                is_measured = torch.ones(len(unit), dtype=torch.bool).index_fill(0, shots, False)
                hits += is_hit & is_measured
                number += is_measured
        return hits / number.clamp_min(1)

    def furthest(self, embed: Callable[[float], Tensor]) -> float:
        """The largest of SHARES at which no loss shows; the smallest if there is none.

        A loss shows where the 95 % interval, over images, of the change of accuracy lies below 0. The share is found
        by bisection: accuracy grows at first, and then falls.

        Args:
            embed: gives embeddings (n, d) of the images by the weights at a share of the way.
        """

        def is_kept(share: float) -> bool:
            change = self.accuracies(embed(share)) - self.of_base
            mean, half = change.mean().item(), Z * change.std().item() / len(change) ** 0.5
            logger.info("%.0f %% of the way, 1-shot accuracy changes by %+.4f ± %.4f", 100 * share, mean, half)
            return mean + half >= 0

        if is_kept(SHARES[-1]):
            return SHARES[-1]
        kept, lost = 0, len(SHARES) - 1  # positions; the first is taken without a look
        while lost - kept > 1:
            middle = (kept + lost) // 2
            kept, lost = (middle, lost) if is_kept(SHARES[middle]) else (kept, middle)
        return SHARES[kept]


def _unit(embeddings: Tensor) -> Tensor:
    """(n, d) float64: standardised, so that no direction counts more than others, and of length 1."""
    centred = embeddings.double() - embeddings.double().mean(0)
    return F.normalize(centred / centred.std(0).clamp_min(torch.finfo(centred.dtype).tiny), dim=-1)


def _task(clusters: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, list[Tensor]]:
    """(n,) the clusters from 0 to k - 1, and NUM_DRAWS times the positions (k,) of one image of each."""
    numbers = np.unique(clusters, return_inverse=True)[1]
    members = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
    draws = [torch.tensor([rng.choice(images) for images in members]) for _ in range(NUM_DRAWS)]
    return torch.from_numpy(numbers), draws
