"""Triplet agreement of two RSMs: "is object i nearer to j than to k?", answered for every i, j and k.

Of the three metrics of Sucholutsky & Griffiths (2023, arXiv 2301.11990) it is the one that their theory is about: a
teacher and a student that answer a share e of such questions differently. n objects have n (n - 1) (n - 2) / 2
questions. They are counted exactly in O(n² log n): those about one object i are the pairs of its row that two
orders agree on, which Kendall's τ counts.
"""

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.rsa import CONSTANT_NOTE
from hf_alignet.evaluation.human.rsm import Rsm
from hf_alignet.evaluation.statistics.correlations import CorrelationWith
from hf_alignet.evaluation.statistics.intervals import share_interval, with_interval
from hf_alignet.evaluation.statistics.ranks import codes_of
from hf_alignet.evaluation.statistics.spread import Influence
from hf_alignet.metric import Metric
from hf_alignet.ranges import Seed, checked

CHANCE = 0.5
INTERVAL_QUESTIONS = 200_000  # of which an interval is computed


@checked
def triplet_agreement(model: Rsm, human: Rsm, seed: Seed = 0) -> Metric:
    """Share of questions "is i nearer to j than to k" that a model answers as people do; an interval over objects.

    Questions that people's similarities leave open (equal, or not judged) are left out. Where the model finds both
    equally near, it does not agree. If there are more than 200,000 questions, the interval, not the value, is computed
    from so many drawn at random.

    Args:
        model: RSM of n objects without missing pairs.
        human: RSM of the same objects in the same order.
        seed: Seed of the draw of questions.

    Returns:
        `n` counts the questions, and chance is 0.5. A model that finds all pairs equally similar has value 0.

    Raises:
        InputError: the numbers of objects differ, a similarity of the model is missing, or people's similarities
            answer no question.
    """
    if len(model) != len(human):
        raise InputError(f"the model has {len(model)} objects, people judged {len(human)}; both need the same ones")
    if model.num_missing:
        raise InputError(f"{model.num_missing} of the model's similarities are missing (NaN)")
    by_model, by_people = _ordered(model.matrix()), _ordered(human.matrix())
    counts = np.array([_counts(*_row(by_model, by_people, i)) for i in range(len(model))], np.int64)
    agreed, answered = counts.sum(0)
    if not answered:
        raise InputError("people judged all pairs equally similar: there is nothing to agree with")
    value = float(agreed / answered)
    if by_model[by_people >= 0].max() == by_model[by_people >= 0].min():
        return Metric(0.0, int(answered), CHANCE, note=CONSTANT_NOTE)
    influence = _influence(by_model, by_people, seed)
    error = influence.error()
    ci95 = share_interval(value, error)
    return with_interval(value, ci95, error.units, "objects", n=int(answered), chance=CHANCE, spread=influence)


def _ordered(matrix: np.ndarray) -> np.ndarray:
    """(n, n) codes in the order of the entries, equal for those that differ by rounding alone; -1 where none is."""
    codes = np.full(matrix.shape, -1, np.int32)
    is_there = ~np.isnan(matrix)
    np.fill_diagonal(is_there, False)
    codes[is_there] = codes_of(matrix[is_there])
    return codes


def _row(by_model: np.ndarray, by_people: np.ndarray, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of what was judged about one object, of the model and of people."""
    is_judged = by_people[i] >= 0
    return by_model[i, is_judged], by_people[i, is_judged]


def _counts(x: np.ndarray, y: np.ndarray) -> tuple[int, int]:
    """Pairs of the entries (m,) that x orders as y does, and pairs that y orders at all."""
    total = len(x) * (len(x) - 1) // 2
    ordered = total - _ties(y)
    if not ordered:
        return 0, 0
    difference = round(CorrelationWith(y, "kendall").of(codes_of(x)) * total)  # concordant - discordant pairs
    both = ordered - _ties(x) + _ties(x.astype(np.int64) * (int(y.max()) + 1) + y)
    return (difference + both) // 2, ordered


def _ties(codes: np.ndarray) -> int:
    sizes = np.unique(codes, return_counts=True)[1]
    return int((sizes * (sizes - 1) // 2).sum())


def _influence(by_model: np.ndarray, by_people: np.ndarray, seed: int) -> Influence:
    """What each question adds to the error of the share; of all questions, or of some drawn at random."""
    n = len(by_model)
    if n * (n - 1) * (n - 2) // 2 <= INTERVAL_QUESTIONS:
        j, k = np.triu_indices(n, 1)
        triplets = np.concatenate([np.stack([np.full(len(j), i), j, k], 1) for i in range(n)])
    else:
        triplets = np.random.default_rng(seed).integers(n, size=(2 * INTERVAL_QUESTIONS, 3))
    i, j, k = triplets.T
    # The diagonal has the code -1, so that questions that name i twice drop out with those that nobody judged
    is_answered = (by_people[i, j] >= 0) & (by_people[i, k] >= 0) & (by_people[i, j] != by_people[i, k])
    triplets = triplets[is_answered][:INTERVAL_QUESTIONS]
    i, j, k = triplets.T
    agrees = np.sign(by_model[i, j] - by_model[i, k]) == np.sign(by_people[i, j] - by_people[i, k])
    return Influence((agrees - agrees.mean()) / len(agrees), np.ones(len(agrees)), triplets, "objects")
