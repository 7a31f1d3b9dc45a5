"""Which of three pictures each model finds odd, how probable each choice is, and at which temperature."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.odd_one_out import similarities_of_triplets
from hf_alignet.evaluation.statistics.calibration import fit_temperature
from hf_alignet.explore.judged_triplets import POSITIONS, JudgedTriplets
from hf_alignet.similarity import (
    choice_log_probabilities,
    entropy,
    odd_of_pair,
    odd_one_out,
    pairwise_similarities,
)
from hf_alignet.similarity.matched_entropy import match_entropy

FITTED = 20_000  # triplets that a temperature is fitted to; more do not move one number
DRAWN = 2000  # random triplets where nobody judged any
PROBABILITIES = ("first", "second", "third")


@dataclass(frozen=True)
class Temperatures:
    """The temperature of each model's choice probabilities, and how they were found, as a sentence."""

    values: Mapping[str, float]
    how: str


def choice_temperatures(
    embeddings: Mapping[str, np.ndarray], judged: JudgedTriplets | None, seed: int = 0
) -> Temperatures:
    """Temperatures for probabilities that can be compared, since the scale of embeddings is arbitrary.

    Fitted by likelihood to what people, or a teacher, chose. Without that, the first model has the mean standard
    deviation of its similarities within random triplets, and the others the mean entropy that it then has. A model
    that finds all pictures equally similar has 1.

    Args:
        embeddings: (n, d) by model.
        judged: triplets of these n pictures.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    if judged is not None and len(judged.triplets):
        kept = rng.permutation(len(judged.triplets))[:FITTED]
        triplets, counts = judged.triplets[kept], judged.counts[kept][:, odd_of_pair(POSITIONS)]
        values = {}
        for name, of_model in embeddings.items():
            similarities = similarities_of_triplets(of_model, triplets).numpy()
            try:
                values[name] = fit_temperature(similarities, counts)
            except InputError:  # all similarities are the same
                values[name] = 1.0
        return Temperatures(values, f"at the temperature that fits {len(kept):,} judged triplets best")
    number = len(next(iter(embeddings.values())))
    triplets = np.stack([rng.choice(number, 3, replace=False) for _ in range(DRAWN)])
    drawn = {name: similarities_of_triplets(of_model, triplets) for name, of_model in embeddings.items()}
    first, reference = next(iter(drawn.items()))
    values = {first: float(reference.std(-1).mean()) or 1.0}
    for name, of_other in list(drawn.items())[1:]:
        try:
            values[name] = match_entropy(of_other, reference, values[first])
        except InputError:  # one of both finds all pictures equally similar
            values[name] = 1.0
    return Temperatures(values, "at temperatures that give all models the same mean entropy over random triplets")


def odd_one_table(
    vectors: Mapping[str, np.ndarray],
    temperatures: Mapping[str, float],
    answer: np.ndarray | None = None,
    judge: str = "people",
) -> pd.DataFrame:
    """What each model chooses among three pictures, and people where that is known.

    Args:
        vectors: (3, d) embeddings of the three pictures by model.
        temperatures: by model.
        answer: (3,) how often people chose each picture, or probabilities.
        judge: what to call them.

    Returns:
        A row for each: `who`; the position `odd` of the odd one out, -1 where two are equally so; the probabilities
        `first`, `second` and `third` of each picture to be it; and `entropy` in nats, 0 if sure, ln 3 = 1.10 if not
        at all.
    """
    rows = []
    for name, of_model in vectors.items():
        similarities = pairwise_similarities(torch.from_numpy(np.asarray(of_model)).double())
        log_probabilities = choice_log_probabilities(similarities, temperatures[name])
        shown = log_probabilities.exp().numpy()[odd_of_pair(POSITIONS)]
        rows.append((name, int(odd_one_out(similarities)), *shown, float(entropy(log_probabilities))))
    if answer is not None:
        shares = torch.as_tensor(answer, dtype=torch.float64) / float(np.sum(answer))
        is_unique = int((shares == shares.max()).sum()) == 1
        odd = int(shares.argmax()) if is_unique else -1
        rows.append((judge, odd, *shares.tolist(), float(torch.special.entr(shares).sum())))
    return pd.DataFrame(rows, columns=["who", "odd", *PROBABILITIES, "entropy"])
