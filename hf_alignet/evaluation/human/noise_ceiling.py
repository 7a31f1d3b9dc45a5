"""Noise ceilings: the best odd-one-out accuracy that any model can reach, since people disagree.

A model gives one answer to a triplet. If people choose the images with probabilities p, the best answer is the most
probable image, which agrees with a share max p of people. The ceiling is E[max p] over triplets. If several people
judged the same triplets, three numbers estimate it:

- `modal_share`, the mean share of the most frequent choice, is the usual one (66.67 % of THINGS, Hebart et al. 2020).
  It is too high, since the mode is taken from the same choices: two people agree with their mode at least half of the
  time, even if all choose at random.
- `leave_one_out` predicts each person's choice by the mode of the other people's. It is unbiased for the accuracy of
  the majority of R - 1 people, which is below the ceiling, and approaches it as R grows.
- `noise_ceiling` estimates E[max p] itself. The probabilities p of triplets have a symmetric Dirichlet distribution,
  since the order of the images has no meaning. Its concentration is fitted by maximum likelihood, and max p is
  averaged over the distribution given each triplet's choices. With few people the other triplets count too.

In expectation, `leave_one_out` <= ceiling <= `modal_share`. All intervals are of the bootstrap over triplets.

Only triplets that two people or more judged count; without any, all functions raise an InputError. Of several
judgments of a triplet by one person only the first counts, since people agree with themselves more than with others.
Each judgment without a participant, and each choice that is only counted, is taken as that of another person.
"""

from collections.abc import Callable

import numpy as np
import scipy
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.intervals import quantile_interval, resampled_kinds, with_interval
from hf_alignet.judgments.judgment_dataset import (
    COUNTS,
    PARTICIPANT,
    choice_counts,
    choices,
    participant_codes,
    without_catch_trials,
)
from hf_alignet.metric import Metric
from hf_alignet.ranges import Seed, checked
from hf_alignet.similarity import CHANCE

CONCENTRATIONS = np.geomspace(0.01, 100, 400)  # from "all agree" to "all choose at random"


@checked
def noise_ceilings(judgments: Dataset, seed: Seed = 0) -> dict[str, Metric]:
    """`{"modal_share", "leave_one_out", "noise_ceiling"}` of judgments, see the module."""
    functions = (modal_share, leave_one_out, noise_ceiling)
    return {function.__name__: function(judgments, seed) for function in functions}


@checked
def modal_share(judgments: Dataset, seed: Seed = 0) -> Metric:
    """Mean share of the most frequent choice. It is too high, most of all with few people."""
    counts = _repeated_counts(judgments)
    return _bootstrap_mean(counts.max(1) / counts.sum(1), seed)


@checked
def leave_one_out(judgments: Dataset, seed: Seed = 0) -> Metric:
    """How often a person chooses as the majority of the other people does. It is too low with few people.

    If k choices of the others are tied, choosing one of them counts 1/k. The mean is over the people of each triplet,
    then over triplets.
    """
    counts = _repeated_counts(judgments)
    agreement = np.zeros(len(counts))
    for position in range(3):
        others = counts - np.eye(3, dtype=np.int64)[position]
        is_mode = others == others.max(axis=1, keepdims=True)
        agreement += counts[:, position] * is_mode[:, position] / is_mode.sum(1)
    return _bootstrap_mean(agreement / counts.sum(1), seed)


@checked
def noise_ceiling(judgments: Dataset, seed: Seed = 0) -> Metric:
    """E[max p]: the accuracy of a model that knows the probability of every choice, corrected for few people."""
    counts, frequencies = np.unique(np.sort(_repeated_counts(judgments), axis=1), axis=0, return_counts=True)
    return _expected_maximum_metric(counts, np.arange(len(counts)), frequencies, seed)


@checked
def noise_ceilings_from_shares(shares: np.ndarray, raters: np.ndarray, seed: Seed = 0) -> dict[str, Metric]:
    """`{"modal_share", "noise_ceiling"}` if only the share of the most frequent choice is published.

    The two smaller counts are unknown; `noise_ceiling` sums over all possible ones.

    Args:
        shares: (m,) shares of the most frequent choice, each a whole number of its raters.
        raters: (m,) how many people judged each triplet.

    Raises:
        InputError: also if a share is impossible for its raters (the message names the row).
    """
    shares, raters = np.asarray(shares, float), np.asarray(raters)
    modal = np.rint(shares * raters)
    is_possible = (np.abs(modal - shares * raters) < 0.01) & (3 * modal >= raters) & (modal <= raters)
    if not is_possible.all():
        row = int(is_possible.argmin())
        raise InputError(f"row {row}: {shares[row]:g} cannot be the largest share of {raters[row]} choices of three")
    _check_repeated(raters > 1)
    known, frequencies = np.unique(
        np.stack([modal, raters], axis=1)[raters > 1].astype(np.int64), axis=0, return_counts=True
    )
    counts, owners = _counts_with_mode(known[:, 0], known[:, 1])
    return {
        "modal_share": _bootstrap_mean(shares[raters > 1], seed),
        "noise_ceiling": _expected_maximum_metric(counts, owners, frequencies, seed),
    }


def _counts_of_people(judgments: Dataset) -> np.ndarray:
    """(u, 3) how many people chose each image of each distinct triplet, by the first choice of each person."""
    judgments = without_catch_trials(judgments)
    if COUNTS in judgments.column_names or PARTICIPANT not in judgments.column_names:
        return choice_counts(judgments)[1]
    distinct, which, chosen = choices(judgments)
    people = participant_codes(judgments)
    is_unknown = people < 0
    people[is_unknown] = people.max(initial=0) + 1 + np.arange(is_unknown.sum())
    _, first = np.unique(people * len(distinct) + which, return_index=True)
    return np.bincount(which[first] * 3 + chosen[first], minlength=3 * len(distinct)).reshape(-1, 3)


def _repeated_counts(judgments: Dataset) -> np.ndarray:
    """(u, 3) counts of the triplets that two people or more judged."""
    counts = _counts_of_people(judgments)
    is_repeated = counts.sum(1) > 1
    _check_repeated(is_repeated)
    return counts[is_repeated]


def _check_repeated(is_repeated: np.ndarray) -> None:
    if not is_repeated.any():
        raise InputError(
            f"no noise ceiling can be given: none of the {len(is_repeated)} triplets was judged by two people or more;"
            " it needs triplets that several people judged"
        )


def _bootstrap_mean(values: np.ndarray, seed: int) -> Metric:
    """Mean over triplets (m,), with its interval."""
    distinct, frequencies = np.unique(values, return_counts=True)
    return _bootstrap(lambda weights: weights @ distinct / len(values), frequencies, seed)


def _bootstrap(statistic: Callable[[np.ndarray], np.ndarray], frequencies: np.ndarray, seed: int) -> Metric:
    """A statistic of triplets of k kinds, which were observed with frequencies (k,), with its bootstrap interval.

    `statistic` gives values (b,) for b samples of triplets, from how often (b, k) each kind is in them.
    """
    values = np.concatenate([statistic(weights) for weights in resampled_kinds(frequencies, seed)])
    value, n = float(statistic(frequencies[None])[0]), int(frequencies.sum())
    return with_interval(value, quantile_interval(values), n, "triplets", n=n, chance=CHANCE)


def _counts_with_mode(modal: np.ndarray, raters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All counts (c, 3), ascending in each row, with the largest `modal` of `raters`, and which pair (c,) they fit."""
    middle = -(-(raters - modal) // 2)  # the middle count is half of the rest or more, and no larger than the mode
    sizes = np.minimum(modal, raters - modal) - middle + 1
    owners = np.repeat(np.arange(len(modal)), sizes)
    middle = middle[owners] + np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.stack([(raters - modal)[owners] - middle, middle, modal[owners]], axis=1), owners


def _expected_maximum_metric(counts: np.ndarray, owners: np.ndarray, frequencies: np.ndarray, seed: int) -> Metric:
    """E[max p], with the concentration fitted to each bootstrap sample.

    Each row of `counts` (c, 3) ascends. Those with the same owner, (c,) ascending in [0, k), are the possible counts
    of one kind of triplet, which was observed with frequencies (k,).
    """
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    log_likelihoods = np.stack([_log_likelihoods(counts, a) for a in CONCENTRATIONS])  # (400, c)
    of_kind = np.logaddexp.reduceat(log_likelihoods, starts, axis=1)  # (400, k)
    posterior = np.exp(log_likelihoods - of_kind[:, owners])
    maxima: dict[int, np.ndarray] = {}

    def statistic(weights: np.ndarray) -> np.ndarray:
        best = (weights @ of_kind.T).argmax(axis=1)
        for i in set(best.tolist()) - set(maxima):
            expected = posterior[i] * expected_maximum(counts + CONCENTRATIONS[i])
            maxima[i] = np.add.reduceat(expected, starts)
        return np.array([w @ maxima[i] for w, i in zip(weights, best.tolist(), strict=True)]) / weights.sum(1)

    return _bootstrap(statistic, frequencies, seed)


def _log_likelihoods(counts: np.ndarray, concentration: float) -> np.ndarray:
    """(c,) log-probability of counts (c, 3), in any order of the images, under the symmetric Dirichlet-multinomial."""
    raters = counts.sum(1)
    num_orders = np.array([1, 3, 6])[(np.diff(counts, axis=1) > 0).sum(1)]
    ways = scipy.special.gammaln(raters + 1) - scipy.special.gammaln(counts + 1).sum(1) + np.log(num_orders)
    whole = scipy.special.gammaln(3 * concentration) - scipy.special.gammaln(3 * concentration + raters)
    return ways + whole + (scipy.special.gammaln(concentration + counts) - scipy.special.gammaln(concentration)).sum(1)


def expected_maximum(parameters: np.ndarray, num_nodes: int = 200) -> np.ndarray:
    """E[max p] of Dirichlet distributions.

    A Dirichlet vector is independent of the sum of the gamma variables it is made of, so that E[max p] is
    E[max gamma] over the sum of the parameters, and E[max gamma] the integral of 1 - prod P(gamma_i <= x).

    Args:
        parameters: (c, d) positive.
        num_nodes: of the quadrature; 200 give four digits or more.
    """
    distinct, inverse = np.unique(parameters, return_inverse=True)
    upper = distinct[-1] + 12 * np.sqrt(distinct[-1]) + 40
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    nodes = (nodes + 1) / 2
    x, weights = upper * nodes**2, weights * upper * nodes  # closer together near 0, where small parameters bend
    distribution = scipy.special.gammainc(distinct[:, None], x)[inverse.reshape(parameters.shape)]  # (c, d, num_nodes)
    return (1 - distribution.prod(axis=1)) @ weights / parameters.sum(axis=1)
