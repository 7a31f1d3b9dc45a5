"""The table and the figure of what `sweep.py` measured: what each setting gains, and what it loses.

Of each setting, the trained weights, and those that `--interpolation auto` takes, means over seeds. Few-shot
accuracies are differences to the base. A point is on the frontier if no other one agrees more with people and is
better at both few-shot tasks. Prints the table, and draws `frontier.png` beside the runs.

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

JUDGED = ("agreement", "1_shot", "10_shot")  # what the frontier is of
FEW_SHOT = {"1_shot": "1-shot", "10_shot": "10-shot", "1_shot_unseen": "1-shot, 30 classes never seen"}
KEPT = {"inside_classes": "order inside classes", "inside_classes_sure": "where sure"}
BASE, TRAINED, AUTO = "base", "1.0", "auto"
# In colour; the others are dark grey if they have a point on the frontier, and else light
SHOWN = (
    "all-blocks",
    "triplets",
    "three-clusters",
    "ridge+classes-temperature-0.5",
    "three-clusters-ridge+classes-120",
    "lora-16-ridge+classes",
)

Points = dict[str, dict[str, dict[str, float]]]


def points(directory: Path) -> Points:
    """By setting and share of the way, the means over seeds of what was measured, `share`, and `seeds`."""
    found: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(directory.glob("*.json")):
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        measured = {share: values | {"share": float(share)} for share, values in content["points"].items()}
        if "auto" in content:
            measured[AUTO] = measured[str(content["auto"])]
        for share, values in measured.items():
            found[content["setting"]["name"] if "setting" in content else file.stem][share].append(values)
    return {
        name: {
            share: {key: float(np.mean([v[key] for v in values])) for key in values[0]} | {"seeds": len(values)}
            for share, values in by_share.items()
        }
        for name, by_share in found.items()
    }


def on_frontier(found: Points) -> set[tuple[str, str]]:
    """Setting and share of those that no other one is better than at everything that is judged."""
    every = {(name, share): values for name, by_share in found.items() for share, values in by_share.items()}

    def is_better(a: dict[str, float], b: dict[str, float]) -> bool:
        return all(a[m] >= b[m] for m in JUDGED) and any(a[m] > b[m] for m in JUDGED)

    return {key for key, values in every.items() if not any(is_better(other, values) for other in every.values())}


def table(found: Points) -> str:
    """One row a setting: the trained weights, and what `auto` takes if it is not these."""
    base, best = found[BASE][TRAINED], on_frontier(found)
    head = ["setting", "seeds", "agreement", *FEW_SHOT.values(), *KEPT.values(), "auto: share, agreement, 1-, 10-shot"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for name, by_share in sorted(found.items(), key=lambda pair: pair[1][TRAINED]["agreement"]):
        values, at = by_share[TRAINED], by_share.get(AUTO)
        told = [f"{values['agreement']:.3f}"]
        told += [f"{values[m]:.3f}" if name == BASE else f"{values[m] - base[m]:+.3f}" for m in FEW_SHOT]
        told += [f"{values[m]:.3f}" for m in KEPT]
        if at is None or at["share"] == 1:
            told.append("")
        else:
            changes = ", ".join(f"{at[m] - base[m]:+.3f}" for m in JUDGED[1:])
            told.append(f"{at['share']:.2g}: {at['agreement']:.3f}, {changes}")
        shown = f"**{name}**" if (name, TRAINED) in best else name
        lines.append(f"| {shown} | {values['seeds']:.0f} | " + " | ".join(told) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default="outputs/frontier", help="of sweep.py (%(default)s)")
    directory = parser.parse_args().output_dir
    found = points(directory)
    print(table(found))

    best = {name for name, _ in on_frontier(found)}
    figure, panels = plt.subplots(1, 2, figsize=(12, 6), layout="constrained", sharey=True)
    for axes, measure in zip(panels, JUDGED[1:], strict=True):
        base = found[BASE][TRAINED]
        for name, by_share in found.items():
            way = sorted({v["share"]: (v[measure] - base[measure], v["agreement"]) for v in by_share.values()}.items())
            x, y = zip((0.0, base["agreement"]), *(point for _, point in way), strict=True)
            style: dict[str, Any] = {"color": "0.5" if name in best else "0.85", "linewidth": 1, "zorder": 1}
            if name in SHOWN:
                number = SHOWN.index(name)
                style = {"color": f"C{number}", "marker": "os^Dv<"[number], "label": name, "markersize": 6}
            axes.plot(x, y, **style)
            if name in SHOWN and AUTO in by_share:
                at = by_share[AUTO]
                axes.scatter(
                    at[measure] - base[measure], at["agreement"], s=130, facecolors="none", edgecolors="black"
                )
        axes.plot(0, base["agreement"], "k*", markersize=14, label="base")
        axes.axvline(0, color="0.4", linestyle=":")
        axes.set_xlabel(f"change of {FEW_SHOT[measure]} accuracy, 160 classes")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("odd-one-out agreement with VICE,\n30 classes never seen (10,000 triplets)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    save_figure(figure, directory / "frontier.png")


if __name__ == "__main__":
    main()
