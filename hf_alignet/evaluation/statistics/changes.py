"""Differences between two models that were measured on the same cases, with intervals of their own.

What is hard for one model is mostly hard for the other, so that a difference is known better than its two ends: two
models with intervals that overlap may still differ clearly.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy

from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.crossed import Crossed
from hf_alignet.evaluation.statistics.intervals import basic_interval, with_interval
from hf_alignet.evaluation.statistics.spread import Draws, Influence
from hf_alignet.metric import Metric

NO_ERROR = 1e-9  # standard error as a share of the change, below which it is rounding


def change(before: Metric, after: Metric) -> Metric:
    """`after` less `before`, with the paired 95 % interval over the units that both were measured on.

    With the interval comes `p_value`, two-sided. Without both if the two were not measured on the same cases, or were
    read from a file, or if all cases change alike, so that nothing tells how much the change varies.
    """
    value = float(after["value"] - before["value"])
    first, second = (getattr(metric, "spread", None) for metric in (before, after))
    facts = {"n": min(before["n"], after["n"]), "chance": 0.0}
    paired = _paired(first, second)
    if paired is not None:
        error = paired.error()
        if error.value < NO_ERROR * abs(value):
            return Metric(value, **facts, note="no interval: all cases change alike")
        half = error.quantile * error.value
        ci95 = [value - half, value + half]
        metric = with_interval(value, ci95, error.units, paired.unit, **facts, spread=paired)
        if metric["ci95"] is not None:
            metric["p_value"] = float(2 * scipy.stats.t.sf(abs(value / error.value), error.freedom)) if value else 1.0
        return metric
    if isinstance(first, Draws) and isinstance(second, Draws) and len(first.values) == len(second.values):
        ci95 = basic_interval(value, second.values - first.values)
        return Metric(value, **facts, ci95=ci95, unit=first.unit)
    return Metric(value, **facts)


def changes(base: Mapping[str, Metric], aligned: Mapping[str, Metric]) -> dict[str, Metric]:
    """`change` of every metric that both have, by name."""
    return {name: change(before, aligned[name]) for name, before in base.items() if name in aligned}


def with_changes(base: Mapping[str, Metric], aligned: Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics of `aligned`, each with its change against `base` under the key `change`."""
    found = {}
    for name, metric in aligned.items():
        facts = {key: value for key, value in change(base[name], metric).items() if key not in ("n", "chance")}
        found[name] = Metric(**metric, change=facts, spread=metric.spread)
    return found


def repeated_measures(table: pd.DataFrame) -> dict[str, float]:
    """Whether models differ over several datasets: the F test of an analysis of variance with repeated measures.

    Each dataset is measured with every model, as a subject is under every condition: its own mean is taken out, and
    the spread of the models' means is compared with what is left (such as Fisher 1925, as for the ablations of
    Muttenthaler et al. 2025). With two models it is the paired t test, F = t².

    Args:
        table: (datasets, models) of one measure, without gaps.

    Returns:
        `F`, `p_value`, and the degrees of freedom `of_models` and `of_error`.

    Raises:
        InputError: there are fewer than two models or two datasets, or a value is missing.
    """
    values = table.to_numpy(np.float64)
    rows, columns = values.shape
    if rows < 2 or columns < 2 or not np.isfinite(values).all():
        raise InputError(
            f"repeated measures need two models and two datasets or more, all measured; got {rows} datasets and "
            f"{columns} models, {int((~np.isfinite(values)).sum())} values missing"
        )
    centred = values - values.mean(1, keepdims=True)
    effects = centred.mean(0)
    of_models, of_error = columns - 1, (rows - 1) * (columns - 1)
    between, left = rows * (effects**2).sum() / of_models, ((centred - effects) ** 2).sum() / of_error
    if left <= np.finfo(np.float64).eps * (values**2).sum():
        statistic = 0.0 if between <= left else np.inf
    else:
        statistic = float(between / left)
    p_value = float(scipy.stats.f.sf(statistic, of_models, of_error))
    return {"F": statistic, "p_value": p_value, "of_models": of_models, "of_error": of_error}


def _paired(first: object, second: object) -> Influence | Crossed | None:
    """How the difference varies, if both were measured on the same cases."""
    if isinstance(first, Influence) and isinstance(second, Influence):
        is_same = np.array_equal(first.members, second.members) and np.array_equal(first.weights, second.weights)
        return first._replace(values=second.values - first.values) if is_same else None
    if isinstance(first, Crossed) and isinstance(second, Crossed):
        is_same = first.cases == second.cases and first.values.shape == second.values.shape
        return second.less(first) if is_same else None
    return None
