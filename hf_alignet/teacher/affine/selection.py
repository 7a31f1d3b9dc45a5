"""Selects λ of an affine fit: the λ that best predicts choices about held-out objects (see `held_out`).

With fewer triplets the best λ is only a little larger. For hard choices of THINGS and CLIP features it is 0.5 with
31,000 triplets in 2 folds, and 0.2 with 182,000 triplets in 10 folds. A factor of 2 from the best λ costs less than
0.003 nats. So the final fit to all triplets uses the selected λ without a correction.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from hf_alignet.processes import share_tasks
from hf_alignet.similarity import choice_log_probabilities, of_chosen_pair
from hf_alignet.similarity.products import measured_similarities
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.affine.held_out import Split
from hf_alignet.teacher.affine.problem import AffineProblem
from hf_alignet.teacher.affine.solver import Solution

FEWEST_TRIED = 3  # λ: one with a better one on neither side
MAX_STEPS = 8  # in each direction from the start
LEAST_START = 1e-4
AT_CHANCE = 0.01  # nats below ln 3: the fit has learned nothing, and the curve is flat


@dataclass
class Fold:
    """A problem to solve, and the data that test its solution."""

    problem: AffineProblem
    held_out: AffineData


def make_folds(
    problem: AffineProblem, judged: AffineData, splits: Sequence[Split], targets: Sequence[np.ndarray] | None = None
) -> list[Fold]:
    """What each split fits, and what tests it.

    Args:
        problem: with all triplets.
        judged: people's choices about the same triplets, for the tests.
        splits: from `draw_splits`.
        targets: for each split, (m, 3) probabilities to fit. Default: those of the problem.
    """
    targets = targets or [problem.data.probabilities] * len(splits)
    return [
        Fold(
            replace(problem, data=replace(problem.data, probabilities=target).among(split.is_seen)),
            judged.of_triplets(split.is_tested),
        )
        for split, target in zip(splits, targets, strict=True)
    ]


@dataclass
class Selection:
    """How well each tried λ predicts held-out choices."""

    table: pd.DataFrame  # see `select_regularization`
    losses: dict[float, np.ndarray]  # by λ: of all held-out triplets in nats, fold after fold
    weights: np.ndarray  # of these triplets

    @property
    def best(self) -> float:
        """The λ with the least held-out cross-entropy."""
        scores = mean_cross_entropy(self.table)
        return float(scores.index.to_numpy()[scores.argmin()])


def select_regularization(
    folds: list[Fold],
    start: float,
    solve: Callable[[AffineProblem, float], Solution],
    progress: bool,
    only_start: bool = False,
) -> Selection:
    """Tests λ = 10^(k/2) for integers k, from near `start` in each direction while the held-out cross-entropy falls.

    With `only_start` it tests that λ alone. The table has one row for each λ and fold: `regularization`, `fold`,
    `cross_entropy`, `accuracy`, `weight` (of the held-out triplets) and `iterations`, in ascending order. The
    processes of a launch share the folds, so all must call it.
    """
    rows: list[dict[str, float]] = []
    losses: dict[float, np.ndarray] = {}
    total = len(folds) * (1 if only_start else FEWEST_TRIED)  # more are known only as the curve falls
    bar = tqdm(total=total, desc="selecting regularization", unit="fit", disable=not progress)

    def score(regularization: float) -> float:
        done = bar.n + len(folds)
        bar.total = max(total, done)
        of_folds = share_tasks([partial(test, regularization, k) for k in range(len(folds))])
        bar.update(done - bar.n)  # what other processes did
        rows.extend(row for row, _ in of_folds)
        losses[regularization] = np.concatenate([of_triplets for _, of_triplets in of_folds])
        return mean_cross_entropy(pd.DataFrame(rows))[regularization]

    def test(regularization: float, k: int) -> tuple[dict[str, float], np.ndarray]:
        fold = folds[k]
        solution = solve(fold.problem, regularization)
        transformed = fold.problem.transform(solution)(fold.held_out.features)
        of_triplets, accuracy = evaluate(transformed, fold.held_out)
        cross_entropy = float(np.average(of_triplets, weights=fold.held_out.weights))
        row = {"regularization": regularization, "fold": k, "cross_entropy": cross_entropy, "accuracy": accuracy}
        bar.update()
        bar.set_postfix(regularization=f"{regularization:.3g}", held_out_cross_entropy=f"{cross_entropy:.4f}")
        return row | {"weight": fold.held_out.weights.sum(), "iterations": len(solution.values)}, of_triplets

    with bar:
        if only_start:
            score(start)
        else:
            _walk(score, round(2 * math.log10(max(start, LEAST_START))))
    table = pd.DataFrame(rows).sort_values(["regularization", "fold"], ignore_index=True)
    return Selection(table, losses, np.concatenate([fold.held_out.weights for fold in folds]))


def _walk(score: Callable[[float], float], start: int) -> None:
    """Scores λ = 10^(k/2) for k = `start`, and then in each direction while the score falls or is at chance."""
    at_start = score(10 ** (start / 2))
    for direction in (1, -1):
        best = at_start
        for step in range(1, MAX_STEPS + 1):
            here = score(10 ** ((start + direction * step) / 2))
            if not here < best and best < math.log(3) - AT_CHANCE:
                break
            best = min(best, here)
        if best < at_start:
            break  # this direction is better, so the other one is worse


def mean_cross_entropy(selection: pd.DataFrame) -> pd.Series:
    """Held-out cross-entropy of each λ, over all folds."""
    total = (selection["cross_entropy"] * selection["weight"]).groupby(selection["regularization"]).sum()
    return total / selection.groupby("regularization")["weight"].sum()


def evaluate(transformed: np.ndarray, data: AffineData) -> tuple[np.ndarray, float]:
    """How well transformed features (n, p) predict choices: (m,) cross-entropy of each triplet in nats, and accuracy.

    Accuracy is the mean probability of the most similar pair. For single choices, this is the share of correct
    predictions. A tie counts as wrong.
    """
    similarities = measured_similarities(transformed, data.triplets)
    of_choice = of_chosen_pair(torch.from_numpy(similarities), torch.from_numpy(data.probabilities))
    return cross_entropies(similarities, data), float(np.average(of_choice.numpy(), weights=data.weights))


def cross_entropies(similarities: np.ndarray, data: AffineData) -> np.ndarray:
    """(m,) float64 cross-entropy of each triplet in nats, by its similarities (m, 3)."""
    log_probabilities = choice_log_probabilities(torch.from_numpy(similarities).double())
    return -(torch.from_numpy(data.probabilities) * log_probabilities).sum(1).numpy()
