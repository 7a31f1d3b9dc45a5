"""Levels: human odd-one-out choices at three levels of abstraction (Muttenthaler et al. 2025, sections 2.2 and 4.3).

The data are at gin.g-node.org/fborn/Dataset_Levels. What their fields mean is read from the authors' experiment and
analysis code (github.com/Frieda-Josefine/HumanEval_experiment), not from the data themselves:

- raw results: one file a session, JSON lines or a JSON list, one object an event of the experiment. `subject_id` is
  the place in the study (`participant_126`); 23 of 450 places were filled twice, so that a person is a place and a
  session, as in the authors' own check of catch trials. `exp_trial_type` is `exp_trial`, `catch_trial`,
  `training_trial` or `break`; `image1Path` to `image3Path` are paths of ImageNet files (`.../n04536866_6609.JPEG`);
  `selected_image` is the path of the odd one out, or `No image selected` when 15 s were over; `rt` is in milliseconds;
  `catch_trial_correct` is true or false.
- `processed_data/pruned_dataset.pkl` is a pickle, and as such not read: trials by `subject_id` with `rt`, the images
  and `selected_image` as file names, `exp_trial_type`, and `triplet_type`. A table of them is. Catch trials and missed
  ones are gone from it, and two people in one place cannot be told apart.
- the level follows from the classes (WordNet ids) in the file names: three of one class are `within_class` (fine), two
  of one `class_border` or, in the raw results, `class_boundary` (boundary), three of three `between_class` (coarse).

Excluded as published: people below 90 % in catch trials, people with more than 10 misses, and trials slower than 10 s.
Inferred, not read: that misses are counted over experimental trials alone, that a missed catch trial is wrong, and
that tables of the same fields in CSV may exist. The authors also leave out triplets with fewer than 4 choices, see
`hf_alignet.evaluation.level_scores`, and sample 5 of more than 5, which is not done here. Their code drops slow trials
for response times alone, not for choices; `slowest=math.inf` keeps them.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import Dataset
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hf_alignet.errors import InputError
from hf_alignet.judgments import own_table
from hf_alignet.judgments.judgment_dataset import IS_CATCH, LEVEL, PARTICIPANT, RT, check_judgments, participant_codes
from hf_alignet.judgments.levels_files import CATCH_CORRECT, CHOICE, IMAGES, KIND, read_trials
from hf_alignet.judgments.rows import TRIPLET, arrow_column, column, distinct_triplets

logger = logging.getLogger(__name__)

TRIAL, CATCH_TRIAL = "exp_trial", "catch_trial"
MIN_CATCH_ACCURACY, MAX_MISSES, SLOWEST = 0.9, 10, 10.0
FASTEST_MEDIAN = 0.1  # seconds; people take two or three, and seconds taken for milliseconds are thousandths
OF_CLASSES = {1: "fine", 2: "boundary", 3: "coarse"}
LEVEL_NAMES = {
    "within_class": "fine",
    "class_border": "boundary",
    "class_boundary": "boundary",
    "between_class": "coarse",
    "fine": "fine",
    "boundary": "boundary",
    "coarse": "coarse",
}
CLASS = r"^(n\d{8})_"


class Exclusions(NamedTuple):
    """How many were read, and how many of them left out, in this order.

    Attributes:
        participants: who were read.
        trials: experimental and catch trials that were read.
        careless: participants below the required share of right catch trials.
        absent: other participants with too many misses.
        their_trials: trials of those participants.
        missed: trials of the other participants without an answer.
        slow: answered trials of theirs that took too long.
    """

    participants: int
    trials: int
    careless: int
    absent: int
    their_trials: int
    missed: int
    slow: int


class LevelsStudy(NamedTuple):
    """What `load_levels` gives: judgments, the names of the images that they point into, and what was left out."""

    judgments: Dataset
    names: list[str]
    exclusions: Exclusions


def load_levels(
    path: str | Path,
    names: Sequence[str] | None = None,
    min_catch_accuracy: float = MIN_CATCH_ACCURACY,
    max_misses: int = MAX_MISSES,
    slowest: float = SLOWEST,
) -> LevelsStudy:
    """The judgments of the published files, with `participant`, `rt`, `level` and `is_catch`.

    Args:
        path: a folder of raw results (`.json`), one of them, or a table (`.csv`, `.tsv`) of the same fields.
        names: file names of the images, in the order of their rows (see `image_names`); folders and suffixes in them
            do not matter. None numbers the images by the sorted names of those that occur.
        min_catch_accuracy: share of catch trials that a participant must have right; where there are no catch trials,
            nobody is left out for them.
        max_misses: experimental trials that a participant may leave unanswered.
        slowest: response time in seconds above which a trial is left out; infinity keeps all.

    Raises:
        InputError: the path holds no such files, a field is missing (lists those there), an image is not among the
            names, the level of a triplet cannot be told, response times look like seconds, or nothing is left.
    """
    trials = read_trials(Path(path).expanduser())
    trials = trials[trials[KIND].isin((TRIAL, CATCH_TRIAL))].reset_index(drop=True)
    if trials.empty:
        raise InputError(f"{path} holds no experimental trials (exp_trial_type is never {TRIAL!r})")
    kept, exclusions = _without_exclusions(trials, min_catch_accuracy, max_misses, slowest)
    logger.info("Levels: %s", ", ".join(f"{name} {number}" for name, number in exclusions._asdict().items()))
    if kept.empty:
        raise InputError(f"no trial of {path} is left after the exclusions: {exclusions._asdict()}")
    used = pd.unique(kept[list(IMAGES)].to_numpy().ravel())
    names = sorted(used) if names is None else [Path(name).name for name in names]
    judgments = own_table.read_own_table(_own_table(kept, names), names, str(path))
    check_judgments(judgments, len(names))
    return LevelsStudy(judgments, list(names), exclusions)


def _without_exclusions(
    trials: pd.DataFrame, min_catch_accuracy: float, max_misses: int, slowest: float
) -> tuple[pd.DataFrame, Exclusions]:
    is_catch = trials[KIND] == CATCH_TRIAL
    is_missed = trials[CHOICE].isna()
    people = trials[PARTICIPANT]
    catch_accuracy = _is_right(trials[is_catch]).groupby(people[is_catch]).mean()
    careless = set(catch_accuracy.index[catch_accuracy < min_catch_accuracy])
    misses = (is_missed & ~is_catch).groupby(people).sum()
    absent = set(misses.index[misses > max_misses]) - careless
    is_out = people.isin(careless | absent)
    seconds = _seconds(trials[RT])
    is_slow = seconds > slowest
    exclusions = Exclusions(
        people.nunique(),
        len(trials),
        len(careless),
        len(absent),
        int(is_out.sum()),
        int((is_missed & ~is_out).sum()),
        int((is_slow & ~is_missed & ~is_out).sum()),
    )
    return trials.assign(**{RT: seconds})[~is_out & ~is_missed & ~is_slow].reset_index(drop=True), exclusions


def _is_right(catch_trials: pd.DataFrame) -> pd.Series:
    """Bool of each catch trial: as the field says, or else whether the image of another class was chosen."""
    if CATCH_CORRECT in catch_trials:
        return catch_trials[CATCH_CORRECT].isin((True, 1, "true", "True", "1"))
    classes = {name: catch_trials[name].str.extract(CLASS, expand=False) for name in (*IMAGES, CHOICE)}
    times_chosen = sum((classes[name] == classes[CHOICE]).astype(int) for name in IMAGES)
    return pd.Series(times_chosen == 1, index=catch_trials.index)


def _seconds(milliseconds: pd.Series) -> pd.Series:
    try:
        seconds = pd.to_numeric(milliseconds) / 1000
    except (ValueError, TypeError) as error:
        raise InputError(f"the response times are not all numbers: {error}") from error
    if seconds.median() < FASTEST_MEDIAN:
        raise InputError(
            f"the median response time is {1000 * seconds.median():g} ms, as if it were in seconds; the published "
            "files give milliseconds: multiply it by 1000"
        )
    return seconds.where(seconds > 0)


def _own_table(trials: pd.DataFrame, names: Sequence[str]) -> pa.Table:
    """The trials in the columns of a table of your own, images called as in `names`."""
    of_stem = {Path(name).stem: name for name in names}
    images = {}
    for name in (*IMAGES, CHOICE):
        images[name] = trials[name].map({cell: of_stem.get(Path(cell).stem, cell) for cell in trials[name].unique()})
    columns = {own: images[name] for own, name in zip(own_table.IMAGES, IMAGES, strict=True)}
    is_catch = trials[KIND] == CATCH_TRIAL
    return pa.table(
        {name: pa.array(values, pa.string()) for name, values in columns.items()}
        | {
            own_table.CHOICE: pa.array(images[CHOICE], pa.string()),
            PARTICIPANT: pa.array(trials[PARTICIPANT].astype(str), pa.string()),
            RT: pa.array(trials[RT], pa.float32(), from_pandas=True),
            LEVEL: pa.array(_levels(trials).where(~is_catch, None), pa.string(), from_pandas=True),
            IS_CATCH: pa.array(is_catch),
        }
    )


def _levels(trials: pd.DataFrame) -> pd.Series:
    """Level of each trial, from the classes in the file names, or else from the field."""
    first, second, third = (trials[name].str.extract(CLASS, expand=False) for name in IMAGES)
    num_classes = 3 - (first == second).astype(int) - ((third == first) | (third == second)).astype(int)
    levels = num_classes.map(OF_CLASSES).where(first.notna() & second.notna() & third.notna())
    if LEVEL in trials:
        levels = levels.fillna(trials[LEVEL].map(LEVEL_NAMES))
    if levels.isna().any():
        row = int(levels.isna().to_numpy().argmax())
        images = ", ".join(str(trials[name].iloc[row]) for name in IMAGES)
        raise InputError(
            f"the level of the images {images} cannot be told: their names do not begin with a WordNet id "
            f"(n04536866_), and no field triplet_type gives one of {', '.join(LEVEL_NAMES)}"
        )
    return levels


def trial_sets(judgments: Dataset) -> np.ndarray:
    """The set of trials that each row belongs to, (n,) int64 numbers from 0 on.

    In Levels each participant sees one set of triplets, which some others see too. Two participants are of one set if
    a chain of shared triplets joins them. Response times can be compared between the people of one set.

    Args:
        judgments: rows of choices with `participant`; checks of attention, which all sets share, join nothing.

    Raises:
        InputError: the judgments have no participants, or a row has none.
    """
    people = participant_codes(judgments) if PARTICIPANT in judgments.column_names else np.array([-1])
    if (people < 0).any():
        raise InputError("trial sets need the participant of every judgment")
    is_catch = np.zeros(len(people), bool)
    if IS_CATCH in judgments.column_names:
        is_catch = arrow_column(judgments, IS_CATCH).fill_null(False).to_numpy(zero_copy_only=False)
    distinct, which, _ = distinct_triplets(column(judgments, TRIPLET))
    number = people.max() + 1
    edges = people[~is_catch], number + which[~is_catch]
    graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(number + len(distinct),) * 2)
    components = connected_components(graph, directed=False)[1][people]
    return np.unique(components, return_inverse=True)[1].astype(np.int64)


def in_shared_sets(judgments: Dataset) -> np.ndarray:
    """(n,) bool, rows of the trial sets that several participants saw: to those the authors confine response times.

    Args:
        judgments: see `trial_sets`.

    Raises:
        InputError: see `trial_sets`.
    """
    sets = trial_sets(judgments)
    of_people = np.unique(np.stack([sets, participant_codes(judgments)], 1), axis=0)[:, 0]
    return (np.bincount(of_people) > 1)[sets]
