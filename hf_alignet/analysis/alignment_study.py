"""How alignment with people and usefulness go together over many models.

The analysis of Sucholutsky & Griffiths (NeurIPS 2023, arXiv 2301.11990).

Alignment is averaged over the human datasets. Its square, after z-scoring over models (z²), is large for models that
agree with people more, or less, than others do: by the theory both can learn from few examples, so that usefulness is
a U-shaped function of alignment.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.factorial import factorial_measures
from hf_alignet.evaluation.statistics.model_relations import correlation_of_models, u_shape

# By the last part of their names
ALIGNMENT = ("rsa_pearson", "rsa_spearman", "triplet_agreement", "odd_one_out_accuracy")
MEAN = "mean/accuracy"  # of all metrics of a benchmark
GROUP_SIZE = 5
FEWEST_MODELS = 5
TRANSFORMS, METHODS = ("z", "z²"), ("pearson", "spearman")
GROUPS = ("high", "middle", "low")


def mean_alignments(table: pd.DataFrame) -> pd.DataFrame:
    """(models, measures of alignment) means over the human datasets, which every model must have.

    Raises:
        InputError: there are fewer than five models, or no measure of alignment that all have.
    """
    human = table[table["kind"] == "human"]
    human = human.assign(measure=human["metric"].str.split("/").str[-1])
    found = {}
    for measure in ALIGNMENT:
        of_measure = human[human["measure"] == measure]
        if len(of_measure):
            found[measure] = of_measure.pivot(index="model", columns="metric", values="value").mean(
                axis=1, skipna=False
            )
    alignments = pd.DataFrame(found).reindex(table["model"].unique())
    alignments = alignments.dropna(axis=1)
    if alignments.shape[1] == 0 or len(alignments) < FEWEST_MODELS:
        raise InputError(
            f"a study needs {FEWEST_MODELS} models or more that all have the same measure of alignment "
            f"({', '.join(ALIGNMENT)}); there are {table['model'].nunique()} models"
        )
    return alignments


def usefulness(table: pd.DataFrame) -> pd.DataFrame:
    """(models, metrics) of usefulness, and of each benchmark with several metrics their mean; NaN if not measured."""
    values = table[table["kind"] == "downstream"].pivot(index="model", columns="metric", values="value")
    order = table.loc[table["kind"] == "downstream", "metric"].unique()
    values = values.reindex(index=table["model"].unique(), columns=order)
    if values.shape[1] == 0:
        raise InputError("there is no downstream metric: add benchmarks of labelled images, such as n_shot:IMAGES")
    benchmarks = values.columns.str.split("/").str[0]
    for benchmark in dict.fromkeys(benchmarks):
        if (benchmarks == benchmark).sum() > 1:
            values[f"{benchmark}/{MEAN}"] = values.loc[:, values.columns.str.startswith(f"{benchmark}/")].mean(
                axis=1, skipna=False
            )
    return values


def z_scores(alignments: pd.DataFrame) -> pd.DataFrame:
    """Each column with mean 0 and standard deviation 1 over models."""
    return (alignments - alignments.mean()) / alignments.std(ddof=0)


def alignment_correlations(
    alignments: pd.DataFrame, useful: pd.DataFrame, held: pd.Series | None = None
) -> pd.DataFrame:
    """Correlations of alignment (z) and of its square (z²) with each metric.

    Args:
        alignments: of `mean_alignments`.
        useful: of `usefulness`.
        held: a property of each model that partial correlations hold constant.

    Returns:
        Rows of `alignment`, `transform`, `metric`, `method`, `given` (empty, or the name of what is held constant),
        `n` models, `value`, `low`, `high` and `p_value`.
    """
    rows = []
    for measure, z in z_scores(alignments).items():
        for transform, x in zip(TRANSFORMS, (z, z**2), strict=True):
            for metric in useful:
                rows += _correlated(str(measure), transform, x, useful[metric], None)
                if held is not None and held.name != metric:
                    rows += _correlated(str(measure), transform, x, useful[metric], held)
    return pd.DataFrame(rows)


def _correlated(measure: str, transform: str, x: pd.Series, y: pd.Series, held: pd.Series | None) -> list[dict]:
    sides = pd.DataFrame({"x": x, "y": y} | ({"held": held} if held is not None else {})).dropna()
    covariates = sides[["held"]].to_numpy() if held is not None else None
    rows = []
    for method in METHODS:
        found = correlation_of_models(sides["x"].to_numpy(), sides["y"].to_numpy(), covariates, method)  # type: ignore[arg-type]
        low, high = found["ci95"] or (np.nan, np.nan)
        facts = {"alignment": measure, "transform": transform, "metric": y.name, "method": method}
        facts["given"] = "" if held is None else held.name
        numbers = {"n": found["n"], "value": found["value"], "low": low, "high": high}
        rows.append(facts | numbers | {"p_value": found.get("p_value", np.nan)})
    return rows


def u_shapes(alignments: pd.DataFrame, useful: pd.DataFrame) -> pd.DataFrame:
    """`u_shape` of each metric over each measure of alignment."""
    rows = []
    for measure in alignments:
        for metric in useful:
            sides = pd.DataFrame({"x": alignments[measure], "y": useful[metric]}).dropna()
            found = u_shape(sides["x"].to_numpy(), sides["y"].to_numpy())
            rows.append({"alignment": measure, "metric": metric} | found)
    return pd.DataFrame(rows)


def high_middle_low(alignments: pd.DataFrame, useful: pd.DataFrame) -> pd.DataFrame:
    """Means of each metric over the five models of highest, of lowest and of nearest-to-mean alignment.

    Returns:
        Rows of `alignment`, `group`, `metric`, `mean`, `sd` over models and their number `n`. With fewer than fifteen
        models the groups overlap.
    """
    rows = []
    for measure, z in z_scores(alignments).items():
        order = z.sort_values(ascending=False, kind="stable").index
        middle = z.abs().sort_values(kind="stable").index[:GROUP_SIZE]
        chosen = dict(zip(GROUPS, (order[:GROUP_SIZE], middle, order[-GROUP_SIZE:]), strict=True))
        for group, models in chosen.items():
            part = useful.loc[models]
            for metric in useful:
                values = part[metric].dropna()
                facts = {"alignment": measure, "group": group, "metric": metric, "n": len(values)}
                rows.append(facts | {"mean": values.mean(), "sd": values.std(ddof=1)})
    return pd.DataFrame(rows)


def anova_of_study(table: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    """`factorial_measures` of the downstream metrics, which take the place of subjects.

    Args:
        table: with the two covariates as columns. Models without them are left out, and models with the same levels
            are averaged.
        factors: names of the two.

    Raises:
        InputError: a factor is no covariate, or some combination of levels has no model.
    """
    missing = [name for name in factors if name not in table.columns]
    if len(factors) != 2 or missing:
        raise InputError(f"`factors` must name two covariates of the table, got {', '.join(factors)}")
    of_use = table[table["kind"] == "downstream"].dropna(subset=list(factors))
    cells = of_use.pivot_table(index="metric", columns=list(factors), values="value")
    levels = [sorted(of_use[name].unique()) for name in factors]
    gaps = [pair for pair in pd.MultiIndex.from_product(levels) if pair not in cells.columns]
    if gaps:
        raise InputError(f"`factors`: no model has {factors[0]} {gaps[0][0]!r} and {factors[1]} {gaps[0][1]!r}")
    cells = cells[pd.MultiIndex.from_product(levels)]
    values = cells.to_numpy().reshape(len(cells), *map(len, levels))
    return factorial_measures(values, (factors[0], factors[1]))
