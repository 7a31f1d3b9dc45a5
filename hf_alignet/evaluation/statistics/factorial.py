"""Analysis of variance with repeated measures and two factors, such as model and method, over datasets."""

import numpy as np
import pandas as pd
import scipy

from hf_alignet.errors import InputError


def factorial_measures(values: np.ndarray, factors: tuple[str, str]) -> pd.DataFrame:
    """Whether two factors matter, where the same subjects are measured under every combination of their levels.

    The error of each effect is its own interaction with the subjects, as in the ablations of Muttenthaler et al.
    (2025, B.2.3), where datasets are the subjects. With one factor see `repeated_measures`.

    Args:
        values: (subjects, levels of the first factor, levels of the second) without gaps.
        factors: names of the two.

    Returns:
        A row for each effect, also of both together: `effect`, `F`, `of_effect` and `of_error` degrees of freedom, and
        `p_value`, which supposes that differences of all levels vary alike (sphericity).

    Raises:
        InputError: there are fewer than two subjects or levels, or a value is missing.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 3 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise InputError(
            f"repeated measures with two factors need two datasets and two levels of each factor or more, all "
            f"measured; got the shape {values.shape} with {int((~np.isfinite(values)).sum())} values missing"
        )
    subjects = values.shape[0]
    rows = []
    for effect, axes in ((factors[0], (1,)), (factors[1], (2,)), (" × ".join(factors), (1, 2))):
        of_effect = int(np.prod([values.shape[axis] - 1 for axis in axes]))
        of_error = of_effect * (subjects - 1)
        between, left = (_squares(values, kept) for kept in (axes, (0, *axes)))
        floor = np.finfo(np.float64).eps * (values**2).sum()
        statistic = between / of_effect / (left / of_error) if left > floor else np.inf if between > floor else 0.0
        p_value = float(scipy.stats.f.sf(statistic, of_effect, of_error))
        rows.append((effect, float(statistic), of_effect, of_error, p_value))
    return pd.DataFrame(rows, columns=["effect", "F", "of_effect", "of_error", "p_value"])


def _squares(values: np.ndarray, axes: tuple[int, ...]) -> float:
    """The sum of squares of the interaction of these axes alone: all lower effects are taken out of their means."""
    others = tuple(axis for axis in range(values.ndim) if axis not in axes)
    found = values.mean(axis=others, keepdims=True)
    for axis in axes:
        found = found - found.mean(axis=axis, keepdims=True)
    return float((found**2).sum() * values.size / found.size)
