"""Do models choose alike, and is one of two better than the other?"""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest, chi2

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.odd_one_out import are_correct
from hf_alignet.similarity import NO_CHOICE

EXACT_UP_TO = 1000  # discordant pairs; beyond, the chi-squared distribution is as good


class McNemar(NamedTuple):
    """McNemar's test that two models are right equally often."""

    gained: int  # triplets that only the second model gets right
    lost: int  # triplets that only the first model gets right
    p_value: float  # two-sided; 1 if there are no such triplets
    is_exact: bool  # whether the p-value is that of the binomial distribution


def agreement(choices: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Share of triplets for which two models choose the same image, for every two models.

    No choice (-1) never equals anything, so that the diagonal is the share of triplets in which a model chooses.

    Args:
        choices: positions (m,) in {0, 1, 2}, or -1, in the same triplets, by name of the model.

    Raises:
        InputError: there are no models or no triplets, or the numbers of triplets differ.
    """
    lengths = {name: len(chosen) for name, chosen in choices.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise InputError(f"agreement needs the choices of models in the same triplets, got {lengths or 'no model'}")
    table = np.stack(list(choices.values()))
    shared = [[np.mean((one == other) & (one != NO_CHOICE)) for other in table] for one in table]
    return pd.DataFrame(shared, index=list(choices), columns=list(choices))


def mcnemar(base: np.ndarray, aligned: np.ndarray) -> McNemar:
    """Whether two models, measured on the same triplets, differ in accuracy.

    Let b be the number of triplets that only one model gets right, and c the number that only the other gets right. If
    the models do not differ, b is binomial(b + c, 1/2). For large numbers (|b - c| - 1)² / (b + c) is chi-squared with
    one degree of freedom (McNemar 1947, with Edwards' correction). Triplets are treated as independent.

    Args:
        base: (m,) bool, whether the first model is right.
        aligned: (m,) bool, whether the second model is right. An InputError says if the lengths differ.
    """
    if len(base) != len(aligned):
        raise InputError(f"the models were measured on {len(base)} and {len(aligned)} triplets; use the same ones")
    base, aligned = np.asarray(base, bool), np.asarray(aligned, bool)
    gained, lost = int((aligned & ~base).sum()), int((base & ~aligned).sum())
    both = gained + lost
    if both == 0:
        return McNemar(0, 0, 1.0, True)
    if both <= EXACT_UP_TO:
        return McNemar(gained, lost, float(binomtest(gained, both).pvalue), True)
    statistic = max(abs(gained - lost) - 1, 0) ** 2 / both
    return McNemar(gained, lost, float(chi2.sf(statistic, 1)), False)


def agreement_table(
    choices: Mapping[str, Mapping[str, np.ndarray]], labels: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> pd.DataFrame:
    """How often every two models choose the same, and whether one is right more often than the first.

    Args:
        choices: positions (m,), -1 where there is no choice, by name of the model and of the variant.
        labels: triplets (m, 3) and the odd ones out (m,), by name of the variant.

    Returns:
        One row for each variant and pair of models: `agreement`; in pairs with the first model also how many triplets
        the other one `gained` and `lost`, and McNemar's `p_value`.
    """
    models = list(choices)
    rows = []
    for variant, (_, odd) in labels.items():
        table = agreement({model: choices[model][variant] for model in models})
        for model, other in combinations(models, 2):
            row = {"benchmark": variant, "model": model, "other": other, "agreement": table.loc[model, other]}
            if model == models[0]:
                test = mcnemar(*(are_correct(choices[name][variant], odd) for name in (model, other)))
                row |= {"gained": test.gained, "lost": test.lost, "p_value": test.p_value}
            rows.append(row)
    columns = ["benchmark", "model", "other", "agreement", "gained", "lost", "p_value"]
    return pd.DataFrame(rows, columns=columns).astype({"gained": "Int64", "lost": "Int64"})
