"""What VICE expects people to choose: the targets of uncertainty distillation, also without the choices of a fold."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from hf_alignet.errors import InputError, RunError
from hf_alignet.judgments import objects_within, triplets_within
from hf_alignet.similarity import PAIRS
from hf_alignet.teacher.affine.held_out import Split
from hf_alignet.teacher.vice import Vice

logger = logging.getLogger(__name__)


def open_vice(vice: Vice | str, num_objects: int) -> Vice:
    """A fitted VICE, or one by path or Hub id. Raises an InputError if it is of another number of objects."""
    fitted = Vice.from_pretrained(vice) if isinstance(vice, str) else vice
    if (number := len(fitted.loc_)) != num_objects:
        raise InputError(f"the VICE {vice!r} has {number} objects, but there are {num_objects} stimuli")
    return fitted


def fit_vice(
    judgments: Dataset, num_objects: int, settings: Mapping[str, Any], checkpoint: str | Path | None, progress: bool
) -> Vice | None:
    """VICE of all choices; None if it finds no dimension in them."""
    try:
        return Vice(**settings).fit(judgments, num_objects, checkpoint, progress)
    except RunError as error:
        logger.info("%s", error)
        return None


def fold_expectation(
    judgments: Dataset, triplets: np.ndarray, split: Split, settings: Mapping[str, Any], progress: bool
) -> np.ndarray:
    """Probabilities (m, 3) for a fold, by a VICE of the choices among the objects that the fold sees.

    A VICE without a dimension expects each pair equally often, and so do the rows of triplets that are not seen.
    """
    expected = np.full(triplets.shape, 1 / len(PAIRS))
    seen = objects_within(judgments, split.is_seen)
    vice = fit_vice(seen, int(split.is_seen.sum()), settings, None, progress)
    if vice is not None:
        is_fitted = triplets_within(triplets, split.is_seen)
        expected[is_fitted] = vice.choice_probabilities((np.cumsum(split.is_seen) - 1)[triplets[is_fitted]])
    return expected


def posterior_mean(probabilities: np.ndarray, counts: np.ndarray, concentration: float | None) -> np.ndarray:
    """Posterior mean of choice probabilities (m, 3): a Dirichlet prior from VICE, updated by people's choices.

    (κ p + counts) / (κ + n) with the concentration κ > 0 and the `counts` (m, 3) of choices of each pair. With κ = 1,
    VICE and the choice have equal weight in a triplet that one person judged. In a triplet that many people judged,
    their choices have most of the weight. None leaves the probabilities as they are (κ = ∞).
    """
    if concentration is None:
        return probabilities
    return (concentration * probabilities + counts) / (concentration + counts.sum(1, keepdims=True))
