"""Selects λ of an affine fit: the λ that best predicts choices among new objects.

Objects, not triplets, are split into folds (gLocal). A fold is fitted to the triplets with all objects outside the
fold, and tested on the triplets with all objects inside it. The other triplets are not used.

With fewer triplets the best λ is only a little larger. For hard choices of THINGS and CLIP features it is 0.5 with
31,000 triplets in 2 folds, and 0.2 with 182,000 triplets in 10 folds. A factor of 2 from the best λ costs less than
0.003 nats. So the final fit to all triplets uses the selected λ without a correction.
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

MAX_STEPS = 8  # in each direction from the start
AT_CHANCE = 0.01  # nats below ln 3: the fit has learned nothing, and the curve is flat


@dataclass
class Fold:
    """A problem to solve, and the data that test its solution."""

    problem: AffineProblem
    held_out: AffineData


def split_objects(problem: AffineProblem, judged: AffineData, num_folds: int, random_state: int) -> list[Fold]:
    """Splits the objects at random into folds of equal size. `judged` are choices of the same objects, for the tests.

    Raises an InputError if there is no triplet inside or outside of a fold.
    """
    number = object_folds(len(problem.data.features), num_folds, random_state)
    folds = []
    for k in range(num_folds):
        inside, outside = judged.among(number == k), problem.data.among(number != k)
        for part, place in ((inside, "inside"), (outside, "outside of")):
            if not part.weights.any():
                where = f"{place} fold {k + 1} of {num_folds}"
                raise InputError(f"no triplet has all its objects {where}: give a `regularization`, or more triplets")
        folds.append(Fold(replace(problem, data=outside), inside))
    return folds


def select_regularization(
    folds: list[Fold], start: int, solve: Callable[[AffineProblem, float], Solution], progress: bool
) -> pd.DataFrame:
    """Tests λ = 10^(k/2) for integers k, from `start` in each direction while the held-out cross-entropy falls.

    Returns one row for each λ and fold: `regularization`, `fold`, `cross_entropy`, `accuracy`, `weight` (of the
    held-out triplets) and `iterations`, in ascending order.
    """
    rows: list[dict[str, float]] = []
    bar = tqdm(desc="selecting regularization", unit="fit", disable=not progress)

    def score(exponent: int) -> float:
        regularization = 10 ** (exponent / 2)
        for k, fold in enumerate(folds):
            solution = solve(fold.problem, regularization)
            transformed = fold.problem.axes.transform(solution.weight, solution.bias)(fold.held_out.features)
            cross_entropy, accuracy = evaluate(transformed, fold.held_out)
            row = {"regularization": regularization, "fold": k, "cross_entropy": cross_entropy, "accuracy": accuracy}
            rows.append(row | {"weight": fold.held_out.weights.sum(), "iterations": len(solution.values)})
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
                break  # this direction is better, so the other one is worse
    return pd.DataFrame(rows).sort_values(["regularization", "fold"], ignore_index=True)


def mean_cross_entropy(selection: pd.DataFrame) -> pd.Series:
    """Held-out cross-entropy of each λ, over all folds."""
    total = (selection["cross_entropy"] * selection["weight"]).groupby(selection["regularization"]).sum()
    return total / selection.groupby("regularization")["weight"].sum()


def evaluate(transformed: np.ndarray, data: AffineData) -> tuple[float, float]:
    """How well transformed features (n, p) predict choices: mean cross-entropy in nats, and accuracy.

    Accuracy is the mean probability of the most similar pair. For single choices, this is the share of correct
    predictions. A tie counts as wrong.
    """
    vectors = torch.from_numpy(transformed)
    odd = odd_one_out(triplet_similarities(vectors, torch.from_numpy(data.triplets)))
    probabilities = torch.from_numpy(data.probabilities)
    of_choice = probabilities.gather(1, odd_of_pair(odd).clamp(max=2).unsqueeze(1)).squeeze(1)
    of_choice = torch.where(odd == NO_CHOICE, 0, of_choice)
    return data.choices.value(vectors @ vectors.T), float(np.average(of_choice.numpy(), weights=data.weights))
