"""Representational similarity analysis: does a model find the same pairs of objects similar as people do?

The upper triangles of two similarity matrices, the diagonal left out, are correlated (Kriegeskorte et al. 2008). Pairs
of n objects are not independent, so that intervals and tests are over objects: the bootstrap resamples objects, and
leaves out the pairs of an object with itself that come up; the permutation test shuffles them (Nili et al. 2014).
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.rsm import Rsm, num_pairs, pair_rows, triangle_blocks
from hf_alignet.evaluation.statistics.correlations import (
    AgainstJudged,
    Measure,
    Ordered,
    codes,
    from_sums,
    order,
    pearson,
    spearman_sums,
)
from hf_alignet.judgments.similarity_matrices import SimilarityMatrix
from hf_alignet.metric import Metric
from hf_alignet.similarity import SimilarityKind

FEWEST_PAIRS = 3
CACHED_PAIRS = 20_000_000  # pairs that are kept, not computed a second time
RESAMPLED_PAIRS = {"spearman": 4_000_000, "pearson": 4_000_000, "kendall": 250_000}
MOST_PAIRS_KENDALL = 20_000_000
MOST_PERMUTED = 2_000  # objects
INDISTINCT = 32 * float(np.finfo(np.float32).eps)  # spread of similarities, as a share of the largest: rounding

CONSTANT_NOTE = "the model finds all pairs equally similar: scored 0"


class RsaMetric(Metric, total=False):
    """A correlation over `n` pairs, of which `masked` more were not judged; `note` where it is no ordinary number."""

    masked: int
    note: str


class RsmCorrelation(NamedTuple):
    """Correlation of two RSMs over `n` pairs; `masked` more were left out. Value 0 where one of them is constant."""

    value: float
    n: int
    masked: int
    constant: Literal["model", "human"] | None


class _Pairs:
    """The judged pairs of a model and people, in blocks; those of a small matrix are kept."""

    def __init__(self, model: Rsm, human: Rsm):
        self.model, self.human = model, human
        self.masked = human.num_missing
        self.blocks: list[tuple[np.ndarray, np.ndarray]] | None = None

    def __len__(self) -> int:
        return num_pairs(len(self.model)) - self.masked

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self.blocks is None and len(self) <= CACHED_PAIRS:
            self.blocks = list(self._make())
        return iter(self.blocks) if self.blocks is not None else self._make()

    def _make(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _, x, y in triangle_blocks(self.model, self.human):
            if self.masked:
                is_judged = ~np.isnan(y)
                x, y = x[is_judged], y[is_judged]
            if not (np.isfinite(x).all() and np.isfinite(y).all()):
                raise InputError("similarities overflow float32; scale them, or use the kernel pearson or cosine")
            yield x, y


def rsa_score(
    embeddings: np.ndarray,
    human: SimilarityMatrix,
    measure: Measure = "spearman",
    kernel: SimilarityKind = "pearson",
    num_bootstraps: int = 1000,
    seed: int = 0,
) -> RsaMetric:
    """How well the similarities of embeddings agree with those that people judged.

    Args:
        embeddings: (n, d), a row for each stimulus of `human`, in its order.
        human: similarities or dissimilarities (whose sign is turned).
        measure: `spearman`, `pearson` or `kendall` (τ-a), see `hf_alignet.evaluation.statistics.correlations`.
        kernel: how embeddings are compared, see `Rsm.from_embeddings`.
        num_bootstraps: resamples of the stimuli.
        seed: of the resamples.

    Returns:
        See `compare_rsms`.

    Raises:
        InputError: a stimulus has no embedding; or see `compare_rsms`.
    """
    if len(embeddings) != len(human.names):
        raise InputError(
            f"{human.source} has {len(human.names)} stimuli, and there are {len(embeddings)} embeddings; every "
            "stimulus needs one, in the order of the matrix"
        )
    model, judged = Rsm.from_embeddings(embeddings, kernel), Rsm.from_matrix(human.matrix, human.kind)
    return compare_rsms(model, judged, measure, num_bootstraps, seed)


def compare_rsms(
    model: Rsm, human: Rsm, measure: Measure = "spearman", num_bootstraps: int = 1000, seed: int = 0
) -> RsaMetric:
    """Correlation of two RSMs with its 95 % bootstrap interval over objects.

    Every resample ranks its pairs anew; one in which people judged all pairs alike is left out. Of more than 4 million
    pairs (250,000 for Kendall) the interval, not the value, is computed from as many drawn at random, which makes it
    somewhat wider. With 2,000 objects a resample takes 0.04 seconds.

    Args:
        model: of n objects, nothing missing.
        human: of the same objects in the same order. Missing pairs are left out, and counted as `masked`.
        measure: `spearman`, `pearson` or `kendall`.
        num_bootstraps: at least 1.
        seed: of the resamples.

    Returns:
        `n` counts pairs, chance is 0. A model that finds all pairs equally similar has value 0, and a `note`.

    Raises:
        InputError: different numbers of objects, a missing similarity of the model, fewer than 3 judged pairs, people
            who judged all alike, or too many pairs for Kendall.
    """
    if num_bootstraps < 1:
        raise ValueError(f"num_bootstraps must be at least 1, got {num_bootstraps}")
    found = correlate_rsms(model, human, measure)
    if found.constant == "human":
        raise InputError("people judged all pairs equally similar: there is nothing to agree with")
    if found.constant == "model":
        return RsaMetric(value=0.0, n=found.n, chance=0.0, ci95=[0.0, 0.0], masked=found.masked, note=CONSTANT_NOTE)
    i, j, x, y = _some_pairs(model, human, RESAMPLED_PAIRS[measure], seed)
    judged, x = AgainstJudged(y, measure), codes(x, measure)
    rng, values = np.random.default_rng(seed), np.empty(num_bootstraps)
    for b in range(num_bootstraps):
        times = np.bincount(rng.integers(len(model), size=len(model)), minlength=len(model))
        values[b] = judged.correlate(x, times[i] * times[j])
    if np.isnan(values).all():
        raise InputError("too few pairs were judged for an interval: no resample of the objects has two that differ")
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return RsaMetric(value=found.value, n=found.n, chance=0.0, ci95=[float(low), float(high)], masked=found.masked)


def correlate_rsms(model: Rsm, human: Rsm, measure: Measure = "spearman") -> RsmCorrelation:
    """The correlation alone, without an interval.

    Two passes over the pairs in blocks: memory is that of the inputs, and, for Spearman, 8 bytes a pair.

    Args:
        model: of n objects, nothing missing.
        human: of the same objects in the same order; missing pairs are left out.
        measure: `spearman`, `pearson` or `kendall`, the last for at most 20 million pairs (6,300 objects).

    Raises:
        InputError: see `compare_rsms`.
    """
    if measure not in get_args(Measure):
        raise InputError(f"measure must be one of {', '.join(get_args(Measure))}, got {measure!r}")
    pairs = _checked_pairs(model, human)
    if measure == "kendall" and len(pairs) > MOST_PAIRS_KENDALL:
        raise InputError(
            f"Kendall's τ is computed for at most {MOST_PAIRS_KENDALL:,} pairs, and there are {len(pairs):,}; use "
            "spearman, or fewer objects"
        )
    if measure == "spearman":
        ordered = _ordered(pairs)
        ranges = [(float(of.values[0]), float(of.values[-1])) for of in ordered]
    else:
        ranges = _ranges(pairs)
    if _is_constant(*ranges[1]):
        return RsmCorrelation(0.0, len(pairs), pairs.masked, "human")
    if _is_constant(*ranges[0]):
        return RsmCorrelation(0.0, len(pairs), pairs.masked, "model")
    if measure == "spearman":
        value = from_sums(np.sum([spearman_sums(x, y, *ordered) for x, y in pairs], axis=0))
    elif measure == "pearson":
        value = pearson(pairs)
    else:
        x, y = (np.concatenate(side) for side in zip(*pairs, strict=True))
        value = AgainstJudged(y, measure).correlate(codes(x, measure))
    return RsmCorrelation(float(value), len(pairs), pairs.masked, None)


def permutation_p_value(
    model: Rsm, human: Rsm, measure: Measure = "spearman", num_permutations: int = 1000, seed: int = 0
) -> float:
    """How often objects shuffled at random agree at least as well: (1 + #{≥}) / (1 + permutations), one-sided.

    Of more than 2,000 objects as many drawn at random are tested.

    Args:
        model: whose objects are shuffled.
        human: of the same objects; missing pairs are left out.
        measure: `spearman`, `pearson` or `kendall`.
        num_permutations: at least 1.
        seed: of the permutations.

    Returns:
        In (0, 1]; 1 where either finds all pairs equally similar.

    Raises:
        InputError: see `compare_rsms`.
    """
    if num_permutations < 1:
        raise ValueError(f"num_permutations must be at least 1, got {num_permutations}")
    _checked_pairs(model, human)
    rng = np.random.default_rng(seed)
    if len(model) > MOST_PERMUTED:
        objects = np.sort(rng.choice(len(model), MOST_PERMUTED, replace=False))
        model, human = model.select(objects), human.select(objects)
    if correlate_rsms(model, human, measure).constant is not None:
        return 1.0
    n = len(model)
    i, j = np.triu_indices(n, 1)
    y = np.concatenate([block for _, _, block in triangle_blocks(model, human)])
    x = np.zeros((n, n), np.float64 if measure == "pearson" else np.int32)
    x[i, j] = x[j, i] = codes(np.concatenate([block for _, block, _ in triangle_blocks(model, human)]), measure)
    i, j, y = i[~np.isnan(y)], j[~np.isnan(y)], y[~np.isnan(y)]
    judged = AgainstJudged(y, measure)
    observed = judged.correlate(x[i, j])
    shuffled = (rng.permutation(n) for _ in range(num_permutations))
    # Sums in another order differ in their last digits: what is equal counts as at least as good
    reached = sum(judged.correlate(x[objects[i], objects[j]]) >= observed - 1e-12 for objects in shuffled)
    return (1 + int(reached)) / (1 + num_permutations)


def _checked_pairs(model: Rsm, human: Rsm) -> _Pairs:
    if len(model) != len(human):
        raise InputError(f"the model has {len(model)} objects, people judged {len(human)}; both need the same ones")
    if model.num_missing:
        raise InputError(f"{model.num_missing} of the model's similarities are missing (NaN)")
    pairs = _Pairs(model, human)
    if len(pairs) < FEWEST_PAIRS:
        raise InputError(
            f"{len(pairs)} pairs were judged ({pairs.masked} are missing); at least {FEWEST_PAIRS} are needed"
        )
    return pairs


def _is_constant(low: float, high: float) -> bool:
    return high - low <= INDISTINCT * max(abs(low), abs(high))


def _ordered(pairs: _Pairs) -> tuple[Ordered, Ordered]:
    both = np.empty((2, len(pairs)), np.float32)
    filled = 0
    for x, y in pairs:
        both[0, filled : filled + len(x)], both[1, filled : filled + len(x)] = x, y
        filled += len(x)
    return order(both[0]), order(both[1])


def _ranges(pairs: _Pairs) -> list[tuple[float, float]]:
    """Smallest and largest similarity of the model, and of people."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for x, y in pairs:
        low = np.minimum(low, [x.min(initial=np.inf), y.min(initial=np.inf)])
        high = np.maximum(high, [x.max(initial=-np.inf), y.max(initial=-np.inf)])
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _some_pairs(model: Rsm, human: Rsm, most: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Objects i and j of judged pairs, and their similarities in both: all pairs, or `most` drawn at random."""
    n = len(model)
    total = num_pairs(n)
    # Another stream than the resamples'
    drawn = np.unique(np.random.default_rng([seed, 1]).integers(total, size=most)) if total > most else None
    parts = []
    for offset, x, y in triangle_blocks(model, human):
        if drawn is None:
            positions = np.arange(offset, offset + len(x))
        else:
            positions = drawn[slice(*np.searchsorted(drawn, [offset, offset + len(x)]))]
            x, y = x[positions - offset], y[positions - offset]
        is_judged = ~np.isnan(y)
        i, j = pair_rows(positions[is_judged], n)
        parts.append((i, j, x[is_judged], y[is_judged]))
    i, j, x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    return i, j, x, y
