"""Which λ an affine transform is fitted with: the one that predicts choices among objects it has not seen.

Objects, not triplets, are split into folds (gLocal): a transform is fitted to the triplets all of whose objects are in
the other folds, and judged by those all of whose objects are in this one. The other triplets are left aside.

With fewer triplets the best λ is larger, but hardly: of THINGS, hard choices about CLIP features, 0.5 with 31,000 in
2 folds and 0.2 with 182,000 in 10, where a factor of 2 from the best costs less than 0.003 nats. So it is taken as it
is for the fit to all triplets.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.judgments import object_folds
from hf_alignet.similarity import NO_CHOICE, odd_of_pair, odd_one_out, triplet_similarities
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.affine.problem import AffineProblem
from hf_alignet.teacher.affine.solver import Solution

MAX_STEPS = 8  # either way from the start
AT_CHANCE = 0.01  # nats; so near to guessing, nothing has been learned, and the curve is flat


@dataclass
class Fold:
    """One split of the objects: a problem to solve, and what its solution is judged by."""

    problem: AffineProblem
    held_out: AffineData


def split_objects(problem: AffineProblem, judged: AffineData, num_folds: int, random_state: int) -> list[Fold]:
    """Folds of equal shares of the objects, at random.

    Args:
        problem: what is fitted, in each fold to the other objects.
        judged: the choices of the same objects that a fold is judged by.
        num_folds: how many.
        random_state: of the draw.

    Raises:
        InputError: a fold, or what is outside of it, holds no triplet.
    """
    data = problem.data
    number = object_folds(len(data.features), num_folds, random_state)
    folds = []
    for k in range(num_folds):
        inside, outside = judged.among(number == k), data.among(number != k)
        for part, place in ((inside, "inside"), (outside, "outside of")):
            if not part.weights.any():
                raise InputError(
                    f"no triplet has all its objects {place} fold {k + 1} of {num_folds}; give a regularization, "
                    "or more triplets"
                )
        folds.append(Fold(replace(problem, data=outside), inside))
    return folds


def select_regularization(
    folds: list[Fold], start: int, solve: Callable[[AffineProblem, float], Solution], progress: bool
) -> pd.DataFrame:
    """Scores λ = 10^(k/2) for integers k, from `start` on either way for as long as the held-out cross-entropy falls.

    Args:
        folds: of the objects.
        start: the k to begin with.
        solve: finds the optimum for a λ.
        progress: show a bar.

    Returns:
        A row a λ and fold: `regularization`, `fold`, `cross_entropy`, `accuracy`, `weight` (of the held-out triplets)
        and `iterations`, ascending.
    """
    rows: list[dict[str, float]] = []
    bar = tqdm(desc="choosing regularization", unit="fit", disable=not progress)

    def score(exponent: int) -> float:
        regularization = 10 ** (exponent / 2)
        for k, fold in enumerate(folds):
            solution = solve(fold.problem, regularization)
            transformed = fold.problem.transform(solution)(fold.held_out.features)
            cross_entropy, accuracy = evaluate(transformed, fold.held_out)
            rows.append(
                {
                    "regularization": regularization,
                    "fold": k,
                    "cross_entropy": cross_entropy,
                    "accuracy": accuracy,
                    "weight": fold.held_out.weights.sum(),
                    "iterations": len(solution.values),
                }
            )
            bar.update()
            bar.set_postfix(regularization=f"{regularization:.3g}", held_out_cross_entropy=f"{cross_entropy:.4f}")
        return mean_cross_entropy(pd.DataFrame(rows))[regularization]

    with bar:
        at_start = score(start)
        for direction in (1, -1):
            best = at_start
            for step in range(1, MAX_STEPS + 1):
                here = score(start + direction * step)
                if not here < best and best < math.log(3) - AT_CHANCE:
                    break
                best = min(best, here)
            if best < at_start:
                break  # downhill was this way, so the other is uphill
    return pd.DataFrame(rows).sort_values(["regularization", "fold"], ignore_index=True)


def mean_cross_entropy(selection: pd.DataFrame) -> pd.Series:
    """Held-out cross-entropy of each λ, over all folds."""
    total = (selection["cross_entropy"] * selection["weight"]).groupby(selection["regularization"]).sum()
    return total / selection.groupby("regularization")["weight"].sum()


def evaluate(transformed: np.ndarray, data: AffineData) -> tuple[float, float]:
    """How well transformed features (n, p) predict choices.

    Returns:
        Mean cross-entropy in nats, and accuracy: the mean probability of the pair that is most similar, which for
        choices is the share of them that is predicted. A tie predicts nothing.
    """
    vectors = torch.from_numpy(transformed)
    odd = odd_one_out(triplet_similarities(vectors, torch.from_numpy(data.triplets)))
    probabilities = torch.from_numpy(data.probabilities)
    of_choice = probabilities.gather(1, odd_of_pair(odd).clamp(max=2).unsqueeze(1)).squeeze(1)
    of_choice = torch.where(odd == NO_CHOICE, 0, of_choice)
    return data.choices.value(vectors @ vectors.T), float(np.average(of_choice.numpy(), weights=data.weights))
