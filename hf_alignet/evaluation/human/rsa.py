"""Representational similarity analysis: does a model find the same pairs of objects similar as people do?

The upper triangles of two similarity matrices, the diagonal left out, are correlated (Kriegeskorte et al. 2008). Pairs
of n objects are not independent, so that intervals and tests are over objects: pairs that share an object may go
together in any way (`hf_alignet.evaluation.statistics.spread`); the permutation test shuffles objects (Nili et al.
2014, doi 10.1371/journal.pcbi.1003553).

Two matrices are compared in blocks, since 26,000 objects have 338 million pairs. They take 2.9 GB and 4 minutes of one
core so. SciPy's `rankdata` of all pairs is no faster, and needs 70 bytes a pair, 24 GB (`benchmarks/evaluation.py`).
"""

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import scipy

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.rsm import Rsm, num_pairs, pair_rows, triangle_blocks
from hf_alignet.evaluation.statistics.correlations import (
    CorrelationWith,
    Measure,
    codes,
    correlation_metric,
    ratio,
    sum_of_products,
)
from hf_alignet.evaluation.statistics.intervals import mean_metric
from hf_alignet.evaluation.statistics.ranks import ROUNDING, join_equal, ranks_among, weighted_ranks
from hf_alignet.judgments.similarity_matrices import SimilarityMatrix
from hf_alignet.metric import Metric
from hf_alignet.ranges import Count, Seed, checked
from hf_alignet.similarity import SimilarityKind

FEWEST_PAIRS = 3
CACHED_PAIRS = 20_000_000  # up to so many pairs are kept, not computed again
INTERVAL_PAIRS = 4_000_000  # of which an interval is computed
MOST_PAIRS_KENDALL = 20_000_000
MOST_PERMUTED = 2_000  # objects
AS_GOOD = 1e-12  # the order of a sum changes its last digits; equal correlations count as at least as good

CONSTANT_NOTE = "the model finds all pairs equally similar: scored 0"


class RsmCorrelation(NamedTuple):
    """Correlation of two RSMs over `n` pairs; `masked` others were left out. It is 0 if one RSM is `constant`."""

    value: float
    n: int
    masked: int
    constant: Literal["model", "human"] | None


class _Pairs:
    """The pairs of objects of a model and people, in blocks. Those of a small matrix are computed once."""

    def __init__(self, model: Rsm, human: Rsm):
        if len(model) != len(human):
            raise InputError(
                f"the model has {len(model)} objects, people judged {len(human)}; both need the same ones"
            )
        if model.num_missing:
            raise InputError(f"{model.num_missing} of the model's similarities are missing (NaN)")
        self.model, self.human, self.masked = model, human, human.num_missing
        self.total = num_pairs(len(model))
        self._kept: list[tuple[int, np.ndarray, np.ndarray]] | None = None
        if len(self) < FEWEST_PAIRS:
            raise InputError(
                f"{len(self)} pairs were judged ({self.masked} are missing); at least {FEWEST_PAIRS} are needed"
            )

    def __len__(self) -> int:
        return self.total - self.masked

    def every(self) -> Iterable[tuple[int, np.ndarray, np.ndarray]]:
        """As `triangle_blocks`, with those pairs that were not judged."""
        if self._kept is None and self.total <= CACHED_PAIRS:
            self._kept = list(triangle_blocks(self.model, self.human))
        return triangle_blocks(self.model, self.human) if self._kept is None else self._kept

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Similarities of judged pairs (m,), of the model and of people."""
        for _, x, y in self.every():
            if self.masked:
                is_judged = ~np.isnan(y)
                x, y = x[is_judged], y[is_judged]
            if not (np.isfinite(x).all() and np.isfinite(y).all()):
                raise InputError("similarities overflow float32; scale them, or use the kernel pearson or cosine")
            yield x, y

    def some(self, most: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Objects i and j of judged pairs, and their similarities in both: all pairs, or `most` drawn at random."""
        drawn = None
        if self.total > most:
            # The random numbers must not be those of the resamples
            drawn = np.unique(np.random.default_rng([seed, 1]).integers(self.total, size=most))
        parts = []
        for offset, x, y in self.every():
            if drawn is None:
                positions = np.arange(offset, offset + len(x))
            else:
                positions = drawn[slice(*np.searchsorted(drawn, [offset, offset + len(x)]))]
                x, y = x[positions - offset], y[positions - offset]
            is_judged = ~np.isnan(y)
            i, j = pair_rows(positions[is_judged], len(self.model))
            parts.append((i, j, x[is_judged], y[is_judged]))
        i, j, x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
        return i, j, x, y


@checked
def rsa_score(
    embeddings: np.ndarray,
    human: SimilarityMatrix,
    measure: Measure = "spearman",
    kernel: SimilarityKind = "pearson",
    seed: Seed = 0,
) -> Metric:
    """How well the similarities of embeddings agree with those that people judged.

    Args:
        embeddings: (n, d), a row for each stimulus of `human`, in its order.
        human: similarities, or dissimilarities, whose sign is changed.
        measure: `spearman`, `pearson` or `kendall` (τ-a), see `hf_alignet.evaluation.statistics.correlations`.
        kernel: how embeddings are compared, see `Rsm.from_embeddings`.
        seed: Seed of the draw of pairs for the interval, where they are many.

    Returns and raises what `compare_rsms` does, also if a stimulus has no embedding.
    """
    if len(embeddings) != len(human.names):
        raise InputError(
            f"{human.source} has {len(human.names)} stimuli, and there are {len(embeddings)} embeddings; every "
            "stimulus needs one, in the order of the matrix"
        )
    model, judged = Rsm.from_embeddings(embeddings, kernel), Rsm.from_matrix(human.matrix, human.kind)
    return compare_rsms(model, judged, measure, seed)


@checked
def compare_rsms(model: Rsm, human: Rsm, measure: Measure = "spearman", seed: Seed = 0) -> Metric:
    """Correlation of two RSMs with its 95 % interval over objects.

    If there are more than 4 million pairs, the interval, not the value, is computed from 4 million of them drawn at
    random, which makes it a little wider.

    Args:
        model: RSM of n objects without missing pairs.
        human: RSM of the same objects in the same order. Missing pairs are left out, and counted as `masked`.
        measure: `spearman`, `pearson` or `kendall`.
        seed: Seed of the draw of pairs.

    Returns:
        `n` counts pairs, `masked` those that were not judged, and chance is 0. A model that finds all pairs equally
        similar has value 0, and a `note`.

    Raises:
        InputError: the numbers of objects differ, a similarity of the model is missing, fewer than 3 pairs were
            judged, people judged all pairs alike, or there are too many pairs for Kendall.
    """
    pairs = _Pairs(model, human)
    found = _correlate(pairs, measure)
    if found.constant == "human":
        raise InputError("people judged all pairs equally similar: there is nothing to agree with")
    if found.constant == "model":
        return Metric(0.0, found.n, 0.0, masked=found.masked, note=CONSTANT_NOTE)
    i, j, x, y = pairs.some(INTERVAL_PAIRS, seed)
    members = np.stack([i, j], axis=1)
    with_people = CorrelationWith(y, measure)
    facts = {"n": found.n, "masked": found.masked}
    return correlation_metric(codes(x, measure), with_people, members, "objects", found.value, **facts)


@checked
def correlate_rsms(model: Rsm, human: Rsm, measure: Measure = "spearman") -> RsmCorrelation:
    """The correlation alone, without an interval.

    The pairs are read twice, in blocks. Memory is that of the inputs, and 8 bytes a pair (Pearson: none).

    The arguments and errors are those of `compare_rsms`. Kendall's τ takes at most 20 million pairs (6,300 objects).
    """
    return _correlate(_Pairs(model, human), measure)


def _correlate(pairs: _Pairs, measure: Measure) -> RsmCorrelation:
    n = len(pairs)
    if measure == "kendall" and n > MOST_PAIRS_KENDALL:
        raise InputError(
            f"Kendall's τ is computed for at most {MOST_PAIRS_KENDALL:,} pairs, and there are {n:,}; use "
            "spearman, or fewer objects"
        )
    if measure == "pearson":
        # (blocks, 2, 3)
        parts = [[(v.min(), v.max(), v.sum(dtype=np.float64)) for v in block] for block in pairs if len(block[0])]
        low, high, mean = np.min(parts, 0)[:, 0], np.max(parts, 0)[:, 1], np.sum(parts, 0)[:, 2] / n
    else:
        both, filled = np.empty((2, n), np.float32), 0
        for block in pairs:
            both[:, filled : filled + len(block[0])] = block
            filled += len(block[0])
        low, high = both.min(1).astype(np.float64), both.max(1).astype(np.float64)
    is_constant = high - low <= ROUNDING * np.maximum(np.abs(low), np.abs(high))
    if is_constant.any():
        return RsmCorrelation(0.0, n, pairs.masked, "human" if is_constant[1] else "model")
    if measure == "kendall":
        return RsmCorrelation(CorrelationWith(both[1], measure).of(codes(both[0], measure)), n, pairs.masked, None)
    if measure == "spearman":
        both.sort(axis=1)
        for ascending in both:
            join_equal(ascending)
    sums = np.zeros(3)
    for block in pairs:
        a, b = (ranks_among(v, both[k]) if measure == "spearman" else v - mean[k] for k, v in enumerate(block))
        sums += a @ a, b @ b, a @ b
    return RsmCorrelation(ratio(*sums), n, pairs.masked, None)


@checked
def permutation_p_value(
    model: Rsm, human: Rsm, measure: Measure = "spearman", num_permutations: Count = 1000, seed: Seed = 0
) -> float:
    """Share of permutations of the objects that agree at least as well: (1 + #{≥}) / (1 + permutations), one-sided.

    If there are more than 2,000 objects, 2,000 drawn at random are tested. The value is 1 if the model or people find
    all pairs equally similar. Other arguments, and the errors, are those of `compare_rsms`.

    Args:
        model: RSM whose objects are shuffled.
        num_permutations: Number of permutations.
        seed: Seed of the permutations.
    """
    pairs, rng = _Pairs(model, human), np.random.default_rng(seed)
    if len(model) > MOST_PERMUTED:
        objects = np.sort(rng.choice(len(model), MOST_PERMUTED, replace=False))
        pairs = _Pairs(model.select(objects), human.select(objects))
    if _correlate(pairs, measure).constant is not None:
        return 1.0
    n = len(pairs.model)
    of_model, y = (np.concatenate([block[side] for block in pairs.every()]) for side in (1, 2))
    shuffled = (rng.permutation(n) for _ in range(num_permutations))
    count = _num_reached_by_resorting if pairs.masked or measure == "kendall" else _num_reached
    return (1 + count(of_model, y, n, measure, shuffled)) / (1 + num_permutations)


def _num_reached(of_model: np.ndarray, y: np.ndarray, n: int, measure: Measure, shuffled: Iterable[np.ndarray]) -> int:
    """How many orders of the objects agree at least as well, of all pairs (m,) of a model and people.

    Shuffled objects have the same similarities at other pairs, and so the same ranks, mean and variance: only the sum
    of products is another.
    """
    sides = [codes(side, measure) for side in (of_model, y)]
    if measure == "spearman":
        # Whole numbers below 2^22, of at most 2,000 objects: their sums of products are exact in 64 bits
        once = np.ones(len(y), np.int64)
        sides = [weighted_ranks(side, once).astype(np.int64) for side in sides]
    else:
        sides = [side - side.mean() for side in sides]
    a, b = sides
    i, j = np.triu_indices(n, 1)
    x = np.zeros((n, n), a.dtype)
    x[i, j] = x[j, i] = a
    least = float(sum_of_products(x, b, np.arange(n))) - AS_GOOD * np.sqrt(_squares(a) * _squares(b))
    return int(sum(sum_of_products(x, b, objects) >= least for objects in shuffled))


def _squares(values: np.ndarray) -> float:
    return float(values.astype(np.float64) @ values)


def _num_reached_by_resorting(
    of_model: np.ndarray, y: np.ndarray, n: int, measure: Measure, shuffled: Iterable[np.ndarray]
) -> int:
    """As `_num_reached`, where each order has other ranks, as pairs were not judged (NaN), or is counted otherwise."""
    i, j = np.triu_indices(n, 1)
    x = np.zeros((n, n), np.float64 if measure == "pearson" else np.int32)
    x[i, j] = x[j, i] = codes(of_model, measure)
    i, j, y = i[~np.isnan(y)], j[~np.isnan(y)], y[~np.isnan(y)]
    with_people = CorrelationWith(y, measure)
    least = with_people.of(x[i, j]) - AS_GOOD
    return int(sum(with_people.of(x[objects[i], objects[j]]) >= least for objects in shuffled))


@checked
def rsa_noise_ceiling(human: SimilarityMatrix, measure: Measure = "spearman") -> dict[str, Metric]:
    """`{"lower", "upper"}`, means over participants, to compare with a model's mean correlation with participants.

    `lower` correlates each participant with the mean of the other participants, `upper` with the mean of all: the
    true model lies between them (Nili et al. 2014, as in rsatoolbox). The mean is over ranks for Spearman and Kendall,
    and over z values for Pearson; for Kendall it is nearly, not exactly, the best matrix. A pair that one participant
    did not judge is left out for all, and counted as `masked`. `n` counts participants, and intervals are Student's.

    Args:
        human: similarities with the matrices of at least two participants.
        measure: `spearman`, `pearson` or `kendall`.

    Raises:
        InputError: there are fewer than two matrices of single participants, or one judged all pairs alike.
    """
    number = 0 if human.participants is None else len(human.participants)
    if human.participants is None or number < 2:
        raise InputError(
            f"{human.source} has the matrices of {number or 'no'} single participants, so that it has no noise "
            "ceiling, which needs two participants or more"
        )
    vectors, masked = _judged_by_all(human.participants)
    scaled = np.stack([_scaled(vector, measure, row) for row, vector in enumerate(vectors)])
    total = scaled.sum(0)
    upper = [_correlation(row, total / number, measure) for row in scaled]
    lower = [_correlation(row, (total - row) / (number - 1), measure) for row in scaled]
    return {name: _mean(np.array(values), masked) for name, values in (("lower", lower), ("upper", upper))}


def _judged_by_all(participants: np.ndarray) -> tuple[np.ndarray, int]:
    """(p, m) entries above the diagonal that all participants judged, and the number of the other entries."""
    for matrix in participants:
        Rsm.from_matrix(matrix)  # its errors name the bad entry
    i, j = np.triu_indices(participants.shape[1], 1)
    vectors = participants[:, i, j].astype(np.float64)
    is_judged = ~np.isnan(vectors).any(0)
    if is_judged.sum() < FEWEST_PAIRS:
        raise InputError(f"all participants judged only {is_judged.sum()} pairs; at least {FEWEST_PAIRS} are needed")
    return vectors[:, is_judged], int((~is_judged).sum())


def _scaled(vector: np.ndarray, measure: Measure, row: int) -> np.ndarray:
    if vector.min() == vector.max():
        raise InputError(f"participant {row} judged all pairs alike; leave this participant out")
    return (vector - vector.mean()) / vector.std() if measure == "pearson" else scipy.stats.rankdata(vector)


def _correlation(x: np.ndarray, y: np.ndarray, measure: Measure) -> float:
    value = CorrelationWith(y, measure).of(codes(x, measure))
    if np.isnan(value):
        raise InputError("participants disagree so much that their mean is the same for all pairs")
    return value


def _mean(values: np.ndarray, masked: int) -> Metric:
    metric = mean_metric(values, unit="participants", chance=0.0) | {"masked": masked}
    if metric["ci95"] is not None:  # Student's interval may be wider than what a correlation can be
        metric["ci95"] = np.clip(metric["ci95"], -1, 1).tolist()
    return Metric(**metric)
