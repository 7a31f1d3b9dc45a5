"""Which λ an affine transform is fitted with: the one that predicts choices among objects it has not seen.

Objects, not triplets, are split into folds (gLocal): a transform is fitted to the triplets all of whose objects are in
the other folds, and judged by those all of whose objects are in this one. The other triplets are left aside.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.similarity import NO_CHOICE, odd_of_pair, odd_one_out, triplet_similarities
from hf_alignet.teacher.affine_data import AffineData

STEP = np.sqrt(10)
MAX_STEPS = 8  # either way
Predict = Callable[[float, np.ndarray], tuple[np.ndarray, int]]
"""Of λ and the objects (n,) bool to fit to: (n, p) transformed features of all objects, and the number of steps."""


def select_regularization(
    data: AffineData, start: float, num_folds: int, random_state: int, predict: Predict, progress: bool
) -> pd.DataFrame:
    """Scores λ on a logarithmic grid, from `start` on either way for as long as the held-out cross-entropy falls.

    Args:
        data: objects and choices.
        start: the λ to begin with.
        num_folds: of the objects.
        random_state: of the split.
        predict: fits.
        progress: show a bar.

    Returns:
        A row a λ and fold: `regularization`, `fold`, `cross_entropy`, `accuracy`, `weight` (of the held-out triplets)
        and `iterations`.

    Raises:
        InputError: a fold, or the rest, holds no triplet.
    """
    folds = object_folds(len(data.features), num_folds, random_state)
    _check_folds(data, folds, num_folds)
    rows: list[dict[str, float]] = []
    bar = tqdm(desc="choosing regularization", unit="fit", disable=not progress)

    def score(regularization: float) -> float:
        for fold in range(num_folds):
            transformed, iterations = predict(regularization, folds != fold)
            held_out = data.among(folds == fold)
            cross_entropy, accuracy = evaluate(transformed[folds == fold], held_out)
            rows.append(
                {
                    "regularization": regularization,
                    "fold": fold,
                    "cross_entropy": cross_entropy,
                    "accuracy": accuracy,
                    "weight": held_out.weights.sum(),
                    "iterations": iterations,
                }
            )
            bar.update()
            bar.set_postfix(regularization=f"{regularization:.3g}", held_out_cross_entropy=f"{cross_entropy:.4f}")
        return mean_cross_entropy(pd.DataFrame(rows))[regularization]

    with bar:
        at_start = score(start)
        for factor in (STEP, 1 / STEP):
            best, regularization = at_start, start
            for _ in range(MAX_STEPS):
                regularization *= factor
                here = score(regularization)
                if not here < best:
                    break
                best = here
            if best < at_start:
                break  # downhill was this way, so uphill is the other
    return pd.DataFrame(rows).sort_values(["regularization", "fold"], ignore_index=True)


def mean_cross_entropy(selection: pd.DataFrame) -> pd.Series:
    """Held-out cross-entropy of each λ, over all folds."""
    total = (selection["cross_entropy"] * selection["weight"]).groupby(selection["regularization"]).sum()
    return total / selection.groupby("regularization")["weight"].sum()


def object_folds(num_objects: int, num_folds: int, random_state: int) -> np.ndarray:
    """(n,) number of the fold of each object, at random and in equal shares."""
    return np.random.default_rng(random_state).permutation(num_objects) % num_folds


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
    of_choice = torch.where(odd == NO_CHOICE, 0, of_choice).numpy()
    return data.choices.value(vectors @ vectors.T), float(np.average(of_choice, weights=data.weights))


def _check_folds(data: AffineData, folds: np.ndarray, num_folds: int) -> None:
    for fold in range(num_folds):
        for members, place in ((folds != fold, "outside of"), (folds == fold, "inside")):
            if not data.weights[members[data.triplets].all(1)].any():
                raise InputError(
                    f"no triplet has all its objects {place} fold {fold + 1} of {num_folds}; give a regularization, "
                    "other folds, or more triplets"
                )
