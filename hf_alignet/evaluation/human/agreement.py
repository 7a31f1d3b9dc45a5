"""Do models choose alike, and is one of two better than the other?"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.odd_one_out import are_correct
from hf_alignet.evaluation.statistics.changes import change
from hf_alignet.evaluation.statistics.intervals import share_correct
from hf_alignet.similarity import NO_CHOICE

COLUMNS = ("benchmark", "model", "other", "agreement", "gained", "lost", "change", "low", "high", "p_value")


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


def agreement_table(
    choices: Mapping[str, Mapping[str, np.ndarray]], labels: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> pd.DataFrame:
    """How often every two models choose the same, and whether one is right more often than the other.

    Args:
        choices: positions (m,), -1 where there is no choice, by name of the model and of the variant.
        labels: triplets (m, 3) and the odd ones out (m,), by name of the variant; one row a choice of a person.

    Returns:
        One row for each variant and pair of models: `agreement`; how many choices of people the other model `gained`
        and `lost`; the `change` of accuracy with its 95 % interval over objects (`low`, `high`), and its `p_value`,
        empty where too few objects carry it. Choices of several people about the same triplet, and triplets with the
        same objects, do not count as independent.
    """
    models = list(choices)
    rows = []
    for variant, (triplets, odd) in labels.items():
        table = agreement({model: choices[model][variant] for model in models})
        correct = {model: are_correct(choices[model][variant], odd) for model in models}
        metrics = {model: share_correct(correct[model], triplets) for model in models}
        for model, other in combinations(models, 2):
            found = change(metrics[model], metrics[other])
            low, high = found["ci95"] or (np.nan, np.nan)
            rows.append(
                (
                    *(variant, model, other, table.loc[model, other]),
                    *(int((correct[other] & ~correct[model]).sum()), int((correct[model] & ~correct[other]).sum())),
                    *(found["value"], low, high, found.get("p_value", np.nan)),
                )
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))
