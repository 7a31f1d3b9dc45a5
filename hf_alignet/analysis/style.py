"""How all figures look: colours, names as they are, intervals, and what is left of axes."""

import contextlib
from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hf_alignet.metric import Metric

BEFORE, AFTER, CHANCE_LINE = "#9aa5b1", "#2f6f9f", "#555555"


@contextlib.contextmanager
def without_formulas() -> Iterator[None]:
    """Draws names as they are: matplotlib would take what stands between dollar signs for TeX."""
    with plt.rc_context({"text.parse_math": False}):
        yield


def interval_ends(metrics: Sequence[Metric]) -> np.ndarray:
    """(2, m) lower and upper ends of intervals; those of the value itself where there is none."""
    return np.array([metric["ci95"] or [metric["value"]] * 2 for metric in metrics]).reshape(-1, 2).T


def finish(figure: Figure, axes: Axes, x_label: str, y_label: str) -> Figure:
    """Labels the axes, puts the legend beside them, and closes the figure for pyplot."""
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    axes.spines[["top", "right"]].set_visible(False)
    plt.close(figure)
    return figure
