"""Shares of right answers of classifiers that learn from several draws of images and are tested on the same others.

An accuracy varies with the images that are learned from, and with those that are tested. Every test image is
classified after every draw, so the two are crossed, and the mean squares of an analysis of variance with two random
factors tell them apart: the variance of the mean is (MS of draws + MS of images - MS of the rest) / cases. The degrees
of freedom are those of Satterthwaite (1946, doi 10.2307/3002019). With one draw, the interval is over images alone.
"""

import hashlib
from typing import NamedTuple

import numpy as np

from hf_alignet.evaluation.statistics.intervals import share_interval, with_interval
from hf_alignet.evaluation.statistics.spread import LEAST, Error
from hf_alignet.metric import Metric

BOTH, IMAGES = "images and shots", "images"


class Crossed(NamedTuple):
    """What the mean over draws and test images owes to each of them."""

    values: np.ndarray  # (draws, images)
    cases: str  # a hash of the draws and the images, which two models must have in common to be compared

    @property
    def unit(self) -> str:
        return BOTH if len(self.values) > 1 else IMAGES

    def less(self, other: "Crossed") -> "Crossed":
        """The differences, case by case."""
        return Crossed(self.values.astype(np.float64) - other.values, self.cases)

    def error(self) -> Error:
        """The standard error of the mean over new draws and new images of the same kind."""
        draws, images = self.values.shape
        number = self.values.size
        of_draws, of_images = self.values.mean(1), self.values.mean(0)
        mean = of_draws.mean()
        image_square = draws * float(((of_images - mean) ** 2).sum()) / max(1, images - 1)
        if draws == 1:
            return Error((image_square / number) ** 0.5, max(1, images - 1), images, images)
        draw_square = images * float(((of_draws - mean) ** 2).sum()) / (draws - 1)
        total = float(((self.values - mean) ** 2).sum())
        left = total - image_square * (images - 1) - draw_square * (draws - 1)
        rest = left / max(1, (draws - 1) * (images - 1))
        parts = np.array([image_square, draw_square, -rest]) / number
        freedoms = np.array([images - 1, draws - 1, (draws - 1) * (images - 1)])
        variance = max(parts.sum(), LEAST * image_square / number)
        spread = float((parts**2 / np.maximum(1, freedoms)).sum())
        freedom = max(1.0, variance**2 / spread) if spread > 0 else float(images - 1)
        return Error(variance**0.5, freedom, images, number)


def crossed_share(correct: np.ndarray, cases: tuple[np.ndarray, ...], chance: float) -> Metric:
    """The share of right answers, with its interval over images and, with several draws, over what is learned from.

    Args:
        correct: (draws, images) bool.
        cases: arrays that say which draws and which images these are.
        chance: what guessing gives.
    """
    digest = hashlib.blake2b(digest_size=16)
    for array in cases:
        digest.update(np.ascontiguousarray(array).tobytes())
    spread = Crossed(np.asarray(correct), digest.hexdigest())
    value, error = float(spread.values.mean()), spread.error()
    ci95 = share_interval(value, error)
    return with_interval(value, ci95, error.units, spread.unit, n=spread.values.shape[1], chance=chance, spread=spread)
