"""What the table of a study tells: tables as CSV and Markdown, and figures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hf_alignet.analysis.alignment_study import (
    MEAN,
    alignment_correlations,
    anova_of_study,
    high_middle_low,
    mean_alignments,
    u_shapes,
    usefulness,
)
from hf_alignet.analysis.figures import save_figure
from hf_alignet.analysis.study_figures import (
    group_shots_figure,
    has_shots,
    shot_correlations_figure,
    u_shape_figure,
)
from hf_alignet.errors import InputError
from hf_alignet.markdown import table as markdown_table
from hf_alignet.storage import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL = "model"
NUMBERS = ("value", "n", "chance", "low", "high")
NEEDED = (MODEL, "kind", "metric", "value")
FAMILY = "family"  # the covariate that figures colour by

logger = logging.getLogger(__name__)


def read_table(file: str | Path) -> pd.DataFrame:
    """The table of a study. Raises an InputError if it cannot be read, lacks a column, or has a metric twice."""
    try:
        table = pd.read_csv(Path(file).expanduser())
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise InputError(f"`results`: cannot read the table {file}: {error}") from error
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise InputError(f"`results`: {file} has no column {missing[0]!r}; a study has {', '.join(NEEDED)}")
    if not pd.api.types.is_numeric_dtype(table["value"]) or table["value"].isna().any():
        raise InputError(f"`results`: the column value of {file} must hold a number in each row")
    twice = table[table.duplicated([MODEL, "metric"])]
    if len(twice):
        raise InputError(f"`results`: {file} has {twice.metric.iloc[0]} of {twice.model.iloc[0]!r} twice")
    return table.astype({MODEL: str})


def write_study(directory: Path, table: pd.DataFrame, accuracy: str | None, factors: Sequence[str]) -> None:
    """Writes the analysis beside the table.

    Args:
        directory: of the files.
        table: a row a model and metric.
        accuracy: a covariate or metric that partial correlations hold constant.
        factors: two covariates for the analysis of variance.
    """
    alignments, useful = mean_alignments(table), usefulness(table)
    held = _held(table, accuracy)
    tables = {
        "alignments": alignments.reset_index(names=MODEL),
        "correlations": alignment_correlations(alignments, useful, held),
        "u_shapes": u_shapes(alignments, useful),
        "groups": high_middle_low(alignments, useful),
    }
    if factors:
        tables["anova"] = anova_of_study(table, factors)
    for name, found in tables.items():
        write_text(directory / f"{name}.csv", found.to_csv(index=False))
    for name, figure in _figures(table, alignments, useful, tables).items():
        for ending in ("png", "svg"):
            save_figure(figure, directory / f"{name}.{ending}")
    text = _summary(tables, useful, held)
    write_text(directory / "study.md", text + "\n")
    logger.info("\n%s\n\nThe study is in %s", text, directory)


def _held(table: pd.DataFrame, accuracy: str | None) -> pd.Series | None:
    """The property of each model of that name: a covariate, or a metric."""
    if accuracy is None:
        return None
    models = table[MODEL].unique()
    if accuracy in table.columns and accuracy not in NEEDED:
        found = table.drop_duplicates(MODEL).set_index(MODEL)[accuracy]
    else:
        found = table[table["metric"] == accuracy].set_index(MODEL)["value"]
    if not len(found):
        raise InputError(f"`accuracy={accuracy}` is neither a covariate nor a metric of the table")
    numbers = pd.to_numeric(found, errors="coerce").reindex(models)
    if numbers.isna().any():
        raise InputError(f"`accuracy={accuracy}` has no number for {numbers.index[numbers.isna()][0]!r}")
    return numbers.rename(accuracy)


def _shown(useful: pd.DataFrame) -> list[str]:
    """The metrics in the summary: the mean of each benchmark, or its only metric."""
    benchmarks: dict[str, str] = {}
    for metric in useful:
        benchmark = str(metric).split("/")[0]
        if benchmark not in benchmarks or str(metric).endswith(f"/{MEAN}"):
            benchmarks[benchmark] = str(metric)
    return list(benchmarks.values())


def _figures(
    table: pd.DataFrame, alignments: pd.DataFrame, useful: pd.DataFrame, tables: dict[str, pd.DataFrame]
) -> dict[str, Figure]:
    families = table.drop_duplicates(MODEL).set_index(MODEL)[FAMILY] if FAMILY in table.columns else None
    figures = {"u_shape": u_shape_figure(alignments, useful[_shown(useful)], tables["u_shapes"], families)}
    if has_shots(list(useful.columns)):
        measure = "triplet_agreement" if "triplet_agreement" in alignments else str(alignments.columns[0])
        figures["groups"] = group_shots_figure(tables["groups"], measure)
        figures["correlations"] = shot_correlations_figure(tables["correlations"], measure)
    return figures


def _summary(tables: dict[str, pd.DataFrame], useful: pd.DataFrame, held: pd.Series | None) -> str:
    """What was found of each measure of alignment and each benchmark, as Markdown."""
    correlations, shapes, groups = tables["correlations"], tables["u_shapes"], tables["groups"]
    given = held.name if held is not None else ""
    header = ["metric", "alignment", "high", "middle", "low", "r with z", "r with z²"]
    header += [f"r with z², given {given}"] if given else []
    rows = [[*header, "curvature", "AIC gain", "U-shape p"]]
    for metric in _shown(useful):
        for measure in tables["alignments"].columns[1:]:
            shape = shapes[(shapes.alignment == measure) & (shapes.metric == metric)].iloc[0]
            means = groups[(groups.alignment == measure) & (groups.metric == metric)].set_index("group")["mean"]
            cells = [metric, str(measure), *(f"{means[group]:.3f}" for group in ("high", "middle", "low"))]
            of_pair = correlations[
                (correlations.alignment == measure)
                & (correlations.metric == metric)
                & (correlations.method == "pearson")
            ].set_index(["transform", "given"])
            pairs = [("z", ""), ("z²", ""), *([("z²", str(given))] if given else [])]
            cells += [_interval(of_pair.xs(pair), "value") if pair in of_pair.index else "" for pair in pairs]
            cells += [_interval(shape, "curvature"), f"{shape.aic_gain:+.1f}", f"{shape.p_u:.2g}"]
            rows.append(cells)
    text = [
        f"{len(useful)} models. High, middle and low are means of five models. z is alignment standardised over "
        "models; intervals are of 95 %; curvature is the coefficient of z² beside z, in accuracy. A U-shape needs a "
        "slope that falls at the lowest and one that rises at the highest alignment: p is the larger of both "
        "one-sided values.",
        markdown_table(rows),
    ]
    if "anova" in tables:
        effects = [
            [str(r.effect), f"F({r.of_effect}, {r.of_error}) = {r.F:.2f}", f"{r.p_value:.2g}"]
            for r in tables["anova"].itertuples()
        ]
        text.append(markdown_table([["effect", "repeated measures over downstream metrics", "p"], *effects]))
    return "\n\n".join(text)


def _interval(row: Any, name: str) -> str:
    ends = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    return f"{row[name]:+.3f} [{row[ends[0]]:+.3f}, {row[ends[1]]:+.3f}]"
