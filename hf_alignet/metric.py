"""The form in which every measured number is reported, and tables of such numbers as Markdown."""

from collections.abc import Mapping
from typing import Any

from hf_alignet.markdown import table

# By the last part of a metric's name; of all others, more is better
LOWER_IS_BETTER = ("choice_cross_entropy", "expected_calibration_error", "human_model_kl")


class Metric(dict[str, Any]):
    """One measured number, a plain dict in JSON, with these keys.

    - `value`: a share, a correlation, R², or nats.
    - `n`: how many cases it was measured on.
    - `chance`: what guessing gives; None where guessing has no fixed value.
    - `ci95`: its 95 % interval, `[low, high]`; None where too few units carry one, which `note` then says.
    - `unit`: of what other draws the interval tells: `objects`, `triplets`, `participants`, `draws` …; None without.

    Args:
        spread: how the value varies with the units. It is not in the dict; `change` needs it to compare two metrics of
            the same cases.
        more: other keys.
    """

    def __init__(
        self,
        value: float,
        n: int,
        chance: float | None,
        ci95: list[float] | None = None,
        unit: str | None = None,
        spread: Any = None,
        **more: Any,
    ):
        super().__init__(value=value, n=n, chance=chance, ci95=ci95, unit=unit, **more)
        self.spread = spread


def is_lower_better(name: str) -> bool:
    """Whether a metric with this name, `dataset/variant/measure`, is the better the lower it is."""
    return name.split("/")[-1] in LOWER_IS_BETTER


def is_whole(name: str) -> bool:
    """Whether a metric is no part of a variant, such as one corruption at one severity, whose mean is a metric too."""
    return name.count("/") <= 2


def comparison_table(base: Mapping[str, Metric], aligned: Mapping[str, Metric]) -> str:
    """One row a metric of both: n, chance, value and 95 % interval before and after, and the change.

    The change has a paired interval if `aligned` has it (`hf_alignet.evaluation.with_changes`).
    """
    header = ["metric", "n", "chance", "interval over", "before", "after", "change"]
    rows = []
    for name, before in base.items():
        after = aligned[name]
        change = after.get("change") or Metric(after["value"] - before["value"], before["n"], None)
        cells = [_named(name), str(before["n"]), _chance(before), before.get("unit") or ""]
        rows.append([*cells, with_its_interval(before), with_its_interval(after), with_its_interval(change, "+.3f")])
    return table([header, *rows])


def results_table(results: Mapping[str, Mapping[str, Metric]]) -> str:
    """One row a metric, one column a model: value and 95 % interval, and n where it is not that of the first.

    `results` holds metrics by name of the model; a model (such as people) may lack some.
    """
    rows = []
    for name in dict.fromkeys(name for metrics in results.values() for name in metrics):
        first = next(metrics[name] for metrics in results.values() if name in metrics)
        cells = [_cell(metrics.get(name), first) for metrics in results.values()]
        rows.append([_named(name), str(first["n"]), _chance(first), first.get("unit") or "", *cells])
    return table([["metric", "n", "chance", "interval over", *results], *rows])


def changes_table(changes: Mapping[str, Mapping[str, Metric]], base: str) -> str:
    """One row a metric, one column a model: its difference to the model `base`, with its 95 % interval."""
    rows = []
    for name in dict.fromkeys(name for metrics in changes.values() for name in metrics):
        found = [metrics.get(name) for metrics in changes.values()]
        unit = next(metric["unit"] for metric in found if metric is not None) or ""
        rows.append([_named(name), unit, *("" if m is None else with_its_interval(m, "+.3f") for m in found)])
    return table([["metric", "interval over", *(f"{model} - {base}" for model in changes)], *rows])


def _named(name: str) -> str:
    return f"{name} (lower is better)" if is_lower_better(name) else name


def _chance(metric: Metric) -> str:
    return "" if metric["chance"] is None else f"{metric['chance']:.3f}"


def _cell(metric: Metric | None, first: Metric) -> str:
    if metric is None:
        return ""
    differs = [f"n = {metric['n']}"] if metric["n"] != first["n"] else []
    unit = metric.get("unit")
    differs += [f"over {unit}"] if unit is not None and unit != first.get("unit") else []
    return ", ".join([with_its_interval(metric), *differs])


def with_its_interval(metric: Metric, form: str = ".3f") -> str:
    """The value, and its 95 % interval if there is one: `0.451 [0.433, 0.468]`."""
    if metric["ci95"] is None:
        return f"{metric['value']:{form}}"
    low, high = metric["ci95"]
    return f"{metric['value']:{form}} [{low:{form}}, {high:{form}}]"
