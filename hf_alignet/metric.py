"""The form in which every measured number is reported, and tables of such numbers as Markdown."""

from collections.abc import Mapping
from typing import TypedDict


class Metric(TypedDict):
    """One measured number: `value` (a share, a correlation, or nats), over `n` cases, what guessing gives, and its
    95 % interval.
    """

    value: float
    n: int
    chance: float
    ci95: list[float]


def comparison_table(base: dict[str, Metric], aligned: dict[str, Metric]) -> str:
    """One row a metric of both: n, chance, value and 95 % interval before and after, and the change."""
    header = ["metric", "n", "chance", "before", "after", "change"]
    rows = [
        [
            name,
            str(before["n"]),
            f"{before['chance']:.3f}",
            _with_interval(before),
            _with_interval(aligned[name]),
            f"{aligned[name]['value'] - before['value']:+.3f}",
        ]
        for name, before in base.items()
    ]
    return _markdown([header, *rows])


def results_table(results: Mapping[str, Mapping[str, Metric]]) -> str:
    """One row a metric, one column a model: value and 95 % interval, and n where it is not that of the first.

    `results` holds metrics by name of the model; a model (such as people) may lack some.
    """
    rows = []
    for name in dict.fromkeys(name for metrics in results.values() for name in metrics):
        first = next(metrics[name] for metrics in results.values() if name in metrics)
        cells = [_cell(metrics.get(name), first["n"]) for metrics in results.values()]
        rows.append([name, str(first["n"]), f"{first['chance']:.3f}", *cells])
    return _markdown([["metric", "n", "chance", *results], *rows])


def _markdown(table: list[list[str]]) -> str:
    """A table whose first row is its header."""
    table = [[cell.replace("|", "\\|") for cell in row] for row in table]
    header, *rows = table
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [header, rule, *rows]
    )


def _cell(metric: Metric | None, n: int) -> str:
    if metric is None:
        return ""
    return _with_interval(metric) + (f", n = {metric['n']}" if metric["n"] != n else "")


def _with_interval(metric: Metric) -> str:
    low, high = metric["ci95"]
    return f"{metric['value']:.3f} [{low:.3f}, {high:.3f}]"
