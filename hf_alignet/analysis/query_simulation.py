"""How many answers of a teacher a student needs to learn where a new object lies, if the two disagree.

A simulation of the theory of Sucholutsky & Griffiths (2023, arXiv 2301.11990, section 3: proposition 3.8 and theorem
3.9). A student knows n objects in d dimensions, and asks a teacher where a new one lies: "is it nearer to object i or
to object j?" An answer is one bit. The teacher's answer is not the student's truth with probability ε, so the answers
come through a binary symmetric channel, of capacity 1 - H(ε) bits, and d log2(n) bits take
d log2(n) / (1 - H(ε)) queries. A teacher that always disagrees (ε = 1) teaches as well as one that never does; at
ε = 0.5 no number of queries is enough. Hence the U-shape.

The theorem is about the order d log(n). We could not check its wording or its constant, and chose this form: the
constant is 1, as the new object is at one of n^d candidate places that queries can tell apart. (All C(n, 2) bisectors
divide the space into up to about n^(2d) / (2^d d!) regions; the logarithm of that has the same order.) Also chosen
here: objects and places are uniform in a cube; a query that is asked again has a new answer; the student knows ε,
keeps the probability of every candidate by Bayes' rule, asks the query whose answer tells most, and stops when it is
sure of one candidate.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.intervals import mean_metric
from hf_alignet.ranges import Count, ProperShare, Seed, Share, checked

MOST_CANDIDATES = 5000
DRAWN_AT_ONCE = 4  # places for each candidate: of those with the same answers to all queries, one is a candidate
MOST_BLOCKS = 50


class Queries(NamedTuple):
    """The queries of `runs` students that learn a new object each."""

    asked: np.ndarray  # (runs,) number of queries until the student was sure
    is_right: np.ndarray  # (runs,) whether it was right


def capacity(disagreement: float) -> float:
    """Bits that an answer tells, 1 - H(ε), in [0, 1]; 0 at ε = 0.5.

    Example:
        >>> round(capacity(0.11), 3), capacity(1.0)
        (0.5, 1.0)
    """
    shares = np.array([disagreement, 1 - disagreement])
    shares = shares[shares > 0]
    return float(1 + (shares * np.log2(shares)).sum())


@checked
def query_bound(disagreement: Share, num_objects: Count, dim: Count) -> float:
    """d log2(n) / (1 - H(ε)): how many queries it takes to learn where a new object lies. Infinite at ε = 0.5.

    Args:
        disagreement: ε, the probability that an answer of the teacher is not the student's.
        num_objects: n, objects that are known.
        dim: d, dimensions of the space.
    """
    bits = dim * np.log2(num_objects)
    return float(bits / capacity(disagreement)) if disagreement != 0.5 else float("inf")


@checked
def simulate_queries(
    disagreement: Share,
    num_objects: Count = 16,
    dim: Count = 2,
    runs: Count = 100,
    error: ProperShare = 0.05,
    seed: Seed = 0,
) -> Queries:
    """Lets students learn where a new object lies, in one world of known objects and candidate places.

    Args:
        disagreement: ε, the probability that an answer of the teacher is not the student's; not 0.5.
        num_objects: n, objects that are known.
        dim: d, dimensions of the space. There are n^d candidate places.
        runs: students, each with a new object of its own and answers of its own.
        error: a student stops when the other candidates have at most this probability together.
        seed: of the world, the new objects and the answers, which are drawn apart from each other.

    Raises:
        InputError: ε is 0.5, n is 1, there are more than 5,000 candidates, or n objects cannot tell n^d places apart.
    """
    if disagreement == 0.5:
        raise InputError("`disagreement` must not be 0.5: such answers tell nothing, and no number of them is enough")
    of_world, of_objects, of_answers = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    truth = query_answers(num_objects, dim, of_world)  # (candidates, queries)
    new = of_objects.integers(len(truth), size=runs)
    asked = np.zeros(runs, np.int64)
    found = np.full(runs, -1)
    beliefs = np.full((runs, len(truth)), 1 / len(truth))  # of each student
    active = np.arange(runs)
    tables = truth.astype(np.float64), truth.T.copy()
    while len(active):
        # The nearest to one half tells most, whatever ε is. Of equal ones the first, on any machine: hence rounded
        query = np.abs(beliefs @ tables[0] - 0.5).round(9).argmin(1)
        answer = truth[new[active], query] ^ (of_answers.random(len(active)) < disagreement)
        beliefs *= np.where(tables[1][query] == answer[:, None], 1 - disagreement, disagreement)
        beliefs /= beliefs.sum(1, keepdims=True)
        asked[active] += 1
        is_sure = beliefs.max(1) >= 1 - error
        found[active[is_sure]] = beliefs[is_sure].argmax(1)
        active, beliefs = active[~is_sure], beliefs[~is_sure]
    return Queries(asked, found == new)


def query_answers(num_objects: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """The true answers about n^d candidate places, no two of which have the same: (n^d, n(n - 1)/2) bool.

    Objects and places are uniform in a cube. A query is a pair i < j of objects, and True says nearer to i.

    Raises:
        InputError: n is 1, there are more than 5,000 candidates, or n objects cannot tell n^d places apart.
    """
    wanted, what = num_objects**dim, f"{num_objects} objects in {dim} dimensions"
    if num_objects < 2:
        raise InputError("`num_objects` must be 2 or more: a query is about two objects")
    if wanted > MOST_CANDIDATES:
        raise InputError(f"{what} are {wanted} candidates, more than {MOST_CANDIDATES}")
    objects = rng.random((num_objects, dim))
    first, second = np.triu_indices(num_objects, 1)
    found = np.zeros((0, len(first)), bool)
    for _ in range(MOST_BLOCKS):
        places = rng.random((DRAWN_AT_ONCE * wanted, dim))
        squares = ((places[:, None] - objects) ** 2).sum(-1)  # (places, n)
        both = np.concatenate([found, squares[:, first] < squares[:, second]])
        kept = np.sort(np.unique(both, axis=0, return_index=True)[1])[:wanted]
        found = both[kept]
        if len(found) == wanted:
            return found
    raise InputError(f"{what} tell only {len(found)} of {wanted} places apart")


@checked
def query_table(
    disagreements: Sequence[float],
    dims: Sequence[int],
    num_objects: Count = 16,
    worlds: Count = 10,
    runs: Count = 20,
    error: ProperShare = 0.05,
    seed: Seed = 0,
) -> pd.DataFrame:
    """The simulated number of queries beside the bound.

    Args:
        disagreements: values of ε, not 0.5.
        dims: values of d.
        num_objects: n.
        worlds: for each d and ε, every one with a seed of its own.
        runs: students in each world.
        error: see `simulate_queries`.
        seed: of all.

    Returns:
        A row for each d and ε: `dim`, `disagreement`, `num_objects`, `students` in all, `bound`, `queries`, their
        mean, with `low` and `high`, its interval of 95 % over worlds (Student's; NaN for fewer than five), and
        `right`, the share of students that ended at the right candidate.

    Raises:
        InputError: see `simulate_queries`.
    """
    rows = []
    seeds = np.random.SeedSequence(seed).generate_state(len(dims) * len(disagreements) * worlds)
    for (dim, epsilon), of_worlds in zip(product(dims, disagreements), seeds.reshape(-1, worlds), strict=True):
        found = [simulate_queries(epsilon, num_objects, dim, runs, error, int(of_world)) for of_world in of_worlds]
        mean = mean_metric(np.array([queries.asked.mean() for queries in found]), unit="worlds", chance=None)
        right = float(np.mean([queries.is_right for queries in found]))
        numbers = (dim, epsilon, num_objects, worlds * runs, query_bound(epsilon, num_objects, dim))
        rows.append((*numbers, mean["value"], *(mean["ci95"] or (np.nan, np.nan)), right))
    columns = ("dim", "disagreement", "num_objects", "students", "bound", "queries", "low", "high", "right")
    return pd.DataFrame(rows, columns=list(columns))
