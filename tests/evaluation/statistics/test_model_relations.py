"""Correlations over models against pingouin, fits and analyses of variance against statsmodels."""

import warnings

import numpy as np
import pandas as pd
import pytest

from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.changes import repeated_measures
from hf_alignet.evaluation.statistics.factorial import factorial_measures
from hf_alignet.evaluation.statistics.model_relations import correlation_of_models, u_shape

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pingouin = pytest.importorskip("pingouin")
    anova = pytest.importorskip("statsmodels.stats.anova")
    statsmodels = pytest.importorskip("statsmodels.api")


def table(n: int = 24) -> pd.DataFrame:
    rng = np.random.default_rng(n)
    found = pd.DataFrame(rng.normal(size=(n, 4)), columns=["x", "y", "a", "b"])
    found["y"] += found["x"] + 2 * found["a"]
    found["x"] += found["a"].round()  # ties in no column, but shared variance
    return found


@pytest.mark.parametrize("method", ["pearson", "spearman"])
@pytest.mark.parametrize("covariates", [[], ["a"], ["a", "b"]])
def test_correlations_are_those_of_pingouin(method, covariates):
    data = table()
    held = data[covariates].to_numpy() if covariates else None
    found = correlation_of_models(data["x"].to_numpy(), data["y"].to_numpy(), held, method)
    if covariates:
        theirs = pingouin.partial_corr(data, "x", "y", covar=covariates, method=method).iloc[0]
    else:
        theirs = pingouin.corr(data["x"], data["y"], method=method).iloc[0]
    p_value = next(theirs[name] for name in ("p_val", "p-val") if name in theirs)
    interval = next(theirs[name] for name in ("CI95", "CI95%") if name in theirs)  # they round it
    assert found["value"] == pytest.approx(theirs["r"], abs=1e-10)
    assert found["p_value"] == pytest.approx(p_value, abs=1e-10)
    assert found["ci95"] == pytest.approx(interval, abs=0.005 + 1e-12)


def test_what_a_covariate_explains_is_not_scored():
    x = np.arange(9.0)
    found = correlation_of_models(x, x**2, 3 * x + 1)
    assert found["value"] == 0 and found["ci95"] is None and "note" in found
    with pytest.raises(InputError, match="needs 5 models, all measured; got 4"):
        correlation_of_models(x[:4], x[:4], x[:4])


def test_a_u_shape_is_that_of_statsmodels():
    rng = np.random.default_rng(3)
    x = rng.normal(4, 2, size=40)
    y = (x - 3) ** 2 + rng.normal(size=40)
    found, z = u_shape(x, y), (x - x.mean()) / x.std()
    line, curve = (statsmodels.OLS(y, np.vander(z, d, increasing=True)).fit() for d in (2, 3))
    statistic, p_value, _ = curve.compare_f_test(line)
    assert (found["F"], found["p_value"]) == pytest.approx((statistic, p_value))
    assert found["aic_gain"] == pytest.approx(line.aic - curve.aic)
    assert [found[f"slope{end}"] for end in ("", "_low", "_high")] == pytest.approx(
        [line.params[1], *line.conf_int()[1]]
    )
    assert [found[f"curvature{end}"] for end in ("", "_low", "_high")] == pytest.approx(
        [curve.params[2], *curve.conf_int()[2]]
    )
    assert found["vertex"] == pytest.approx(3, abs=0.3) and found["p_u"] < 1e-6


def test_a_curve_that_only_rises_is_no_u():
    x = np.linspace(0, 1, 30)
    found = u_shape(x, x**2 + 0.01 * np.random.default_rng(0).normal(size=30) + x)
    assert found["p_value"] < 1e-6 < 0.5 < found["p_u"]
    assert u_shape(x, -((x - 0.5) ** 2))["p_u"] > 0.99
    with pytest.raises(InputError, match="five models with three different values"):
        u_shape(np.array([1, 1, 1, 2, 2]), x[:5])


def test_analyses_of_variance_are_those_of_statsmodels():
    values = np.random.default_rng(5).normal(size=(6, 3, 2)) + np.array([0, 1, 3])[None, :, None]
    index = pd.MultiIndex.from_product([range(6), range(3), range(2)], names=["set", "model", "method"])
    rows = pd.DataFrame({"value": values.ravel()}, index).reset_index()
    found = factorial_measures(values, ("model", "method"))
    theirs = anova.AnovaRM(rows, "value", "set", within=["model", "method"]).fit().anova_table
    assert found[["F", "of_effect", "of_error", "p_value"]].to_numpy() == pytest.approx(theirs.to_numpy(), rel=1e-9)
    one = repeated_measures(pd.DataFrame(values[:, :, 0]))
    theirs = anova.AnovaRM(rows[rows.method == 0], "value", "set", within=["model"]).fit().anova_table.iloc[0]
    assert list(one.values()) == pytest.approx(
        [theirs["F Value"], theirs["Pr > F"], theirs["Num DF"], theirs["Den DF"]]
    )
    with pytest.raises(InputError, match="1 values missing"):
        factorial_measures(np.where(np.arange(36).reshape(6, 3, 2) == 4, np.nan, values), ("model", "method"))
