"""Figures of a study of many models: usefulness against alignment, what more shots give, and correlations by shots."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import pandas as pd

from hf_alignet.analysis.alignment_study import GROUPS, TRANSFORMS
from hf_alignet.analysis.style import CHANCE_LINE, new_panels, without_formulas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that the colour-blind tell apart (Okabe & Ito 2008), and marks beside them
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKS = "osD^vP*"
N_SHOT = re.compile(r"^([^/]+)/(\d+)_shot/(linear|one_hidden|two_hidden)_accuracy$")  # dataset, shots and head


@without_formulas()
def u_shape_figure(
    alignments: pd.DataFrame, useful: pd.DataFrame, shapes: pd.DataFrame, families: pd.Series | None = None
) -> Figure:
    """Each metric against each measure of alignment, a point a model, with the linear and the quadratic fit.

    Args:
        alignments: (models, measures).
        useful: (models, metrics) to draw, a row of panels each.
        shapes: `u_shapes` of these metrics; the titles say what they found.
        families: of each model, for colours and marks.
    """
    from matplotlib.lines import Line2D

    rows, columns = useful.shape[1], alignments.shape[1]
    size = (3.5 * columns + 0.4, 2.9 * rows + 0.8)
    figure, panels = new_panels(rows, columns, squeeze=False, figsize=size, layout="constrained", sharey="row")
    kinds = list(dict.fromkeys(families.dropna())) if families is not None else []
    for row, metric in zip(panels, useful, strict=True):
        for axes, measure in zip(row, alignments, strict=True):
            sides = pd.DataFrame({"x": alignments[measure], "y": useful[metric]}).dropna()
            _points(axes, sides, families, kinds)
            ends = np.linspace(sides["x"].min(), sides["x"].max(), 100)
            for degree, dashes in ((1, ":"), (2, "-")):
                fit = np.polynomial.Polynomial.fit(sides["x"], sides["y"], degree)
                axes.plot(ends, fit(ends), dashes, color=CHANCE_LINE, lw=1.3, zorder=0)
            found = shapes[(shapes.alignment == measure) & (shapes.metric == metric)].iloc[0]
            axes.set_title(
                f"curvature {found.curvature:+.3f} [{found.curvature_low:+.3f}, {found.curvature_high:+.3f}]\n"
                f"U-shape p = {found.p_u:.2g}, n = {found.n}",
                fontsize="small",
            )
            axes.set_xlabel(str(measure).replace("_", " "))
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel(textwrap.fill(_short(str(metric)), 28), fontsize="small")
    entries = [
        Line2D([], [], marker=MARKS[i % len(MARKS)], ls="", color=COLOURS[i % len(COLOURS)], label=str(kind))
        for i, kind in enumerate(kinds)
    ]
    entries += [
        Line2D([], [], ls=dashes, color=CHANCE_LINE, label=name)
        for dashes, name in ((":", "linear"), ("-", "quadratic"))
    ]
    figure.legend(
        handles=entries, frameon=False, fontsize="small", loc="outside lower center", ncols=min(6, len(entries))
    )
    return figure


def _points(axes: Axes, sides: pd.DataFrame, families: pd.Series | None, kinds: Sequence[object]) -> None:
    if families is None or not kinds:
        axes.plot(sides["x"], sides["y"], "o", ms=5, color=COLOURS[0], alpha=0.8)
        return
    of_model = families.reindex(sides.index)
    for index, kind in enumerate(kinds):
        part = sides[of_model == kind]
        axes.plot(
            part["x"], part["y"], MARKS[index % len(MARKS)], ms=5, color=COLOURS[index % len(COLOURS)], alpha=0.85
        )
    rest = sides[of_model.isna()]
    axes.plot(rest["x"], rest["y"], "x", ms=5, color=CHANCE_LINE)


@without_formulas()
def group_shots_figure(groups: pd.DataFrame, alignment: str) -> Figure:
    """Accuracy by number of shots of the high, middle and low five models: a panel for each dataset and head.

    Args:
        groups: of `high_middle_low`.
        alignment: the measure by which the models were chosen. Bars are standard errors over the models.
    """
    found = _with_parts(groups[groups.alignment == alignment])
    grid = _panels(found)
    for (dataset, head), axes in grid.items():
        part = found[(found.dataset == dataset) & (found["head"] == head)]
        for index, group in enumerate(GROUPS):
            of_group = part[part.group == group].sort_values("shots")
            errors = of_group.sd / np.sqrt(of_group.n)
            axes.errorbar(
                of_group.shots * 1.05 ** (index - 1),
                of_group["mean"],
                yerr=errors,
                marker=MARKS[index],
                ms=4,
                capsize=2,
                color=COLOURS[index],
                label=f"{group} five",
            )
    return _finished(grid, "accuracy", f"models by {alignment.replace('_', ' ')}; mean ± SE of n = 5 models")


@without_formulas()
def shot_correlations_figure(correlations: pd.DataFrame, alignment: str) -> Figure:
    """Pearson's correlation of alignment (z) and of its square (z²) with accuracy, by number of shots.

    Args:
        correlations: of `alignment_correlations`. Bars are 95 % intervals.
        alignment: the measure of alignment.
    """
    found = correlations[(correlations.alignment == alignment) & (correlations.method == "pearson")]
    found = _with_parts(found)
    kinds = [(transform, given) for transform in TRANSFORMS for given in found["given"].unique()]
    grid = _panels(found)
    for (dataset, head), axes in grid.items():
        part = found[(found.dataset == dataset) & (found["head"] == head)]
        for index, (transform, given) in enumerate(kinds):
            line = part[(part["transform"] == transform) & (part["given"] == given)].sort_values("shots")
            axes.errorbar(
                line.shots * 1.06 ** (index - (len(kinds) - 1) / 2),
                line.value,
                yerr=np.abs(line[["low", "high"]].to_numpy().T - line.value.to_numpy()),
                marker=MARKS[index],
                ms=4,
                capsize=2,
                color=COLOURS[index],
                label=f"{transform}{f', given {_short(given)}' if given else ''}",
            )
        axes.axhline(0, color=CHANCE_LINE, ls=":", lw=1)
        axes.set_ylim(-1.02, 1.02)
    number = int(found.n.max())
    return _finished(
        grid, "correlation with accuracy", f"{alignment.replace('_', ' ')}, n = {number} models, 95 % intervals"
    )


def has_shots(metrics: Sequence[str]) -> bool:
    """Whether metrics are of several shots and heads, as those of the benchmark `n_shot` are."""
    return any(N_SHOT.match(metric) for metric in metrics)


def _with_parts(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of n-shot metrics with `dataset`, `shots` and `head`."""
    parts = table["metric"].str.extract(N_SHOT)
    table = table.assign(dataset=parts[0], shots=pd.to_numeric(parts[1]), head=parts[2])
    return table.dropna(subset=["dataset"])


def _panels(found: pd.DataFrame) -> dict[tuple[str, str], Axes]:
    datasets, heads = list(found.dataset.unique()), list(found["head"].unique())
    size = (3.3 * len(heads) + 0.6, 2.7 * len(datasets) + 0.9)
    _, panels = new_panels(
        len(datasets), len(heads), squeeze=False, figsize=size, layout="constrained", sharey="row", sharex=True
    )
    every = sorted(found.shots.unique().astype(int))
    for axes in panels.flat:
        axes.set_xscale("log")
        axes.set_xticks(every, [str(number) for number in every])
        axes.set_xticks([], minor=True)
        axes.spines[["top", "right"]].set_visible(False)
    return {(d, h): panels[i, k] for i, d in enumerate(datasets) for k, h in enumerate(heads)}


def _finished(grid: dict[tuple[str, str], Axes], y_label: str, title: str) -> Figure:
    heads = list(dict.fromkeys(head for _, head in grid))
    for (dataset, head), axes in grid.items():
        axes.set_title(f"{dataset.removesuffix('_n_shot')}, {head.replace('_', ' ')}", fontsize="small")
        if head == heads[0]:
            axes.set_ylabel(y_label)
        axes.set_xlabel("shots per class")
    first = next(iter(grid.values()))
    figure = cast("Figure", first.figure)
    figure.suptitle(title, fontsize="medium")
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize="small", loc="outside lower center", ncols=len(labels))
    return figure


def _short(metric: str) -> str:
    """A metric as a label: its dataset and what of it."""
    dataset, _, rest = metric.partition("/")
    name = dataset.removesuffix("_n_shot").replace("_", " ")
    return f"{name}, {rest.replace('/', ' ').replace('_', ' ')}" if rest else name
