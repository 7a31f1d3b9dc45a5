"""How all figures look: colours, names as they are, intervals, and what is left of axes.

The modules of figures import matplotlib where they draw, and name its classes for types alone: it takes 0.4 CPU
seconds, for which a command that draws nothing, or its help, would wait.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_alignet.metric import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEFORE, AFTER, CHANCE_LINE = "#9aa5b1", "#2f6f9f", "#555555"


@contextlib.contextmanager
def without_formulas() -> Iterator[None]:
    """Draws names as they are: matplotlib would take what stands between dollar signs for TeX."""
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False}):
        yield


def new_panels(*shape: int, **options: Any) -> tuple[Figure, Any]:
    """`pyplot.subplots`, but pyplot does not keep the figure: it would show it in a notebook twice."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(*shape, **options)
    plt.close(figure)
    return figure, panels


def new_figure(**options: Any) -> Figure:
    """As `new_panels`, but empty."""
    import matplotlib.pyplot as plt

    figure = plt.figure(**options)
    plt.close(figure)
    return figure


def interval_ends(metrics: Sequence[Metric]) -> np.ndarray:
    """(2, m) lower and upper ends of intervals; those of the value itself where there is none."""
    return np.array([metric["ci95"] or [metric["value"]] * 2 for metric in metrics]).reshape(-1, 2).T


def finish(figure: Figure, axes: Axes, x_label: str, y_label: str) -> Figure:
    """Labels the axes, and puts the legend beside them."""
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
