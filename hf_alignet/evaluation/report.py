"""Before and after, side by side, as a Markdown table."""

from hf_alignet.metric import Metric


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
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [header, rule, *rows]
    )


def _with_interval(metric: Metric) -> str:
    low, high = metric["ci95"]
    return f"{metric['value']:.3f} [{low:.3f}, {high:.3f}]"
