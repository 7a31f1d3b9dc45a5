"""How similar the representations of models are: by linear CKA (Kornblith et al. 2019), or by RSA.

Alignment to the same judgments should make models more similar.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.rsa import correlate_rsms
from hf_alignet.evaluation.human.rsm import Rsm
from hf_alignet.evaluation.statistics.correlations import Measure
from hf_alignet.ranges import checked
from hf_alignet.similarity import SimilarityKind, check_finite

Comparison = Literal["cka", "rsa"]


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear centred kernel alignment of two representations of the same objects.

    `‖YᵀX‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F)` with columns centred (Kornblith et al. 2019, eq. 4 and table 1). With fewer objects
    than dimensions the same value is computed from the Gram matrices XXᵀ and YYᵀ. It does not change if one of the two
    is rotated, moved or scaled.

    Args:
        first: (n, d1).
        second: (n, d2) of the same objects, in the same order.

    Returns:
        In [0, 1]; 0 if all objects are the same in one of the two.

    Raises:
        InputError: the numbers of objects differ or are below 3, or an embedding is not finite.

    Example:
        >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
        >>> round(linear_cka(x, 3 - 2 * x[:, ::-1]), 6)
        1.0
    """
    if len(first) != len(second):
        raise InputError(f"the models embed {len(first)} and {len(second)} objects; both need the same ones")
    x, y = centred(first), centred(second)
    if not (x.any() and y.any()):
        return 0.0
    n, d1, d2 = len(x), x.shape[1], y.shape[1]
    if n * (d1 + d2) < d1 * d1 + d1 * d2 + d2 * d2:
        of_x, of_y = x @ x.T, y @ y.T
        shared = _dot(of_x, of_y)
    else:
        of_x, of_y = x.T @ x, y.T @ y
        product = y.T @ x
        shared = _dot(product, product)
    return float(np.clip(shared / np.sqrt(_dot(of_x, of_x)) / np.sqrt(_dot(of_y, of_y)), 0, 1))


@checked
def model_similarities(
    models: Mapping[str, np.ndarray],
    by: Comparison = "cka",
    measure: Measure = "spearman",
    kernel: SimilarityKind = "pearson",
) -> pd.DataFrame:
    """Similarity of every two models.

    Args:
        models: embeddings (n, d) of the same n objects by name; d may differ.
        by: `cka`, or `rsa` for the correlation of their similarity matrices.
        measure: `spearman`, `pearson` or `kendall`; for `rsa` only.
        kernel: similarity of two embeddings, see `Rsm.from_embeddings`; for `rsa` only.

    Returns:
        Symmetric, with names in rows and columns, and 1 on the diagonal; 0 for a model that finds all objects alike.

    Raises:
        InputError: see `linear_cka` and `correlate_rsms`.
    """
    rsms = {name: Rsm.from_embeddings(models[name], kernel) for name in models} if by == "rsa" else {}
    found = pd.DataFrame(np.eye(len(models)), index=list(models), columns=list(models))
    for one, other in combinations(models, 2):
        if by == "cka":
            value = linear_cka(models[one], models[other])
        else:
            value = correlate_rsms(rsms[one], rsms[other], measure).value
        found.loc[one, other] = found.loc[other, one] = value
    return found


def model_similarities_before_and_after(
    base: Mapping[str, np.ndarray], aligned: Mapping[str, np.ndarray], by: Comparison = "cka"
) -> dict[str, pd.DataFrame]:
    """`{"base", "aligned"}`, the similarities of the same models before and after alignment.

    The arguments are those of `model_similarities`. Raises an InputError also if the names of the models differ.
    """
    if base.keys() != aligned.keys():
        only = sorted(base.keys() ^ aligned.keys())
        raise InputError(f"every model is needed before and after alignment; only on one side: {', '.join(only)}")
    after = {name: aligned[name] for name in base}
    return {"base": model_similarities(base, by), "aligned": model_similarities(after, by)}


def centred(embeddings: np.ndarray) -> np.ndarray:
    """(n, d) float32 of mean 0 and entries up to 1 (all 0 if all rows are the same)."""
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or len(embeddings) < 3:
        raise InputError(f"embeddings must have the shape (n, d) with n >= 3, got {embeddings.shape}")
    check_finite(embeddings)
    if (embeddings == embeddings[0]).all():
        return np.zeros(embeddings.shape, np.float32)
    centred = embeddings.astype(np.result_type(embeddings, np.float32))
    centred -= centred.mean(0, dtype=np.float64).astype(centred.dtype)
    centred *= 1 / max(centred.max(), -centred.min())  # neither squares nor their sums overflow
    return centred.astype(np.float32, copy=False)


def _dot(x: np.ndarray, y: np.ndarray) -> float:
    """Sum of products of the entries, in double precision."""
    return float(np.einsum("ij,ij->", x, y, dtype=np.float64))
