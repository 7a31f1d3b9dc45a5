"""Figures. One place decides how they look (`style`); every function returns a matplotlib Figure.

A notebook shows a figure that is the last value of a cell; `figure.savefig(file)` writes it. The figures are closed
for pyplot, so that it neither shows them twice nor keeps them in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from datasets import Dataset

from hf_alignet.analysis.neighbours import NUM_MOVED, Moved, most_moved, picture_labels
from hf_alignet.analysis.style import (
    AFTER,
    BEFORE,
    CHANCE_LINE,
    finish,
    interval_ends,
    new_figure,
    new_panels,
    without_formulas,
)
from hf_alignet.images.decoding import read_pictures
from hf_alignet.images.opening import as_encoded_images, holds_texts
from hf_alignet.metric import Metric, is_lower_better
from hf_alignet.ranges import Seed, checked
from hf_alignet.storage import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_PICTURES = 150
THUMBNAIL = 48
MOST_COLOURS, MOST_LETTERS = 10, 24
MOVED_COLUMNS = (0.02, 0.3, 0.65)  # places across the panel


@without_formulas()
@checked
def before_after_figure(
    base: dict[str, Metric],
    aligned: dict[str, Metric],
    images: Dataset,
    rows: np.ndarray,
    base_embeddings: np.ndarray,
    aligned_embeddings: np.ndarray,
    show_pictures: bool = True,
    seed: Seed = 0,
) -> Figure:
    """Pictures placed by their embeddings before and after alignment, accuracies, and the pictures that moved most.

    Places are the first two principal components, so that distance on the page is distance in the embedding. Where
    pictures may not be shown, they are dots, coloured and called by the column `label` or `concept`, or else by their
    place and their row. The names of files are never shown.

    Args:
        base: metrics before.
        aligned: the same metrics after.
        images: the image dataset.
        rows: (U,) rows of it that were embedded.
        base_embeddings: (U, d) before.
        aligned_embeddings: (U, d) after.
        show_pictures: whether pictures may be shown.
        seed: picks the pictures when there are more than fit.
    """
    shown = np.sort(np.random.default_rng(seed).permutation(len(rows))[:NUM_PICTURES])
    thumbnails = None
    noun = "text" if holds_texts(images) else "picture"
    if show_pictures:
        pictures = read_pictures(as_encoded_images(images), rows[shown].tolist())
        thumbnails = [np.asarray(picture.resize((THUMBNAIL, THUMBNAIL))) for picture in pictures]
    column, labels = picture_labels(images, rows[shown])
    figure = new_figure(figsize=(12, 9.5), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[1.5, 1])
    places = [_principal_places(embeddings, shown) for embeddings in (base_embeddings, aligned_embeddings)]
    panels = [figure.add_subplot(grid[0, number]) for number in range(2)]
    for axes, title, placed in zip(panels, ("before", "after"), places, strict=True):
        _frame(axes, title, placed)
    if thumbnails is not None:
        for axes, placed in zip(panels, places, strict=True):
            for place, thumbnail in zip(placed, thumbnails, strict=True):
                _show(axes, place[0], place[1], thumbnail)
    elif column is not None and len(set(labels)) <= MOST_COLOURS:
        _classes(figure, panels, places, column, labels)
    else:
        for axes, placed in zip(panels, places, strict=True):
            dots = axes.scatter(placed[:, 0], placed[:, 1], c=places[0][:, 0], s=24)
        figure.colorbar(dots, ax=panels, label="colour: place on the 1st component before alignment", ticks=[])
    _bars(figure.add_subplot(grid[1, 0]), base, aligned)
    moved = most_moved(base_embeddings[shown], aligned_embeddings[shown])
    _moved(figure.add_subplot(grid[1, 1]), moved, labels, thumbnails, noun)
    return figure


@without_formulas()
def curves_figure(
    curves: dict[str, list[np.ndarray]], x_label: str, y_label: str, base: float | None = None
) -> Figure:
    """A line through the mean of the runs of each name, with a dot for every run.

    Args:
        curves: by name, arrays (k, 2) of x and y, one a run, with the same x.
        base: y before training, drawn across.
    """
    figure, axes = new_panels(figsize=(7, 4.5), layout="constrained")
    for index, (name, runs) in enumerate(curves.items()):
        points = np.stack(runs)  # (runs, k, 2)
        axes.plot(*points.mean(0).T, color=f"C{index}", label=name)
        axes.scatter(points[..., 0], points[..., 1], color=f"C{index}", s=14)
    if base is not None:
        axes.axhline(base, color=CHANCE_LINE, linestyle=":", label="before training")
    return finish(figure, axes, x_label, y_label)


@without_formulas()
def trade_off_figure(ends: dict[str, np.ndarray], base: tuple[float, float], x_label: str, y_label: str) -> Figure:
    """Where runs end between two measures, from a common start: up and to the right is better.

    Args:
        ends: by name, (2,) x and y after a run.
        base: x and y before training.
    """
    figure, axes = new_panels(figsize=(10, 5), layout="constrained")
    for index, (name, end) in enumerate(ends.items()):
        marker = "os^Dv<>P"[index // 10 % 8]
        axes.scatter(*end, color=f"C{index % 10}", marker=marker, label=name)
    axes.scatter(*base, color="black", marker="*", s=120, label="before training", zorder=3)
    axes.axvline(base[0], color=CHANCE_LINE, linestyle=":")
    return finish(figure, axes, x_label, y_label)


@without_formulas()
def calibration_figure(tables: dict[str, pd.DataFrame]) -> Figure:
    """How often people choose what is predicted with a probability: on the diagonal, probabilities are true.

    The area of a dot says how many judged pairs are behind it. `tables` are those of
    `hf_alignet.evaluation.reliability`, by name of the predictor.
    """
    figure, axes = new_panels(figsize=(8.5, 4.5), layout="constrained")
    axes.plot([0, 1], [0, 1], color=CHANCE_LINE, linestyle=":")
    for name, table in tables.items():
        label = f"{name} ({len(table)} bins of {table.n.median():,.0f} judged pairs)"
        (line,) = axes.plot(table.predicted, table.observed, label=label)
        axes.scatter(table.predicted, table.observed, s=40 * table.n / table.n.max(), color=line.get_color())
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return finish(figure, axes, "predicted probability", "share of people's choices")


@without_formulas()
def elbow_figure(curve: pd.DataFrame, chosen: int) -> Figure:
    """Mean squared distance to the nearest centre against the number of clusters, and the number that was chosen.

    `curve` has the columns `num_clusters` and `inertia`.
    """
    figure, axes = new_panels(figsize=(6.5, 4), layout="constrained")
    axes.plot(curve.num_clusters, curve.inertia, marker="o", markersize=4, color=AFTER, label="k-means")
    axes.axvline(chosen, color=CHANCE_LINE, linestyle=":", label=f"elbow: {chosen}")
    return finish(figure, axes, "number of clusters", "mean squared distance to the centre")


@without_formulas()
def benchmark_figure(results: dict[str, dict[str, Metric]], people: dict[str, Metric]) -> Figure:
    """Bars with 95 % intervals, one panel a measure, one group a variant, one colour a model.

    Args:
        results: metrics of one benchmark, called `dataset/variant/measure`, by model.
        people: what is possible, by name of the metric; drawn as dashed lines, with a band where they have an
            interval. Chance is dotted.
    """
    by_measure: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for metrics in results.values() for name in metrics):
        by_measure.setdefault(name.split("/")[-1], []).append(name)
    sizes = [len(names) for names in by_measure.values()]
    figure, panels = new_panels(
        1,
        len(sizes),
        squeeze=False,
        layout="constrained",
        figsize=(max(6, sum(2 + 0.8 * size for size in sizes)), 3.5 + 0.22 * len(results)),
    )
    width = 0.8 / len(results)
    for axes, (measure, names) in zip(panels[0], by_measure.items(), strict=True):
        for index, (model, metrics) in enumerate(results.items()):
            shown = [(x, metrics[name]) for x, name in enumerate(names) if name in metrics]
            values = np.array([metric["value"] for _, metric in shown])
            ends = interval_ends([metric for _, metric in shown])
            places = np.array([x for x, _ in shown]) + (index - (len(results) - 1) / 2) * width
            bars = {"yerr": np.abs(ends - values), "capsize": 3, "label": model, "color": f"C{index % 10}"}
            axes.bar(places, values, 0.95 * width, **bars)
        for x, name in enumerate(names):
            chance = next(metrics[name]["chance"] for metrics in results.values() if name in metrics)
            if chance is not None:
                axes.plot([x - 0.45, x + 0.45], [chance] * 2, color=CHANCE_LINE, ls=":", label="" if x else "chance")
        known = [(x, people[name]) for x, name in enumerate(names) if name in people]
        for position, (x, metric) in enumerate(known):
            label = "" if position else "people"
            axes.plot([x - 0.45, x + 0.45], [metric["value"]] * 2, color="black", ls="--", label=label)
            if metric["ci95"] is not None:
                axes.fill_between([x - 0.45, x + 0.45], *metric["ci95"], color="black", alpha=0.12, linewidth=0)
        axes.set_xticks(range(len(names)), ["/".join(name.split("/")[1:-1]) for name in names])
        shown_metrics = [metrics[name] for metrics in results.values() for name in names if name in metrics]
        units = sorted({metric["unit"] for metric in shown_metrics if metric.get("unit")})
        title = measure.replace("_", " ") + (", lower is better" if is_lower_better(measure) else "")
        over = f"\n95 % intervals over {', '.join(units)}" if units else ""
        axes.set(title=title + over, xlim=(-0.6, len(names) - 0.4))
        axes.title.set_fontsize("small")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0][0].get_legend_handles_labels(), frameon=False, fontsize="small", loc="outside lower left")
    return figure


def save_figure(figure: Figure, file: Path) -> None:
    """Writes a figure, as the ending of the file says; see `whole_file`."""
    with whole_file(file) as temporary:
        figure.savefig(temporary, format=file.suffix[1:])


def _principal_places(embeddings: np.ndarray, shown: np.ndarray) -> np.ndarray:
    from sklearn.decomposition import PCA

    return PCA(2, random_state=0).fit(embeddings).transform(embeddings[shown])


def _frame(axes: Axes, title: str, places: np.ndarray) -> None:
    low, high = places.min(0), places.max(0)
    margin = 0.06 * (high - low)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    axes.set(title=f"{title} alignment", xticks=[], yticks=[], xlabel="1st principal component", ylabel="2nd")


def _show(axes: Axes, x: float, y: float, thumbnail: np.ndarray) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    axes.add_artist(AnnotationBbox(OffsetImage(thumbnail, zoom=0.42), (x, y), frameon=False, pad=0))


def _classes(figure: Figure, panels: list[Axes], places: list[np.ndarray], column: str, labels: Sequence[str]) -> None:
    """Dots with one colour a class, and a legend of the classes."""
    for index, name in enumerate(sorted(set(labels))):
        is_of_class = np.array(labels) == name
        for axes, placed in zip(panels, places, strict=True):
            axes.scatter(placed[is_of_class, 0], placed[is_of_class, 1], color=f"C{index}", s=24, label=_short(name))
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, title=column, frameon=False, ncols=5, loc="outside upper center")


def _moved(axes: Axes, moved: Moved, labels: Sequence[str], thumbnails: list[np.ndarray] | None, noun: str) -> None:
    """A row for each picture that moved most, beside the nearest pictures before and after."""
    axes.set(xlim=(0, 1), ylim=(NUM_MOVED, -1))
    axes.set_axis_off()
    axes.set_title(
        f"the {noun}s that moved most, of {len(labels)} here, and their nearest by cosine", fontsize="medium"
    )
    for x, header in zip(MOVED_COLUMNS, (noun, "nearest before", "nearest after"), strict=True):
        axes.text(x, -0.6, header, fontweight="bold", va="center")
    for y, cells in enumerate(zip(moved.pictures[:, None], moved.before, moved.after, strict=True)):
        for x, cell in zip(MOVED_COLUMNS, cells, strict=True):
            if thumbnails is None:
                axes.text(x, y + 0.1, "\n".join(_short(labels[picture]) for picture in cell), va="center", fontsize=7)
            else:
                for place, picture in enumerate(cell):
                    _show(axes, x + 0.03 + 0.08 * place, y, thumbnails[picture])


def _short(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"


def _bars(axes: Axes, base: dict[str, Metric], aligned: dict[str, Metric]) -> None:
    x = np.arange(len(base))
    for offset, label, color, metrics in ((-0.2, "before", BEFORE, base), (0.2, "after", AFTER, aligned)):
        values = np.array([metrics[name]["value"] for name in base])
        ends = interval_ends([metrics[name] for name in base])
        axes.bar(x + offset, values, 0.38, label=label, color=color, yerr=np.abs(ends - values), capsize=3)
    axes.axhline(next(iter(base.values()))["chance"], color=CHANCE_LINE, linestyle=":", label="chance")
    axes.set_xticks(x, [name.split("/")[1].replace("_", "\n") for name in base], fontsize="small")
    margin = max(0.6, 1.6 - len(x) / 2)  # so that a few bars are not wide
    axes.set(xlim=(-margin, len(x) - 1 + margin), ylim=(0, 1), ylabel="odd-one-out accuracy")
    axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
