"""The pictures nearest to one, by each model."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hf_alignet.ranges import Count, checked

SHOWN = 8


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings (n, d) of length 1 as float32; those of length 0 stay."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.where(lengths == 0, 1, lengths), np.float32)


@checked
def nearest_table(unit: Mapping[str, np.ndarray], row: int, number: Count = SHOWN) -> pd.DataFrame:
    """The nearest pictures by cosine similarity, without the picture itself.

    Args:
        unit: (n, d) by model, from `unit_rows`.
        row: of the picture.
        number: how many for each model; fewer if there are fewer.

    Returns:
        A row for each: `model`, `rank` from 1, the `row` of the picture, its `cosine`, and `before`, its rank by the
        first model.
    """
    parts, first = [], None
    for model, vectors in unit.items():
        cosines = vectors @ vectors[row]
        cosines[row] = -np.inf
        order = np.argsort(-cosines, kind="stable")[:-1]
        ranks = np.empty(len(vectors), np.int64)
        ranks[order] = np.arange(1, len(order) + 1)
        first = ranks if first is None else first
        near = order[:number]
        parts.append(
            pd.DataFrame(
                {"model": model, "rank": ranks[near], "row": near, "cosine": cosines[near], "before": first[near]}
            )
        )
    return pd.concat(parts, ignore_index=True)
