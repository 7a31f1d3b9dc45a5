"""How alignment changes distances by relation: the paper's figures 3D, 3E, 21 and 22.

The change of a pair is its Euclidean distance after alignment, less that before. The scale of embeddings grows in
training, so changes are z-scored over all pairs of images: z is negative where a pair comes nearer than pairs do on
average.
"""

from typing import NamedTuple, Self

import numpy as np
import pandas as pd

from hf_alignet.analysis.categories import DIFFERENT, RELATIONS, Categories
from hf_alignet.analysis.relation_pairs import PairSample
from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.intervals import DRAWS, FEWEST_UNITS, quantile_interval, resampled
from hf_alignet.ranges import Count, Seed, checked

AT_ONCE = 16  # bootstrap samples


class Changes(NamedTuple):
    """Changes of the m pairs of a sample by relation."""

    change: np.ndarray  # (m,) in the unit of distance
    mean: float  # over all pairs of images, also those that were not measured
    sd: float

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray, sample: PairSample) -> Self:
        """From distances (m,) before and after; each pair counts for as many as its relation has pairs in all.

        Raises:
            InputError: all distances change alike.
        """
        change = after - before
        weights = (
            sample.totals[sample.groups] / np.bincount(sample.groups, minlength=len(sample.totals))[sample.groups]
        )
        mean = float(np.average(change, weights=weights))
        sd = float(np.sqrt(np.average((change - mean) ** 2, weights=weights)))
        if not sd > 1e-6 * max(abs(mean), float(np.abs(before).max())):
            raise InputError("alignment changes no distance more than another: the two models are the same")
        return cls(change, mean, sd)

    def z(self, change: np.ndarray) -> np.ndarray:
        """z-scores of changes of any pairs."""
        return (change - self.mean) / self.sd


@checked
def relation_effects(
    changes: Changes, sample: PairSample, codes: np.ndarray, draws: Count = DRAWS, seed: Seed = 0
) -> pd.DataFrame:
    """Mean z-score of each relation, and how much it differs from that of different pairs.

    The intervals are of 95 %, by a bootstrap over classes: a pair of images counts as often as the classes of both
    were drawn, a pair within a class as often as that class. Mean and SD of the z-scores stay.

    Args:
        changes: of the pairs.
        sample: from `pairs_by_relation`.
        codes: (n, 3) of class, basic and superordinate category.
        draws: number of bootstrap samples.
        seed: seed of the bootstrap.

    Returns:
        A row for each relation that has pairs: `relation`; `pairs`, how many there are; `measured`; `classes`, of
        these; `mean_change`, in the unit of distance; `mean_z` with `z_low` and `z_high`; `effect`, Cohen's d against
        different pairs, (mean_z - that of different pairs) / sqrt of the mean of both variances, with `effect_low` and
        `effect_high`. Intervals are NaN with fewer than five classes.
    """
    z = changes.z(changes.change)
    classes = codes[sample.pairs, 0]
    sums = [_sums_of_classes(z, classes, sample.groups == relation) for relation in range(len(RELATIONS))]
    moments = np.array([of.totals() for of in sums])
    drawn = np.full((draws, len(RELATIONS), 3), np.nan)
    times = list(resampled(int(codes[:, 0].max()) + 1, seed, draws))
    for start in range(0, draws, AT_ONCE):
        block = np.stack(times[start : start + AT_ONCE])
        for relation, of in enumerate(sums):
            drawn[start : start + AT_ONCE, relation] = of.drawn(block)
    rows = []
    for relation, name in enumerate(RELATIONS):
        if moments[relation, 0] == 0:
            continue
        is_measured = sample.groups == relation
        num_classes = len(np.unique(classes[is_measured]))
        z_of, effect_of = _means(drawn)[:, relation], _effects(drawn)[:, relation]
        if num_classes < FEWEST_UNITS:
            z_of, effect_of = np.full((2, draws), np.nan)
        counts = (int(sample.totals[relation]), int(is_measured.sum()), num_classes)
        mean_z = _means(moments[None])[0, relation]
        row = [name, *counts, float(changes.change[is_measured].mean()), mean_z, *_interval(z_of)]
        effect = [_effects(moments[None])[0, relation], *_interval(effect_of)]
        rows.append(row + (effect if relation != DIFFERENT else [np.nan] * 3))
    columns = ["relation", "pairs", "measured", "classes", "mean_change", "mean_z", "z_low", "z_high"]
    return pd.DataFrame(rows, columns=[*columns, "effect", "effect_low", "effect_high"])


def category_changes(changes: Changes, change: np.ndarray, sample: PairSample, categories: Categories) -> pd.DataFrame:
    """Mean change between every two basic categories, and within each.

    Args:
        changes: of all pairs, for the z-scores.
        change: (m,) of the pairs of the sample.
        sample: from `pairs_by_category` of the basic categories.
        categories: of the images.

    Returns:
        A row for every two basic categories that have pairs: `first` and `second`, `first_superordinate` and
        `second_superordinate`, `pairs`, `measured`, `mean_change`, `mean_z`. They are ordered by superordinate
        category.
    """
    names, above = categories.names[1], categories.parents[1]
    one, other = np.triu_indices(len(names))
    measured = np.bincount(sample.groups, minlength=len(one))
    with np.errstate(invalid="ignore"):  # a category of one image has no pair within
        mean = np.bincount(sample.groups, change, len(one)) / measured
    place = np.argsort(np.lexsort((np.arange(len(names)), above)))  # of each category in the order
    swapped = place[one] > place[other]
    first, second = np.where(swapped, other, one), np.where(swapped, one, other)
    superordinate = np.array(categories.names[2])[above]
    table = pd.DataFrame(
        {
            "first": np.array(names)[first],
            "second": np.array(names)[second],
            "first_superordinate": superordinate[first],
            "second_superordinate": superordinate[second],
            "pairs": sample.totals,
            "measured": measured,
            "mean_change": mean,
            "mean_z": changes.z(mean),
        }
    )
    return table.iloc[np.lexsort((place[second], place[first]))].query("measured > 0").reset_index(drop=True)


class _ClassSums(NamedTuple):
    """Of the pairs of k pairs of classes: how many, and the sums of their z-scores and of the squares."""

    classes: np.ndarray  # (k, 2)
    sums: np.ndarray  # (k, 3)

    def totals(self) -> np.ndarray:
        return self.sums.sum(0)

    def drawn(self, times: np.ndarray) -> np.ndarray:
        """The totals (b, 3) where each class is drawn so many times (b, c)."""
        first, second = self.classes.T
        weights = times[:, first] * np.where(first == second, 1, times[:, second])
        return weights @ self.sums


def _sums_of_classes(z: np.ndarray, classes: np.ndarray, is_measured: np.ndarray) -> _ClassSums:
    z, classes = z[is_measured], np.sort(classes[is_measured], 1)
    number = int(classes.max(initial=0)) + 1
    keys, which = np.unique(classes[:, 0] * number + classes[:, 1], return_inverse=True)
    sums = np.stack([np.bincount(which, values, len(keys)) for values in (np.ones(len(z)), z, z**2)], 1)
    return _ClassSums(np.stack([keys // number, keys % number], 1), sums)


def _means(moments: np.ndarray) -> np.ndarray:
    """Means (b, r) from numbers, sums and sums of squares (b, r, 3); NaN where there is nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return moments[..., 1] / moments[..., 0]


def _effects(moments: np.ndarray) -> np.ndarray:
    """Cohen's d (b, r) of each relation against different pairs."""
    means = _means(moments)
    with np.errstate(invalid="ignore", divide="ignore"):
        variances = moments[..., 2] / moments[..., 0] - means**2
        pooled = np.sqrt((variances + variances[:, [DIFFERENT]]) / 2)
        return (means - means[:, [DIFFERENT]]) / pooled


def _interval(drawn: np.ndarray) -> list[float]:
    """NaN twice where no sample has the relation."""
    known = drawn[np.isfinite(drawn)]
    return quantile_interval(known) if len(known) else [np.nan, np.nan]
