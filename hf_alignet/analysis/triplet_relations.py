"""What triplets ask: the relations of the pairs of images that are compared (the paper's figure 3C)."""

import logging
from collections.abc import Mapping
from typing import get_args

import numpy as np
import pandas as pd

from hf_alignet.analysis.categories import RELATIONS, relations
from hf_alignet.errors import InputError
from hf_alignet.ranges import Count, Seed, checked
from hf_alignet.similarity import PAIRS
from hf_alignet.triplets.sampling import Sampling, TripletSampler

NUM_DRAWN = 20_000

logger = logging.getLogger(__name__)


def triplet_relations(triplets: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """How many pairs (4,) of triplets have each relation.

    Args:
        triplets: (m, 3) rows of `codes`.
        codes: (n, 3) of class, basic and superordinate category.
    """
    pairs = np.concatenate([triplets[:, pair] for pair in PAIRS])
    return np.bincount(relations(codes, pairs[:, 0], pairs[:, 1]), minlength=len(RELATIONS))


@checked
def drawn_triplets(
    codes: np.ndarray, clusters: np.ndarray | None = None, number: Count = NUM_DRAWN, seed: Seed = 0
) -> dict[str, np.ndarray]:
    """Triplets (m, 3) of rows of `codes` by each sampling that the images allow.

    Args:
        codes: (n, 3) of class, basic and superordinate category. The classes of a sampling are those of the images.
        clusters: (n,) clusters of the images, for `cluster_boundary`; without them it is left out.
        number: of triplets, or all if there are fewer.
        seed: of the draws.
    """
    found = {}
    for sampling in get_args(Sampling):
        groups = clusters if sampling == "cluster_boundary" else codes[:, 0]
        if groups is None:
            continue
        try:
            sampler = TripletSampler(sampling, groups, seed=seed)
        except InputError as reason:
            logger.info("no triplets by %s: %s", sampling, reason)
            continue
        found[sampling] = sampler.draw(0, min(number, sampler.num_triplets))
    return found


def relation_shares(triplets: Mapping[str, np.ndarray], codes: np.ndarray) -> pd.DataFrame:
    """Of triplets by name: `triplets`, `relation`, `pairs` and `share` of all pairs, four rows each.

    Args:
        triplets: (m, 3) rows of `codes`, m > 0.
        codes: (n, 3) of class, basic and superordinate category.
    """
    rows = []
    for name, of_name in triplets.items():
        counts = triplet_relations(of_name, codes)
        rows += [(name, *row) for row in zip(RELATIONS, counts, counts / counts.sum(), strict=True)]
    return pd.DataFrame(rows, columns=["triplets", "relation", "pairs", "share"])
