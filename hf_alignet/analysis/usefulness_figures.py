"""Figures of how useful models are on labelled images: before against after, gains, and what more shots give.

The first two are the form of figure 4 of Muttenthaler et al. (2025). A part of a variant, such as one corruption at
one severity, is not drawn where its mean is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hf_alignet.analysis.style import CHANCE_LINE, interval_ends, new_panels, without_formulas
from hf_alignet.errors import InputError
from hf_alignet.metric import Metric, is_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Results = Mapping[str, Mapping[str, Metric]]
MARKERS = "os^Dv<>P"
ACCURACY, SHOT, CLEAN, SEVERITY = "_accuracy", "_shot", "clean", "severity_"
FEW_SHOT = "few_shot_accuracy"  # other measures of several shots have a panel each


@without_formulas()
def downstream_before_after_figure(results: Results) -> Figure:
    """Accuracies of models against those of the first model: above the diagonal a model has gained.

    There is a panel for each measure of accuracy (columns) and each other model (rows). A point is a variant of a
    dataset, with the 95 % intervals of both models. The colour says the dataset, the form of the point the variant.

    Args:
        results: metrics `dataset/variant/measure` by model, that before alignment first.

    Raises:
        InputError: there is only one model, or no accuracy that the first and another model have.
    """
    from matplotlib.lines import Line2D

    base, *others = results
    if not (names := _accuracies_of_two(results)):
        raise InputError("accuracies before and after need two models with the same benchmarks")
    measures = list(dict.fromkeys(_measure(name) for name in names))
    datasets = list(dict.fromkeys(name.split("/")[0] for name in names))
    variants = list(dict.fromkeys(_variant(name) for name in names))
    size = (3.2 * len(measures) + 2.6, 3.2 * len(others) + 0.4)
    figure, panels = new_panels(len(others), len(measures), squeeze=False, figsize=size, layout="constrained")
    for row, other in zip(panels, others, strict=True):
        for axes, measure in zip(row, measures, strict=True):
            shown = [name for name in names if _measure(name) == measure and name in results[other]]
            for name in shown:
                color = f"C{datasets.index(name.split('/')[0]) % 10}"
                marker = MARKERS[variants.index(_variant(name)) % len(MARKERS)]
                _point(axes, results[base][name], results[other][name], name, color, marker)
            _diagonal(axes)
            axes.set(xlabel=base, ylabel=other, title=measure.replace("_", " "))
            axes.title.set_fontsize("small")
    entries = [
        Line2D([], [], marker="o", ls="", color=f"C{index % 10}", label=name) for index, name in enumerate(datasets)
    ]
    if len(variants) > 1:
        entries += [
            Line2D([], [], marker=MARKERS[index % len(MARKERS)], ls="", mfc="none", color="black", label=name)
            for index, name in enumerate(variants)
        ]
    figure.legend(handles=entries, frameon=False, fontsize="small", loc="outside right upper")
    return figure


@without_formulas()
def gains_figure(differences: Results, base: str) -> Figure:
    """How much each model gains on each benchmark: differences to the first model, with their own 95 % intervals.

    A row is a variant of a dataset, and a panel a measure; right of the line a model has gained. An interval that
    does not reach the line is a difference that other images would show, too.

    Args:
        differences: of `hf_alignet.evaluation.changes`, by model.
        base: name of the model that they are against.

    Raises:
        InputError: there are no differences.
    """
    names = [name for name in dict.fromkeys(n for found in differences.values() for n in found) if is_whole(name)]
    if not names:
        raise InputError("gains need two models with the same benchmarks")
    by_measure: dict[str, list[str]] = {}
    for name in names:
        by_measure.setdefault(_measure(name), []).append(name)
    sizes = [len(shown) for shown in by_measure.values()]
    height = (0.16 + 0.13 * len(differences)) * len(names) + 0.5 * len(sizes) + 0.8
    figure, panels = new_panels(
        len(sizes), 1, squeeze=False, sharex=True, figsize=(8, height), height_ratios=sizes, layout="constrained"
    )
    step = 0.7 / len(differences)
    for axes, (measure, shown) in zip(panels[:, 0], by_measure.items(), strict=True):
        for index, (model, found) in enumerate(differences.items()):
            rows = [(y, found[name]) for y, name in enumerate(shown) if name in found]
            values = np.array([metric["value"] for _, metric in rows])
            errors = np.abs(interval_ends([metric for _, metric in rows]) - values)
            places = np.array([y for y, _ in rows]) + _beside(index, differences) * step
            axes.errorbar(values, places, xerr=errors, fmt="o", ms=4, capsize=2, color=f"C{index % 10}", label=model)
        axes.axvline(0, color=CHANCE_LINE, linestyle=":")
        axes.set_yticks(range(len(shown)), [name.rpartition("/")[0] for name in shown], fontsize="small")
        axes.set(title=measure.replace("_", " "), ylim=(len(shown) - 0.4, -0.6))
        axes.title.set_fontsize("small")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel(f"difference to {base}")
    return _with_legend(figure, panels[0, 0])


@without_formulas()
def shots_figure(results: Results) -> Figure:
    """Accuracy by number of shots, a panel for each dataset (and head) and a line with 95 % intervals for each model.

    Args:
        results: by model, metrics of which those called `dataset/N_shot/measure` are drawn.

    Raises:
        InputError: there are none.
    """
    by_dataset: dict[str, dict[int, str]] = {}
    for name in dict.fromkeys(name for metrics in results.values() for name in metrics):
        if (number := _shots(name)) is not None:
            head = "" if _measure(name) == FEW_SHOT else f", {_measure(name).removesuffix(ACCURACY)}"
            by_dataset.setdefault(name.split("/")[0] + head, {})[number] = name
    if not by_dataset:
        raise InputError("there is no metric of a number of shots, as in cifar100/5_shot/few_shot_accuracy")
    size = (3.4 * len(by_dataset) + 0.6, 3.4 + 0.22 * len(results))
    figure, panels = new_panels(1, len(by_dataset), squeeze=False, figsize=size, layout="constrained")
    for axes, (dataset, names) in zip(panels[0], by_dataset.items(), strict=True):
        for index, (model, metrics) in enumerate(results.items()):
            shown = {number: metrics[name] for number, name in sorted(names.items()) if name in metrics}
            _curve(axes, shown, np.array(list(shown)) * 1.06 ** _beside(index, results), model, index)
        _chance(axes, [metrics[name] for metrics in results.values() for name in names.values() if name in metrics])
        axes.set_xscale("log")
        axes.set_xticks(sorted(names), [str(number) for number in sorted(names)])
        axes.set_xticks([], minor=True)
        axes.set(title=dataset, xlabel="shots", ylabel="accuracy")
        axes.title.set_fontsize("small")
        axes.spines[["top", "right"]].set_visible(False)
    return _with_legend(figure, panels[0, 0])


@without_formulas()
def severity_figure(results: Results) -> Figure:
    """Accuracy by severity of a corruption: a panel for the mean and for each corruption, a line for each model.

    Severity 0 is the clean picture. Bars are 95 % intervals.

    Args:
        results: metrics of `hf_alignet.evaluation.corruption_robustness` with one dataset in front, by model.

    Raises:
        InputError: there are none.
    """
    names_of = dict.fromkeys(name for metrics in results.values() for name in metrics)
    clean = next((name for name in names_of if _variant(name) == CLEAN), None)
    if clean is None:
        raise InputError("there is no metric of corrupted pictures, as in cifar100/clean/corruption_accuracy")
    panels: dict[str, dict[int, str]] = {}
    for name in names_of:
        kind, _, severity = _variant(name).replace(SEVERITY, "mean/").rpartition("/")
        if kind and severity.isdecimal():
            panels.setdefault(kind, {0: clean})[int(severity)] = name
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    size = (3 * columns + 0.4, 2.6 * rows + 0.3 + 0.22 * len(results))
    figure, grid = new_panels(
        rows, columns, squeeze=False, sharex=True, sharey=True, figsize=size, layout="constrained"
    )
    for axes, (kind, names) in zip(grid.flat, panels.items(), strict=False):
        for index, (model, metrics) in enumerate(results.items()):
            shown = {severity: metrics[name] for severity, name in sorted(names.items()) if name in metrics}
            _curve(axes, shown, np.array(list(shown)) + 0.08 * _beside(index, results), model, index)
        _chance(axes, [metrics[clean] for metrics in results.values() if clean in metrics])
        axes.set(title=kind.replace("_", " "), xticks=sorted(names))
        axes.title.set_fontsize("small")
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figure.supxlabel("severity", fontsize="medium")
    figure.supylabel("accuracy", fontsize="medium")
    return _with_legend(figure, grid[0, 0])


def has_accuracies_of_two(results: Results) -> bool:
    """Whether there is something for `downstream_before_after_figure`."""
    return bool(_accuracies_of_two(results))


def has_several_shots(results: Results) -> bool:
    """Whether some dataset was measured with more than one number of shots."""
    names = {name for metrics in results.values() for name in metrics if _shots(name) is not None}
    return len(names) > len({name.split("/")[0] for name in names})


def _accuracies_of_two(results: Results) -> list[str]:
    """Accuracies that the first and another model have."""
    base, *others = results
    names = [name for name in results[base] if is_whole(name) and name.endswith(ACCURACY)]
    return [name for name in names if any(name in results[other] for other in others)]


def _measure(name: str) -> str:
    return name.split("/")[-1]


def _variant(name: str) -> str:
    return "/".join(name.split("/")[1:-1])


def _shots(name: str) -> int | None:
    number, shot, rest = _variant(name).partition(SHOT)
    return int(number) if shot and not rest and number.isdecimal() else None


def _point(axes: Axes, before: Metric, after: Metric, name: str, color: str, marker: str) -> None:
    x, y = before["value"], after["value"]
    errors = [np.abs(interval_ends([metric]) - metric["value"]) for metric in (before, after)]
    axes.errorbar(
        x, y, xerr=errors[0], yerr=errors[1], fmt=marker, ms=5, mfc="white", color=color, elinewidth=1, label=name
    )


def _diagonal(axes: Axes) -> None:
    """The line where nothing changes, across a square panel."""
    low = max(0.0, min(axes.get_xlim()[0], axes.get_ylim()[0]))
    high = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color=CHANCE_LINE, linestyle=":", zorder=0)
    axes.locator_params(nbins=5)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)


def _with_legend(figure: Figure, axes: Axes) -> Figure:
    """The names of one panel below all panels."""
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize="small", loc="outside lower left")
    return figure


def _beside(index: int, results: Results) -> float:
    """How many steps from the middle a model stands, so that intervals stand beside each other."""
    return index - (len(results) - 1) / 2


def _curve(axes: Axes, metrics: Mapping[int, Metric], x: np.ndarray, label: str, index: int) -> None:
    """A line with intervals."""
    values = np.array([metric["value"] for metric in metrics.values()])
    errors = np.abs(interval_ends(list(metrics.values())) - values)
    axes.errorbar(x, values, yerr=errors, marker="o", ms=4, capsize=2, color=f"C{index % 10}", label=label)


def _chance(axes: Axes, metrics: Sequence[Metric]) -> None:
    chances = [metric["chance"] for metric in metrics if metric["chance"] is not None]
    if chances:
        axes.axhline(chances[0], color=CHANCE_LINE, linestyle=":", label="chance")
