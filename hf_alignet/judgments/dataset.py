"""The judgments Dataset: human odd-one-out choices, one row a choice, or one row a triplet with counts of choices.

Columns of a row a choice: `triplet` three rows of the stimuli, `odd` the position that was chosen, and where known
`participant`, `rt` (seconds), `level` and `is_catch`. Columns of a row a triplet: `triplet`, `counts` of choices per
odd position, and where known `rt_log_mean` (mean natural logarithm of seconds).
"""

import numpy as np
from datasets import Dataset

TRIPLET, ODD, COUNTS = "triplet", "odd", "counts"


def choice_counts(judgments: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Distinct triplets, and how often each of their images was the odd one out.

    Args:
        judgments: rows with `triplet` and `odd` in any order and number, or with `triplet` and `counts`.

    Returns:
        (u, 3) int64 triplets, ascending in each row and by rows, and (u, 3) int64 counts per position of that row.
    """
    table = judgments.with_format("numpy")[:]
    triplets = np.asarray(table[TRIPLET], np.int64).reshape(-1, 3)
    if COUNTS in judgments.column_names:
        counts = np.asarray(table[COUNTS], np.int64).reshape(-1, 3)
    else:
        counts = np.eye(3, dtype=np.int64)[np.asarray(table[ODD])]
    order = triplets.argsort(axis=1)
    triplets, counts = np.take_along_axis(triplets, order, 1), np.take_along_axis(counts, order, 1)
    n = int(triplets.max()) + 1 if len(triplets) else 1
    keys, inverse = np.unique((triplets[:, 0] * n + triplets[:, 1]) * n + triplets[:, 2], return_inverse=True)
    summed = np.stack([np.bincount(inverse, c, len(keys)) for c in counts.T], axis=1).astype(np.int64)
    return np.stack([keys // n // n, keys // n % n, keys % n], axis=1), summed
