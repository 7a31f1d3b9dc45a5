"""How two properties of models go together over models: correlations, also partial ones, and U-shapes.

A partial correlation is that of what a straight line through the covariates leaves of both sides, as in pingouin,
which Sucholutsky & Griffiths (2023, arXiv 2301.11990) use. Intervals are Fisher's.
"""

import math
from typing import Any, Literal

import numpy as np
import scipy

from hf_alignet.errors import InputError
from hf_alignet.evaluation.statistics.intervals import Z95
from hf_alignet.metric import Metric

LEFT_OVER = 1e-12  # share of the spread of a side below which the covariates leave nothing of it


def correlation_of_models(
    x: np.ndarray,
    y: np.ndarray,
    covariates: np.ndarray | None = None,
    method: Literal["pearson", "spearman"] = "pearson",
) -> Metric:
    """The correlation of two properties of models, with its 95 % interval and the two-sided `p_value`.

    Args:
        x: (n,) one property of each model.
        y: (n,) another one.
        covariates: (n, k) properties to hold constant; none for the plain correlation.
        method: `pearson`, or `spearman`, which takes the ranks of everything.

    Returns:
        Value 0 without an interval, and a note, where one side is the same for all models, or nothing is left of it.

    Raises:
        InputError: there are fewer than k + 4 models, or a value is not finite.
    """
    held = np.empty((len(x), 0)) if covariates is None else np.asarray(covariates, np.float64).reshape(len(x), -1)
    sides = np.column_stack([x, y, held]).astype(np.float64)
    n, k = held.shape
    if n < k + 4 or not np.isfinite(sides).all():
        raise InputError(f"a correlation over models with {k} covariates needs {k + 4} models, all measured; got {n}")
    if method == "spearman":
        sides = scipy.stats.rankdata(sides, axis=0)
    sides = sides - sides.mean(0)
    left = sides[:, :2]
    if k:
        left = left - sides[:, 2:] @ np.linalg.lstsq(sides[:, 2:], left, rcond=None)[0]
    squares, total = (left**2).sum(0), (sides[:, :2] ** 2).sum(0)
    if (squares <= LEFT_OVER * total).any():
        return Metric(0.0, n, 0.0, note="one side is the same for all models: scored 0")
    value = float(np.clip(left[:, 0] @ left[:, 1] / np.sqrt(squares.prod()), -1, 1))
    freedom = n - 2 - k
    centre, half = math.atanh(np.clip(value, -1 + 1e-15, 1 - 1e-15)), Z95 / math.sqrt(n - k - 3)
    statistic = abs(value) * math.sqrt(freedom / max(1 - value**2, 1e-300))
    p_value = float(2 * scipy.stats.t.sf(statistic, freedom))
    return Metric(
        value, n, 0.0, [math.tanh(centre - half), math.tanh(centre + half)], "models", p_value=p_value, covariates=k
    )


def u_shape(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Whether y is a U-shaped function of x: a quadratic fit beside a linear one.

    x is standardised to z. A curvature above 0 alone makes no U, as a rising curve may bend: the slope must fall at
    the lowest x and rise at the highest (Lind & Mehlum 2010, doi 10.1111/j.1468-0084.2009.00569.x). `p_u` is the
    larger of the two one-sided p values.

    Args:
        x: (n,) such as the alignment of n models.
        y: (n,) such as their accuracy.

    Returns:
        `n`; `slope` of the linear fit and `curvature` (the coefficient of z²) with `low` and `high` ends of their 95 %
        intervals; the `vertex` in units of x; R² of both fits; `F` and `p_value` of the quadratic against the linear
        fit; `aic_gain`, AIC of the linear less that of the quadratic fit (above 0: the quadratic one is better); the
        slopes at the ends, per standard deviation of x; and `p_u`.

    Raises:
        InputError: there are fewer than five models, or fewer than three different x.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n = len(x)
    if n < 5 or len(np.unique(x)) < 3 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(f"a U-shape needs five models with three different values or more, all measured; got {n}")
    z = (x - x.mean()) / x.std()
    line, curve = _fit(z, y, 1), _fit(z, y, 2)
    gain = max(line["rss"] - curve["rss"], 0.0)
    statistic = gain / (curve["rss"] / (n - 3)) if curve["rss"] > 0 else math.inf
    total = ((y - y.mean()) ** 2).sum()
    found: dict[str, Any] = {"n": n}
    for name, fit, place in (("slope", line, 1), ("curvature", curve, 2)):
        half = scipy.stats.t.ppf(0.975, n - 1 - place) * math.sqrt(fit["covariance"][place, place])
        value = float(fit["solution"][place])
        found |= {name: value, f"{name}_low": value - half, f"{name}_high": value + half}
    _, b, c = curve["solution"]
    slopes, tails = [], []
    for end, sign in ((z.min(), -1), (z.max(), 1)):
        direction = np.array([0, 1, 2 * end])
        slope, error = direction @ curve["solution"], math.sqrt(direction @ curve["covariance"] @ direction)
        slopes.append(float(slope))
        tails.append(float(scipy.stats.t.sf(sign * slope / error, n - 3)) if error > 0 else float(sign * slope <= 0))
    return found | {
        "vertex": float(x.mean() - x.std() * b / (2 * c)) if c else math.nan,
        "r2_linear": 1 - line["rss"] / total if total else 0.0,
        "r2_quadratic": 1 - curve["rss"] / total if total else 0.0,
        "F": statistic,
        "p_value": float(scipy.stats.f.sf(statistic, 1, n - 3)),
        "aic_gain": n * math.log(line["rss"] / curve["rss"]) - 2 if curve["rss"] > 0 else math.inf,
        "slope_at_lowest": slopes[0],
        "slope_at_highest": slopes[1],
        "p_u": max(tails),
    }


def _fit(z: np.ndarray, y: np.ndarray, degree: int) -> dict[str, Any]:
    """Least squares: the coefficients from the constant on, their covariance, and the squared residuals."""
    design = np.vander(z, degree + 1, increasing=True)
    solution = np.linalg.lstsq(design, y, rcond=None)[0]
    rss = float(((y - design @ solution) ** 2).sum())
    covariance = np.linalg.inv(design.T @ design) * rss / (len(y) - degree - 1)
    return {"solution": solution, "covariance": covariance, "rss": rss}
