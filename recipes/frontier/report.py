"""The table and the figure of what `sweep.py` measured: what each setting gains, and what it loses.

A setting is on the frontier if no other one agrees more with people and is better at both few-shot tasks. The others
are grey. Prints the table, and draws `frontier.png` beside the runs.

    python recipes/frontier/report.py
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from hf_alignet.analysis import save_figure

MEASURES = {
    "agreement": "agreement",
    "1_shot": "1-shot",
    "10_shot": "10-shot",
    "inside_classes": "order inside classes",
    "neighbours": "neighbours kept",
}
JUDGED = ("agreement", "1_shot", "10_shot")  # what the frontier is of
BASE = "base"


def points(directory: Path) -> dict[str, dict[str, float]]:
    """By setting and share of the way, the means over seeds, and `seeds`."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for file in sorted(directory.glob("*.json")):
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        name = content["setting"]["name"] if "setting" in content else file.stem
        for share, values in content["points"].items():
            found[name if float(share) == 1 else f"{name}, interpolation {share}"].append(values)
    return {
        name: {key: float(np.mean([v[key] for v in values])) for key in MEASURES} | {"seeds": len(values)}
        for name, values in found.items()
    }


def on_frontier(found: dict[str, dict[str, float]]) -> set[str]:
    """Those that no other one is better than at everything that is judged."""

    def is_better(a: dict[str, float], b: dict[str, float]) -> bool:
        return all(a[m] >= b[m] for m in JUDGED) and any(a[m] > b[m] for m in JUDGED)

    return {name for name, values in found.items() if not any(is_better(other, values) for other in found.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default="outputs/frontier", help="of sweep.py (%(default)s)")
    directory = parser.parse_args().output_dir
    found = points(directory)
    best = on_frontier(found)
    print("| setting | seeds | " + " | ".join(MEASURES.values()) + " |\n" + "| --- " * (2 + len(MEASURES)) + "|")
    for name, values in sorted(found.items(), key=lambda pair: pair[1]["agreement"]):
        cells = " | ".join(f"{values[m]:.3f}" for m in MEASURES)
        print(f"| {f'**{name}**' if name in best else name} | {values['seeds']:.0f} | {cells} |")

    figure, panels = plt.subplots(1, 2, figsize=(12, 5.5), layout="constrained", sharey=True)
    for axes, measure in zip(panels, JUDGED[1:], strict=True):
        for number, (name, values) in enumerate(sorted(found.items(), key=lambda pair: pair[1]["agreement"])):
            style: dict[str, Any] = {"color": f"C{number % 10}", "marker": "os^Dv<>PX"[number % 9], "label": name}
            if name == BASE:
                style = {"color": "black", "marker": "*", "label": "base"}
            elif name not in best:
                style = {"color": "0.75", "marker": "o", "zorder": 1}
            axes.scatter(values[measure], values["agreement"], s=60, **style)
        axes.axvline(found[BASE][measure], color="0.4", linestyle=":")
        axes.set_xlabel(f"{MEASURES[measure]} accuracy, 160 classes")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("odd-one-out agreement with VICE,\n30 classes never seen (10,000 triplets)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    save_figure(figure, directory / "frontier.png")


if __name__ == "__main__":
    main()
