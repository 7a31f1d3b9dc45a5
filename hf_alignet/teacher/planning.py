"""How good the default teacher is after so many choices: a learning curve of simulated people, or of real choices."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated

import numpy as np
import pandas as pd
import scipy
import torch
from datasets import Dataset
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.judgments import make_judgments
from hf_alignet.processes import share_tasks
from hf_alignet.ranges import Range, Seed, checked
from hf_alignet.similarity import PAIRS, choice_log_probabilities, odd_of_pair, of_chosen_pair
from hf_alignet.similarity.products import measured_similarities
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.affine.axes import PrincipalAxes
from hf_alignet.teacher.choice_likelihood import observed_choices
from hf_alignet.teacher.choosing import best_scale
from hf_alignet.teacher.fitting import fit_teacher

LEADING_AXES, SEEN_AXES, OWN_AXES = 30, 8, 2
TEST_TRIPLETS = 20_000
Agreement = Annotated[float, Range(above=1 / 3, below=1)]
NUMBERS = (200, 600, 2000, 6000)  # of choices
REPEATS = 3


@dataclass(frozen=True)
class Study:
    """Choices in random order to fit teachers to, and others to test them."""

    judgments: Dataset
    triplets: np.ndarray  # (m, 3) of the test
    shares: np.ndarray  # (m, 3) of people who keep each pair together
    weights: np.ndarray  # (m,) numbers of choices


class SimulatedPeople:
    """People who look at some directions of the features, and at something that the features do not show.

    They compare 8 of the 30 leading principal axes, with equal weight, and 2 axes of their own.

    Args:
        features: (n, p) of the pictures.
        agreement: mean share of people who choose the most frequent answer to a random triplet. In THINGS it is 0.70.
        seed: of what they look at.

    Attributes:
        similarities: (n, n) whose softmax over the pairs of a triplet gives the probabilities of their choices.
    """

    @checked
    def __init__(self, features: np.ndarray, agreement: Agreement = 0.7, seed: Seed = 0):
        rng = np.random.default_rng(seed)
        axes = PrincipalAxes.of(features)
        rank = min(LEADING_AXES, int((axes.variances > 1e-6 * axes.variances[0]).sum()))
        seen = axes.project(features)[:, rng.permutation(rank)[:SEEN_AXES]]
        looked_at = np.hstack([seen / seen.std(0), rng.normal(size=(len(features), OWN_AXES))])
        self.num_objects = len(features)
        self.similarities = looked_at @ looked_at.T
        sample = self.logits(random_triplets(self.num_objects, 2000, rng))

        def excess(log_scale: float) -> float:
            return float(scipy.special.softmax(np.exp(log_scale) * sample, axis=1).max(1).mean()) - agreement

        self.similarities *= np.exp(scipy.optimize.brentq(excess, -12, 6))

    def logits(self, triplets: np.ndarray) -> np.ndarray:
        """(m, 3) in pair order."""
        return np.stack([self.similarities[triplets[:, i], triplets[:, j]] for i, j in PAIRS], axis=1)

    def judge(self, triplets: np.ndarray, rng: np.random.Generator) -> Dataset:
        """Judgments: one person's choice for each of the triplets (m, 3)."""
        logits = self.logits(triplets)
        return make_judgments(triplets, odd_of_pair((logits + rng.gumbel(size=logits.shape)).argmax(1)))


def random_triplets(num_objects: int, number: int, rng: np.random.Generator) -> np.ndarray:
    """(number, 3) of different objects each."""
    if num_objects < 3:
        raise InputError(f"a triplet needs 3 objects, there are {num_objects}")
    first = rng.integers(num_objects, size=number)
    second = (first + rng.integers(1, num_objects, size=number)) % num_objects
    third = rng.integers(num_objects - 2, size=number)
    for lower in np.sort(np.stack([first, second]), axis=0):
        third += third >= lower
    return np.stack([first, second, third], axis=1)


def simulated_study(features: np.ndarray, number: int, agreement: float, seed: int) -> Study:
    """People drawn at random, who judge `number` random triplets."""
    rng = np.random.default_rng(seed)
    people = SimulatedPeople(features, agreement, seed)
    judgments = people.judge(random_triplets(len(features), number, rng), rng)
    tested = random_triplets(len(features), TEST_TRIPLETS, rng)
    return Study(judgments, tested, scipy.special.softmax(people.logits(tested), axis=1), np.ones(len(tested)))


def real_study(train: Dataset, test: Dataset, seed: int) -> Study:
    """Real choices in a random order, tested on others."""
    return Study(train.shuffle(seed=seed), *observed_choices(test))


def learning_curve(features: np.ndarray, draw: Callable[[int, int], Study], progress: bool = True) -> pd.DataFrame:
    """How well the default teacher predicts choices that it was not fitted to.

    The processes of a launch share the fits, so all must call it.

    Args:
        features: (n, p) of the pictures.
        draw: from a number of choices, and the number of the study (0 to 2), to a study with so many choices or less.
        progress: show a bar.

    Returns:
        One row a number and study: `choices`, `study`, `method` (what the default took), and `accuracy`,
        `cross_entropy` in nats, and the same of the unchanged features as `raw_accuracy`, `raw_cross_entropy`.
    """
    study = cache(partial(draw, max(NUMBERS)))
    fits = [(number, repeat) for number in NUMBERS for repeat in range(REPEATS)]
    with tqdm(desc="planning", total=len(fits), unit="fit", disable=not progress) as bar:

        def row(number: int, repeat: int) -> dict[str, str | float] | None:
            is_enough = number <= len(study(repeat).judgments)
            found = _after(features, study(repeat), number) if is_enough else None
            bar.update()
            return found and {"choices": number, "study": repeat, **found}

        rows = share_tasks([partial(row, *fit) for fit in fits])
        bar.update(len(fits) - bar.n)  # what other processes did
    return pd.DataFrame(filter(None, rows)).sort_values(["study", "choices"], ignore_index=True)


def summary(curve: pd.DataFrame) -> pd.DataFrame:
    """Means over the studies of a learning curve, by number of choices, and standard deviations (`…_sd`)."""
    grouped = curve.drop(columns=["study", "method"]).groupby("choices")
    spread = grouped[["accuracy", "cross_entropy"]].std().add_suffix("_sd")
    return grouped.mean().join(spread).reset_index()


def _after(features: np.ndarray, study: Study, number: int) -> dict[str, str | float]:
    train = study.judgments.select(range(number))
    transform = fit_teacher(features, train, progress=False).transform
    tested = study.triplets, study.shares, study.weights
    accuracy, cross_entropy = measure(transform(features), *tested)
    raw = best_scale(AffineData.checked(features, *observed_choices(train))) * features
    raw_accuracy, raw_cross_entropy = measure(raw, *tested)
    found: dict[str, str | float] = {"method": transform.info["method"], "accuracy": accuracy}
    found |= {"cross_entropy": cross_entropy, "raw_accuracy": raw_accuracy, "raw_cross_entropy": raw_cross_entropy}
    return found


def measure(
    vectors: np.ndarray, triplets: np.ndarray, shares: np.ndarray, weights: np.ndarray | None = None
) -> tuple[float, float]:
    """Accuracy and cross-entropy of choices by the dot products of vectors (n, d); a tie is wrong.

    The choices are the (m, 3) `shares` of people who keep each pair of the triplets (m, 3) together, and count
    `weights` (m,), or all the same.
    """
    similarities = torch.from_numpy(measured_similarities(vectors.astype(np.float64), triplets))
    right = of_chosen_pair(similarities, torch.from_numpy(shares)).numpy()
    lost = -(shares * choice_log_probabilities(similarities).numpy()).sum(1)
    return float(np.average(right, weights=weights)), float(np.average(lost, weights=weights))
