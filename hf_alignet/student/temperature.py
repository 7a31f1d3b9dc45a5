"""Chooses the student's temperature τ† from data. A constant fits only one scale of embeddings.

The paper found τ† = 100 by grid search for the dot products of one model. Dot products of models differ by orders of
magnitude. With a τ† of the wrong order, choice probabilities are flat or saturated, and gradients nearly vanish.
"""

import itertools
import math
from collections.abc import Iterable

import numpy as np
import scipy
from datasets import Dataset
from torch import Tensor

from hf_alignet.errors import InputError
from hf_alignet.similarity import NO_CHOICE
from hf_alignet.similarity.matched_entropy import log_bounds
from hf_alignet.student.losses import triplet_hard
from hf_alignet.triplets.batches import TeacherVectors, sample_in_batch
from hf_alignet.triplets.triplet_dataset import ODD, column

CALIBRATION_TRIPLETS = 512
# Of large pictures fewer do: on a CPU, to embed them is nearly all of the time from the start to the first step. SD
# of log τ† between samples: 0.03 to 0.04 with 80 triplets, 0.01 to 0.02 with 512 (`benchmarks/waits.py`)
FEWEST_TRIPLETS = 80
CALIBRATION_PIXELS = 12_000_000  # of the pictures of the sample, where more triplets than the fewest are drawn
CALIBRATION_BATCHES = 8  # the batches that in-batch triplets come from


def calibration_sample(
    dataset: Dataset | TeacherVectors | None,
    target: str,
    order: Iterable[int],
    batch_size: int,
    seed: int,
    number: int = CALIBRATION_TRIPLETS,
) -> Dataset:
    """Training triplets to choose a temperature on. Those of batches of images need the `order` of the images."""
    if dataset is None:
        raise InputError("`student_temperature=auto` needs training triplets: give them, or a number")
    rng = np.random.default_rng(seed)
    if not isinstance(dataset, TeacherVectors):
        return dataset.select(np.sort(rng.permutation(len(dataset))[:number]))
    batches = np.array(list(itertools.islice(order, CALIBRATION_BATCHES * batch_size))).reshape(-1, batch_size)
    sample = sample_in_batch(dataset, batches, number // CALIBRATION_BATCHES, rng)
    return sample.select(np.flatnonzero(column(sample, ODD) != NO_CHOICE)) if target == ODD else sample


def calibration_size(edge: int) -> int:
    """How many triplets choose the temperature, for pictures of this edge in pixels; 0 for texts, or if unknown."""
    affordable = CALIBRATION_PIXELS // (3 * edge**2) if edge else CALIBRATION_TRIPLETS
    return min(max(affordable, FEWEST_TRIPLETS), CALIBRATION_TRIPLETS)


def maximize_likelihood(student: Tensor, odd: Tensor) -> float:
    """The τ† that makes given choices most likely, for the `hard` loss, where the teacher gives no probabilities.

    The search stays within a factor of ten of the spread of the student's similarities. Outside, gradients nearly
    vanish, and for a student at chance τ† would be infinite. Arguments as for `triplet_hard`.
    """

    def loss(log_temperature: float) -> float:
        return triplet_hard(student.double(), odd, math.exp(log_temperature)).mean().item()

    middle = sum(log_bounds(student)) / 2
    bounds = (middle - math.log(10), middle + math.log(10))
    return math.exp(scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded").x)
