"""Figures of places on a page: before and after alignment side by side, in the same colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_alignet.analysis.hierarchy_figures import MARKERS, PALETTE, WIDTH
from hf_alignet.analysis.style import finish, new_panels, without_formulas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = 3.0  # inches, at least
UNIT = "RMS distances to the mean"


@without_formulas()
def projection_figure(
    places: Mapping[str, Mapping[str, np.ndarray]], groups: np.ndarray, names: Sequence[str], num_images: int
) -> Figure:
    """Dots, one column a model and one line a projection; colour and shape are the superordinate category.

    Args:
        places: by the words for the two axes of a projection, such as `components 1 and 2`, and by model: (m, 2).
        groups: (m,) position of each image's category in `names`.
        names: of the categories.
        num_images: what the projections were computed from, for the title; m of these are shown.
    """
    from matplotlib.lines import Line2D

    models = list(next(iter(places.values())))
    figure, panels = _panels(len(places), len(models), bottom=0.35 * -(-len(names) // 5) + 0.3)
    for line, (axis_names, of_models) in enumerate(places.items()):
        for column, model in enumerate(models):
            axes, placed = panels[line, column], of_models[model]
            for group in range(len(names)):
                is_member = groups == group
                axes.scatter(*placed[is_member].T, s=7, linewidths=0, alpha=0.7, rasterized=True, **_look(group))
            _frame(axes, placed, model if line == 0 else "", axis_names if column == 0 else "")
    marks = [Line2D([], [], linestyle="", markersize=7, **_look(group)) for group in range(len(names))]
    title = f"superordinate category (n = {len(groups):,} of {num_images:,} images shown)"
    figure.legend(marks, names, title=title, frameon=False, ncols=5, loc="outside lower center", fontsize="small")
    return figure


@without_formulas()
def thumbnail_figure(places: Mapping[str, np.ndarray], thumbnails: Sequence[np.ndarray], axis_names: str) -> Figure:
    """Small pictures at their places, one panel a model.

    Args:
        places: by model, (m, 2).
        thumbnails: m pictures (h, w, 3) uint8.
        axis_names: the words for the two axes.
    """
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    figure, panels = _panels(1, len(places), bottom=0.0)
    for axes, (model, placed) in zip(panels[0], places.items(), strict=True):
        for place, thumbnail in zip(placed, thumbnails, strict=True):
            axes.add_artist(AnnotationBbox(OffsetImage(thumbnail, zoom=0.35), tuple(place), frameon=False, pad=0))
        _frame(axes, placed, f"{model} (n = {len(thumbnails)})", axis_names)
    return figure


@without_formulas()
def variance_figure(shares: Mapping[str, np.ndarray], num_images: int) -> Figure:
    """Share of the variance that each principal component explains, one line a model."""
    figure, axes = new_panels(figsize=(WIDTH, 4.5), layout="constrained")
    for number, (model, share) in enumerate(shares.items()):
        total = f"{model}: {share.sum():.2f} in {len(share)}"
        axes.plot(np.arange(1, len(share) + 1), share, label=total, markersize=4, **_look(number))
    axes.set_ylim(bottom=0)
    return finish(figure, axes, "principal component", f"share of variance (n = {num_images:,} images)")


def _panels(lines: int, columns: int, bottom: float) -> tuple[Figure, np.ndarray]:
    """Square panels, together at least 1200 pixels wide."""
    side = max(WIDTH / columns, PANEL)
    size = (side * columns, min(side, 5.0) * lines + 0.4 + bottom)
    return new_panels(lines, columns, figsize=size, layout="constrained", squeeze=False)


def _frame(axes: Axes, placed: np.ndarray, title: str, axis_names: str) -> None:
    """The middle of the cloud without its last outliers, on one scale, as distances are compared by eye."""
    half = 1.1 * max(float(np.quantile(np.abs(placed), 0.995)), 1e-9)
    axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel(UNIT, fontsize="small")
    axes.set_ylabel(f"{axis_names}\n{UNIT}" if axis_names else UNIT, fontsize="small")
    axes.tick_params(labelsize="small")


def _look(group: int) -> dict[str, Any]:
    return {"color": PALETTE[group % len(PALETTE)], "marker": MARKERS[group % len(MARKERS)]}
