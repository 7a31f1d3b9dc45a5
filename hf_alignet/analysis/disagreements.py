"""Triplets about which two models differ, and people, or a teacher, agree with one of them."""

import numpy as np
import pandas as pd

from hf_alignet.evaluation.human.odd_one_out import similarities_of_triplets
from hf_alignet.ranges import checked
from hf_alignet.similarity import NO_CHOICE, SimilarityKind, odd_one_out

EXAMPLES = 100  # for each side, in a table


@checked
def disagreements(
    base: np.ndarray, aligned: np.ndarray, triplets: np.ndarray, odd: np.ndarray, kind: SimilarityKind = "dot"
) -> pd.DataFrame:
    """Triplets where the two models choose differently, and one of them as people do.

    Args:
        base: (n, d) embeddings before.
        aligned: (n, e) embeddings after.
        triplets: (m, 3) rows of the embeddings.
        odd: (m,) position of the odd one out by people; -1 for none.
        kind: similarity of two embeddings.

    Returns:
        A row for each: `triplet`, its place among those given; `first`, `second` and `third`, the rows of the images;
        the positions `people`, `base` and `aligned` of the odd one out; `agrees`, which model people agree with; and
        `certainty`, by which rows are ordered. A model is the surer the further its most similar pair is ahead of
        the next; this lead is divided by its mean over all triplets, and the lower one of both models counts.

    Raises:
        InputError: an embedding is not finite, or a triplet points outside the embeddings.
    """
    choices, leads = [], []
    for embeddings in (base, aligned):
        similarities = similarities_of_triplets(embeddings, triplets, kind)
        choices.append(odd_one_out(similarities).numpy())
        top = similarities.topk(2, dim=-1).values
        lead = (top[:, 0] - top[:, 1]).numpy()
        leads.append(lead / max(float(lead.mean()), np.finfo(np.float32).tiny) if len(lead) else lead)
    people = np.asarray(odd)
    is_base, is_aligned = ((choice == people) & (people != NO_CHOICE) for choice in choices)
    kept = np.flatnonzero((is_base != is_aligned) & (choices[0] != NO_CHOICE) & (choices[1] != NO_CHOICE))
    table = pd.DataFrame(
        {
            "triplet": kept,
            **{name: triplets[kept, place] for place, name in enumerate(("first", "second", "third"))},
            "people": people[kept],
            "base": choices[0][kept],
            "aligned": choices[1][kept],
            "agrees": np.where(is_aligned[kept], "aligned", "base"),
            "certainty": np.minimum(*leads)[kept],
        }
    )
    return table.sort_values("certainty", ascending=False, kind="stable").reset_index(drop=True)
