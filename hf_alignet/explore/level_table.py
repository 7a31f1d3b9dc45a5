"""How often models choose as people do, level by level."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hf_alignet.evaluation.human.odd_one_out import odd_one_out_accuracy
from hf_alignet.explore.judged_triplets import JudgedTriplets
from hf_alignet.similarity import NO_CHOICE

COLUMNS = ["level", "model", "accuracy", "low", "high", "n", "chance", "unit"]


def level_table(embeddings: Mapping[str, np.ndarray], judged: JudgedTriplets) -> pd.DataFrame:
    """Odd-one-out accuracy of each model against the majority, of triplets that have one.

    Args:
        embeddings: (n, d) by model.
        judged: triplets of these n pictures.

    Returns:
        A row a level and model: `accuracy` with the ends `low` and `high` of its 95 % interval (NaN where there are
        too few), `n` triplets, `chance`, and the `unit` of the interval.
    """
    rows = []
    odd = judged.odd
    for level in dict.fromkeys(judged.levels.tolist()):
        kept = (judged.levels == level) & (odd != NO_CHOICE)
        if not kept.any():
            continue
        for model, of_model in embeddings.items():
            found = odd_one_out_accuracy(of_model, judged.triplets[kept], odd[kept])
            ends = found["ci95"] or [np.nan, np.nan]
            rows.append((level, model, found["value"], *ends, found["n"], found["chance"], found["unit"]))
    return pd.DataFrame(rows, columns=COLUMNS)
