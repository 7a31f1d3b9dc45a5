"""Whether models become alike: linear CKA between them, with intervals over classes of images, and its mean.

The paper's figure 3A compares models before and after alignment. An interval says what other classes of images would
give: classes are divided at random into groups, and each group is left out once (delete-a-group jackknife, Kott 2001).
"""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy

from hf_alignet.analysis.model_similarity import centred
from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.intervals import FEWEST_UNITS, with_interval
from hf_alignet.metric import Metric
from hf_alignet.ranges import Seed, checked

MOST_GROUPS = 20


class Convergence(NamedTuple):
    """CKA of every two of the models."""

    pairs: list[tuple[str, str]]
    values: np.ndarray  # (p,)
    left_out: np.ndarray  # (g, p) without each group of classes
    num_images: int
    num_classes: int

    def table(self) -> pd.DataFrame:
        """A row for each pair: `model`, `other`, `cka`, `low`, `high`; NaN where classes are too few."""
        columns = zip(self.pairs, self.values.tolist(), self.left_out.T, strict=True)
        rows = [(*pair, value, *(self._share(value, left)["ci95"] or [np.nan] * 2)) for pair, value, left in columns]
        return pd.DataFrame(rows, columns=["model", "other", "cka", "low", "high"])

    def mean(self) -> Metric:
        """The mean over pairs of different models."""
        return self._share(float(self.values.mean()), self.left_out.mean(1))

    def change(self, after: "Convergence") -> Metric:
        """How much the mean differs after alignment, for the same models and images."""
        value = float(after.values.mean() - self.values.mean())
        return self._metric(value, after.left_out.mean(1) - self.left_out.mean(1))

    def _share(self, value: float, left_out: np.ndarray) -> Metric:
        """With an interval inside [0, 1], where CKA is."""
        metric = self._metric(value, left_out)
        if metric["ci95"] is not None:
            metric["ci95"] = np.clip(metric["ci95"], 0, 1).tolist()
        return metric

    def _metric(self, value: float, left_out: np.ndarray) -> Metric:
        groups = len(left_out)
        error = float(np.sqrt((groups - 1) / groups * ((left_out - left_out.mean()) ** 2).sum()))
        half = float(scipy.stats.t.ppf(0.975, groups - 1)) * error if groups >= FEWEST_UNITS else np.nan
        return with_interval(
            value, [value - half, value + half], self.num_classes, "classes", n=self.num_images, chance=None
        )


@checked
def model_convergence(models: Mapping[str, np.ndarray], classes: np.ndarray, seed: Seed = 0) -> Convergence:
    """Compares every two models.

    Args:
        models: embeddings (n, d) of the same images by name, of at least two models; d may differ.
        classes: (n,) integers from 0, the class of each image.
        seed: of the groups of classes.

    Raises:
        InputError: there is only one model, numbers of images differ, or an embedding is not finite.
    """
    if len(models) < 2:
        raise InputError(f"models are compared with each other, and there is only {', '.join(models) or 'none'}")
    wrong = next((name for name, embeddings in models.items() if len(embeddings) != len(classes)), None)
    if wrong is not None:
        raise InputError(f"{wrong} has embeddings of {len(models[wrong])} images, not of {len(classes)}")
    group = _groups(classes, seed)[classes]
    rows = [np.flatnonzero(group == number) for number in range(group.max() + 1)]
    prepared = {name: centred(embeddings) for name, embeddings in models.items()}
    own = {name: _norms(x, x, rows) for name, x in prepared.items()}
    pairs = list(combinations(models, 2))
    found = []
    for one, other in pairs:
        both = np.sqrt(own[one] * own[other])
        shared = _norms(prepared[one], prepared[other], rows)
        found.append(np.clip(np.divide(shared, both, out=np.zeros_like(both), where=both > 0), 0, 1))
    columns = np.stack(found, 1)  # (1 + g, p)
    return Convergence(pairs, columns[0], columns[1:], len(classes), len(np.unique(classes)))


def _groups(classes: np.ndarray, seed: int) -> np.ndarray:
    """(c,) the group of each class, of up to 20 groups of about as many classes."""
    number = int(classes.max()) + 1
    return np.random.default_rng(seed).permutation(number) % min(MOST_GROUPS, number)


def _norms(x: np.ndarray, y: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """(1 + g,) squared norms of x'y of all rows, and without each group, of columns that are centred in the rest.

    `x` and `y` are centred over all rows. The rows that stay have the sums -a and -b of those that are left out, so
    that their centred product is the whole one, less that of the group, less a'b / number of rows that stay.
    """
    products = [x[rows].T @ y[rows] for rows in groups]
    sums = [(x[rows].sum(0, dtype=np.float64), y[rows].sum(0, dtype=np.float64)) for rows in groups]
    whole = np.sum(products, axis=0, dtype=np.float64)
    found = [whole]
    for rows, product, (of_x, of_y) in zip(groups, products, sums, strict=True):
        rest = max(len(x) - len(rows), 1)
        found.append(whole - product - np.outer(of_x, of_y) / rest)
    return np.array([np.einsum("ij,ij->", matrix, matrix) for matrix in found])
