"""Figures of what alignment did to the hierarchy of categories: relations, categories, models, and triplets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hf_alignet.analysis.categories import DIFFERENT, RELATIONS
from hf_alignet.analysis.style import CHANCE_LINE, new_figure, new_panels, without_formulas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008): eight colours that people with any colour vision tell apart; yellow and black last
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
MARKERS = "o^sDvP*X"
RELATION_COLOURS = ("#08306b", "#2f79b5", "#9dc3e6", "#E69F00")  # from dark to light, and apart also without colour
WIDTH = 12.0  # inches; 1200 pixels
MOST_DRAWN = 20_000  # pairs behind the shape of a distribution
MOST_NAMED = 60  # categories of a matrix over the whole width that have their name at the side
EFFECT = (
    "effect size against different pairs (Cohen's d), 95 % interval over classes\n"
    "below 0: these come nearer than different pairs do"
)
NARROWEST = 0.03  # share of a matrix that a superordinate category needs for its name


@without_formulas()
def relation_figure(z: Mapping[str, list[np.ndarray]], effects: Mapping[str, pd.DataFrame]) -> Figure:
    """Distributions of z-scored changes of distance by relation, one panel a model, and their effect sizes.

    Args:
        z: by aligned model, the z-scores of the measured pairs of each of the four relations.
        effects: by aligned model, from `relation_effects`.
    """
    columns = min(3, len(z))
    lines = -(-len(z) // columns)
    figure = new_figure(figsize=(WIDTH, 3.6 * lines + 3.2), layout="constrained")
    grid = figure.add_gridspec(lines + 1, columns, height_ratios=[*[3.6] * lines, 3.2])
    shared = None
    for number, (model, of_model) in enumerate(z.items()):
        axes = figure.add_subplot(grid[number // columns, number % columns], sharex=shared)
        shared = shared or axes
        _distributions(axes, of_model, effects[model], has_names=number % columns == 0)
        axes.set_title(model, fontsize="medium")
    ends = [np.quantile(values, (0.002, 0.998)) for of_model in z.values() for values in of_model if len(values)]
    assert shared is not None
    shared.set_xlim(np.min(ends) - 0.3, np.max(ends) + 0.3)
    _effect_sizes(figure.add_subplot(grid[lines, :]), effects)
    return figure


@without_formulas()
def category_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Mean change between basic categories, one panel a model; lines mark superordinate categories.

    Args:
        tables: by aligned model, from `category_changes`.
    """
    columns = min(2, len(tables))
    lines = -(-len(tables) // columns)
    figure, panels = new_panels(
        lines, columns, figsize=(WIDTH, (5.0 if columns == 2 else 9) * lines), layout="constrained", squeeze=False
    )
    largest = max(float(np.nanquantile(np.abs(table.mean_z), 0.98)) for table in tables.values())
    for axes in panels.flat[len(tables) :]:
        axes.set_axis_off()
    for axes, (model, table) in zip(panels.flat, tables.items(), strict=False):
        names, above, matrix = category_matrix(table)
        image = axes.imshow(matrix, cmap="PuOr_r", vmin=-largest, vmax=largest, interpolation="nearest")
        axes.set_facecolor("#dddddd")
        axes.set_title(
            f"{model}, {len(names)} basic categories, n = {table.measured.sum():,} pairs", fontsize="medium"
        )
        _mark_blocks(axes, names, above, MOST_NAMED // columns)
    label = "mean change of distance (SDs of all changes)\nbelow 0: nearer than pairs on average"
    figure.colorbar(image, ax=panels.ravel().tolist(), label=label, shrink=0.7)
    return figure


@without_formulas()
def similarity_figure(tables: Mapping[str, pd.DataFrame], titles: Mapping[str, str]) -> Figure:
    """How alike models are, as numbers on colours, one panel a table.

    Args:
        tables: by name, such as `before alignment`, square and with the names of models in rows and columns.
        titles: by the same names, what stands above the panel.
    """
    most = max(len(table) for table in tables.values())
    height = max(4.2, 0.55 * most + 2.2)
    figure, panels = new_panels(
        1, len(tables), figsize=(WIDTH / 2 * max(len(tables), 1.3), height), layout="constrained", squeeze=False
    )
    for axes, (name, table) in zip(panels[0], tables.items(), strict=True):
        image = axes.imshow(table.to_numpy(), cmap="cividis", vmin=0, vmax=1)
        axes.set_xticks(range(len(table)), list(table.columns), rotation=30, ha="right")
        axes.set_yticks(range(len(table)), list(table.index))
        for (row, column), value in np.ndenumerate(table.to_numpy()):
            colour = "white" if value < 0.5 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize="small")
        axes.set_title(titles[name], fontsize="medium")
    figure.colorbar(image, ax=panels[0].tolist(), label="linear CKA (0 to 1)", shrink=0.8)
    return figure


@without_formulas()
def triplet_figure(shares: pd.DataFrame) -> Figure:
    """Of the pairs of triplets, the share with each relation; a bar for each kind of triplets.

    Args:
        shares: from `relation_shares`.
    """
    table = shares.pivot_table(index="triplets", columns="relation", values=["share", "pairs"], sort=False)
    names = list(dict.fromkeys(shares.triplets))
    figure, axes = new_panels(figsize=(WIDTH, 1.8 + 0.5 * len(names)), layout="constrained")
    left = np.zeros(len(names))
    for relation, colour in zip(RELATIONS, RELATION_COLOURS, strict=True):
        share = table["share"][relation].loc[names].to_numpy()
        bars = axes.barh(range(len(names)), share, left=left, color=colour, label=relation, edgecolor="white")
        text = ["white" if colour in RELATION_COLOURS[:2] else "black"] * len(names)
        for bar, value, shade in zip(bars, share, text, strict=True):
            if value >= 0.04:
                middle = (bar.get_x() + value / 2, bar.get_y() + bar.get_height() / 2)
                axes.text(*middle, f"{value:.2f}", ha="center", va="center", color=shade, fontsize="small")
        left += share
    numbers = [int(table["pairs"].loc[name].sum()) // 3 for name in names]
    labels = [f"{name}\nn = {number:,}" for name, number in zip(names, numbers, strict=True)]
    axes.set_yticks(range(len(names)), labels)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of the pairs of a triplet", ylabel="triplets")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def category_matrix(table: pd.DataFrame) -> tuple[list[str], list[str], np.ndarray]:
    """Names of basic categories, the superordinate one of each, and their symmetric matrix of `mean_z`.

    Args:
        table: from `category_changes`.
    """
    pairs = [("first", "first_superordinate"), ("second", "second_superordinate")]
    found = pd.concat([table[list(pair)].set_axis(["name", "above"], axis=1) for pair in pairs]).drop_duplicates()
    found = found.sort_values(["above", "name"], kind="stable")
    place = {name: number for number, name in enumerate(found.name)}
    matrix = np.full((len(found), len(found)), np.nan)
    first, second = table["first"].map(place), table["second"].map(place)
    matrix[first, second] = matrix[second, first] = table.mean_z
    return found.name.tolist(), found.above.tolist(), matrix


def _distributions(axes: Axes, z: list[np.ndarray], effects: pd.DataFrame, has_names: bool) -> None:
    found = effects.set_index("relation")
    for relation, (name, values) in enumerate(zip(RELATIONS, z, strict=True)):
        if name not in found.index:
            continue
        row = found.loc[name]
        if len(values) > 1 and np.ptp(values) > 0:
            drawn = values[:: -(-len(values) // MOST_DRAWN)]
            shape: Any = axes.violinplot(drawn, [relation], orientation="horizontal", widths=0.85, showextrema=False)
            for body in shape["bodies"]:
                body.set(facecolor=RELATION_COLOURS[relation], edgecolor="black", alpha=0.85, linewidth=0.5)
        ends = np.abs(np.array([[row.z_low], [row.z_high]]) - row.mean_z)
        axes.errorbar(row.mean_z, relation, xerr=None if np.isnan(ends).any() else ends, fmt="o", capsize=4,
                      color="black", markerfacecolor="white")  # fmt: skip
    labels = [_counted(name, found) for name in RELATIONS]
    axes.set_yticks(range(len(RELATIONS)), labels if has_names else [""] * len(RELATIONS))
    axes.set_ylim(len(RELATIONS) - 0.4, -0.6)
    axes.axvline(0, color=CHANCE_LINE, linestyle=":")
    axes.set_xlabel("change of distance\n(SDs of all changes)")
    axes.spines[["top", "right"]].set_visible(False)


def _counted(name: str, effects: pd.DataFrame) -> str:
    label = name.replace(" superordinate", "\nsuperordinate")
    if name not in effects.index:
        return f"{label}\nno pairs"
    return f"{label}\nn = {effects.measured[name]:,} pairs"


def _effect_sizes(axes: Axes, effects: Mapping[str, pd.DataFrame]) -> None:
    """Dots with intervals, a group for each relation, a shape for each model."""
    step = 0.7 / max(len(effects), 1)
    for number, (model, table) in enumerate(effects.items()):
        shown = table[table.relation != RELATIONS[DIFFERENT]]
        place = [RELATIONS.index(name) + (number - (len(effects) - 1) / 2) * step for name in shown.relation]
        ends = np.nan_to_num(np.abs(shown[["effect_low", "effect_high"]].to_numpy().T - shown.effect.to_numpy()))
        axes.errorbar(shown.effect, place, xerr=ends, fmt=MARKERS[number % len(MARKERS)], capsize=3, label=model,
                      color=PALETTE[number % len(PALETTE)])  # fmt: skip
    classes = next(iter(effects.values())).set_index("relation").classes
    names = [f"{name}\nn = {classes.get(name, 0):,} classes" for name in RELATIONS[:DIFFERENT]]
    axes.set_yticks(range(DIFFERENT), names)
    axes.set_ylim(DIFFERENT - 0.5, -0.5)
    axes.axvline(0, color=CHANCE_LINE, linestyle=":")
    axes.set_xlabel(EFFECT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))


def _mark_blocks(axes: Axes, names: list[str], above: list[str], most_named: int) -> None:
    """Lines between superordinate categories, and their names; those of basic ones at the side, if they fit."""
    starts = [place for place, name in enumerate(above) if place == 0 or above[place - 1] != name]
    ends = [*starts[1:], len(above)]
    for start in starts[1:]:
        axes.axhline(start - 0.5, color="black", linewidth=0.7)
        axes.axvline(start - 0.5, color="black", linewidth=0.7)
    wide = [(s, e) for s, e in zip(starts, ends, strict=True) if (e - s) / len(above) >= NARROWEST]
    middles, blocks = [(start + end - 1) / 2 for start, end in wide], [above[start] for start, _ in wide]
    axes.set_xticks(middles, blocks, rotation=30, ha="right", fontsize="small")
    axes.set_yticks(middles, blocks, fontsize="small")
    axes.set(xlabel="superordinate category", ylabel="basic categories, by superordinate category")
    if len(names) <= most_named:
        axes.set_yticks(range(len(names)), names, fontsize="x-small")
    axes.tick_params(length=0)
