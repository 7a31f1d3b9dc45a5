"""The figure of the theory: queries against disagreement, simulated and by the bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hf_alignet.analysis.hierarchy_figures import MARKERS, PALETTE, WIDTH
from hf_alignet.analysis.query_simulation import query_bound
from hf_alignet.analysis.style import CHANCE_LINE, finish, new_panels, without_formulas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEAREST = 0.04  # to one half, where the lines of the bound end: there it goes to infinity


@without_formulas()
def query_figure(table: pd.DataFrame) -> Figure:
    """Dots with 95 % intervals, simulated, on the lines of the bound; one colour and shape a dimension.

    Args:
        table: from `hf_alignet.analysis.query_table`, of one number of objects.
    """
    figure, axes = new_panels(figsize=(WIDTH, 5), layout="constrained")
    sides = np.linspace(0, 0.5 - NEAREST, 100), np.linspace(0.5 + NEAREST, 1, 100)
    students, objects = int(table.students.min()), int(table.num_objects.iloc[0])
    for number, dim in enumerate(sorted(set(table.dim.tolist()))):
        rows, colour = table[table.dim == dim], PALETTE[number % len(PALETTE)]
        for side in sides:
            axes.plot(side, [query_bound(float(epsilon), objects, dim) for epsilon in side], color=colour)
        ends = np.nan_to_num(np.abs(rows[["low", "high"]].to_numpy().T - rows.queries.to_numpy()))
        axes.errorbar(rows.disagreement, rows.queries, yerr=ends, fmt=MARKERS[number % len(MARKERS)], capsize=3,
                      markersize=6, color=colour, label=f"d = {dim}, simulated")  # fmt: skip
    axes.plot([], [], color="black", label="d log2(n) / (1 - H(ε))")
    axes.axvline(0.5, color=CHANCE_LINE, linestyle=":", label="answers tell nothing")
    axes.set_yscale("log")
    y_label = f"queries until sure of the place\n(n = {objects} known objects, {students} students a dot)"
    return finish(figure, axes, "ε, share of answers on which teacher and student disagree", y_label)
