"""Levels: does a model choose as most people do, at coarse, fine and boundary triplets?

Accuracy against the majority's choice (Muttenthaler et al. 2025, section 2.2), beside the share of people who choose
as the majority of the other people does (the paper's noise ceiling, section 4.3).
"""

import logging
from typing import NamedTuple

import numpy as np
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.noise_ceiling import leave_one_out
from hf_alignet.evaluation.human.odd_one_out import odd_one_out_accuracy
from hf_alignet.judgments import LEVELS, majority
from hf_alignet.judgments.judgment_dataset import LEVEL
from hf_alignet.judgments.rows import arrow_column, select_rows
from hf_alignet.metric import Metric
from hf_alignet.ranges import Count, Seed, checked
from hf_alignet.similarity import SimilarityKind, TripletSimilarity

logger = logging.getLogger(__name__)

MIN_RATERS = 4  # as in the authors' analysis


class LevelScore(NamedTuple):
    """How a model does at one level."""

    accuracy: Metric  # share of triplets with a majority where the model chooses as the majority does
    ceiling: Metric  # how often one person agrees with the majority of the others, over all triplets of the level
    num_tied: int  # triplets left out because several answers have most votes
    num_few: int  # triplets left out because too few people judged them


def select_level(judgments: Dataset, level: str) -> Dataset:
    """The judgments of one level. Raises an InputError, with the existing levels, if there are none."""
    levels = _levels(judgments)
    if not (levels == level).any():
        known = sorted({str(name) for name in levels if name is not None})
        raise InputError(f"no judgment is of level {level!r}; the levels are {', '.join(known) or 'unknown'}")
    return select_rows(judgments, levels == level)


def _levels(judgments: Dataset) -> np.ndarray:
    if LEVEL not in judgments.column_names:
        raise InputError(f"the judgments have no column {LEVEL!r}; they have {', '.join(judgments.column_names)}")
    return arrow_column(judgments, LEVEL).to_numpy(zero_copy_only=False)


@checked
def level_scores(
    embeddings: np.ndarray,
    judgments: Dataset,
    similarity: SimilarityKind | TripletSimilarity = "dot",
    min_raters: Count = MIN_RATERS,
    seed: Seed = 0,
) -> dict[str, LevelScore]:
    """Accuracy of a model at each level that the judgments have, in the order coarse, fine, boundary.

    Args:
        embeddings: (n, d) of the images that the judgments name by row.
        judgments: with the column `level`, such as from `load_levels`; rows of choices or of counts.
        similarity: `dot`, `cosine` or `pearson`.
        min_raters: smallest number of people who judged a triplet.
        seed: Seed of the ceilings' bootstraps.

    Raises:
        InputError: there are no levels, or at a level no triplet has a majority of enough people.
    """
    known = set(_levels(judgments))
    if not known & set(LEVELS):
        raise InputError(f"no judgment has a level; levels are {', '.join(LEVELS)}")
    scores = {}
    for level in (name for name in LEVELS if name in known):
        of_level = select_level(judgments, level)
        answers = majority(of_level, min_raters)
        if len(answers.triplets) == 0:
            raise InputError(
                f"at level {level!r} no triplet has a majority: {answers.num_few} have fewer than {min_raters} choices"
                f" and {answers.num_tied} are tied; lower `min_raters`, or use more judgments"
            )
        accuracy = odd_one_out_accuracy(embeddings, answers.triplets, answers.odd, similarity)
        ceiling = leave_one_out(of_level, seed)
        scores[level] = LevelScore(accuracy, ceiling, answers.num_tied, answers.num_few)
        logger.info(
            "level %s: %d triplets, left out %d that are tied and %d with fewer than %d choices",
            level, len(answers.triplets), answers.num_tied, answers.num_few, min_raters,
        )  # fmt: skip
    return scores


def level_metrics(scores: dict[str, LevelScore], name: str = "levels") -> dict[str, Metric]:
    """`{name/level/odd_one_out_accuracy: …, name/level/noise_ceiling: …}` of `level_scores`."""
    return {
        f"{name}/{level}/{measure}": metric
        for level, score in scores.items()
        for measure, metric in (("odd_one_out_accuracy", score.accuracy), ("noise_ceiling", score.ceiling))
    }
