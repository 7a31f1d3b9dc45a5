"""Means over cases that come in groups, such as test images of subclasses: the interval is over the groups."""

import numpy as np

from hf_alignet.evaluation.statistics.intervals import share_interval, with_interval
from hf_alignet.evaluation.statistics.spread import Influence
from hf_alignet.metric import Metric


def clustered_mean(values: np.ndarray, groups: np.ndarray, unit: str, chance: float | None) -> Metric:
    """The mean of values (m,) between 0 and 1, with a 95 % interval over groups (m,): what other groups would give."""
    values = np.asarray(values, np.float64)
    value = float(values.mean())
    influence = Influence((values - value) / len(values), np.ones(len(values)), np.asarray(groups)[:, None], unit)
    error = influence.error()
    ci95 = share_interval(value, error)
    return with_interval(value, ci95, error.units, unit, n=len(values), chance=chance, spread=influence)
