"""Levels: human odd-one-out choices at three levels of abstraction (Muttenthaler et al. 2025, sections 2.2 and 4.3).

The data are at gin.g-node.org/fborn/Dataset_Levels. The meaning of their fields comes from the authors' experiment and
analysis code (github.com/Frieda-Josefine/HumanEval_experiment), not from the data themselves:

- Raw results: one file for each session, JSON lines or a JSON list, one object for each event. `subject_id` is the
  place in the study (`participant_126`). Two people had the same place in 23 of 450 cases, so a participant is a place
  and a session, as in the authors' own check of catch trials. `exp_trial_type` is `exp_trial`, `catch_trial`,
  `training_trial` or `break`. `image1Path` to `image3Path` are paths of ImageNet files (`.../n04536866_6609.JPEG`).
  `selected_image` is the path of the odd one out, or `No image selected` after 15 s. `rt` is in milliseconds.
  `catch_trial_correct` is true or false.
- `processed_data/pruned_dataset.pkl` has the trials with `subject_id`, `rt`, the images and `selected_image` as file
  names, `exp_trial_type` and `triplet_type`, without catch trials and missed trials. It is a pickle, so this module
  does not read it, but it reads a table of the same trials. Two people with the same place look like one.
- The classes (WordNet ids) in the file names give the level. Three images of one class are `within_class` (fine), of
  two classes `class_border` or, in the raw results, `class_boundary` (boundary), of three `between_class` (coarse).

Exclusions as published: people below 90 % in catch trials, people with over 10 misses, and trials slower than 10 s. We
infer that only experimental trials count as misses, that a missed catch trial is wrong, and that tables of the same
fields in CSV may exist. The authors also leave out triplets with fewer than 4 choices (see
`hf_alignet.evaluation.level_scores`), and draw 5 of more than 5 choices; this module does not. Their code leaves out
slow trials only for response times, not for choices; `slowest=math.inf` keeps them.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import scipy
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.judgments.column_names import CHOICE as ODD_ONE_OUT
from hf_alignet.judgments.column_names import IMAGES as IMAGE_ROLES
from hf_alignet.judgments.file_reading import read_header, read_table
from hf_alignet.judgments.judgment_dataset import (
    IS_CATCH,
    LEVEL,
    PARTICIPANT,
    RT,
    are_catch_trials,
    check_judgments,
    participant_codes,
)
from hf_alignet.judgments.own_table import TableForm, read_own_table
from hf_alignet.judgments.rows import TRIPLET, column, distinct_triplets
from hf_alignet.judgments.table_files import cells_of
from hf_alignet.text_files import parse_json

logger = logging.getLogger(__name__)

IMAGES = ("image1", "image2", "image3")
CHOICE, KIND, CATCH_CORRECT, SESSION = "choice", "kind", "catch_correct", "session"
FIELDS = {  # spellings in the files
    PARTICIPANT: ("subject_id", "participant", "participant_id"),
    **{f"image{i}": (f"image{i}Path", f"image{i}", f"image_{i}") for i in (1, 2, 3)},
    CHOICE: ("selected_image", "odd_one_out"),
    RT: ("rt", "response_time"),
    KIND: ("exp_trial_type",),
    LEVEL: ("triplet_type", "triplet_class", "level"),
    CATCH_CORRECT: ("catch_trial_correct",),
}
OPTIONAL = (LEVEL, CATCH_CORRECT)
TRIAL, CATCH_TRIAL, NO_ANSWER = "exp_trial", "catch_trial", "No image selected"
MIN_CATCH_ACCURACY, MAX_MISSES, SLOWEST = 0.9, 10, 10.0
FASTEST_MEDIAN = 0.1  # seconds; people take two or three. Seconds read as milliseconds would be thousandths
OF_CLASSES = {1: "fine", 2: "boundary", 3: "coarse"}
LEVEL_NAMES = {
    "within_class": "fine",
    "class_border": "boundary",
    "class_boundary": "boundary",
    "between_class": "coarse",
    **{level: level for level in OF_CLASSES.values()},
}
CLASS = r"^(n\d{8})_"


class Exclusions(NamedTuple):
    """Numbers of participants and trials in the files, and of those left out, in the order of the exclusions."""

    participants: int  # in the files
    trials: int  # experimental and catch trials in the files
    careless: int  # participants below the required share of correct catch trials
    absent: int  # other participants with too many misses
    their_trials: int  # trials of careless and absent participants
    missed: int  # trials of the other participants without an answer
    slow: int  # answered trials of the other participants that took too long


class LevelsStudy(NamedTuple):
    """Result of `load_levels`: judgments, names of the images in the order of their rows, and exclusions."""

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
        path: folder of raw results (`.json`), one of these files, or a table (`.csv`, `.tsv`) of the same fields.
        names: file names of the images in the order of their rows (see `image_names`); their folders and suffixes do
            not matter. None: the images that occur, in the order of their sorted names.
        min_catch_accuracy: share of correct catch trials that a participant needs; without catch trials, no
            participant is left out for this reason.
        max_misses: number of experimental trials that a participant may leave unanswered.
        slowest: longest response time of a trial in seconds; infinity keeps all trials.

    Raises:
        InputError: the path holds no such files, a field is missing, an image is not among the names, the level of a
            triplet is not known, response times look like seconds, or no trial is left.
    """
    trials = read_trials(Path(path).expanduser())
    trials = trials[trials[KIND].isin((TRIAL, CATCH_TRIAL))].reset_index(drop=True)
    if trials.empty:
        raise InputError(f"{path} holds no experimental trials (exp_trial_type is never {TRIAL!r})")
    kept, exclusions = without_exclusions(trials, min_catch_accuracy, max_misses, slowest)
    logger.info("Levels: %s", ", ".join(f"{name} {number}" for name, number in exclusions._asdict().items()))
    if kept.empty:
        raise InputError(f"no trial of {path} is left after the exclusions: {exclusions._asdict()}")
    used = pd.unique(kept[list(IMAGES)].to_numpy().ravel())
    names = sorted(used) if names is None else [Path(name).name for name in names]
    table = cells_of(Dataset(_own_table(kept, names)), str(path), {})
    judgments = read_own_table(table, names, TableForm(rt_unit="s"))
    check_judgments(judgments, len(names))
    return LevelsStudy(judgments, list(names), exclusions)


def read_trials(path: Path) -> pd.DataFrame:
    """One row for each event: participant, file names of the images and the choice, time, kind, and level if given."""
    if path.suffix in (".pkl", ".pickle"):
        raise InputError(
            f"{path} is a pickle, and reading it could run any program; give the folder of the raw results, or the "
            "same trials as a table (pandas.DataFrame.to_csv)"
        )
    if path.suffix in (".csv", ".tsv"):
        header, delimiter = read_header(path)
        return _conform(read_table(path, delimiter, header, {}).to_pandas(), path.name)
    if not path.is_dir() and path.suffix != ".json":
        raise InputError(f"{path} is no file of Levels: give a folder of .json files, or a .json, .csv or .tsv file")
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"the folder {path} holds no .json files of Levels; give the folder of the raw results")
    return _conform(pd.concat([_read_json(file) for file in files], ignore_index=True), path.name)


def _read_json(path: Path) -> pd.DataFrame:
    """The events of a session: a JSON list, or one object a line."""
    try:
        text = path.read_text(encoding="utf-8").strip()
        events = parse_json(text) if text.startswith("[") else [parse_json(line) for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} as JSON: {error}") from error
    if not all(isinstance(event, Mapping) for event in events):
        raise InputError(f"{path} must hold one object for each event")
    return pd.DataFrame(events).assign(**{SESSION: path.stem})


def _conform(events: pd.DataFrame, source: str) -> pd.DataFrame:
    """The columns of `FIELDS` under any spelling of their names; rows without images or participant are dropped."""
    spelled = {re.sub(r"[^a-z0-9]", "", str(name).lower()): name for name in reversed(list(events.columns))}
    found = {}
    for field, known in FIELDS.items():
        plain = (name.replace("_", "").lower() for name in known)
        found[field] = next((spelled[name] for name in plain if name in spelled), None)
    missing = [field for field, name in found.items() if name is None and field not in OPTIONAL]
    if missing:
        wanted = "; ".join(f"{field} ({' or '.join(FIELDS[field])})" for field in missing)
        existing = ", ".join(str(name) for name in events.columns if name != SESSION)
        raise InputError(f"{source} lacks {wanted}; it has {existing}")
    trials = pd.DataFrame({field: events[name] for field, name in found.items() if name is not None})
    if SESSION in events:
        trials[SESSION] = events[SESSION]
    trials = trials.dropna(subset=[*IMAGES, PARTICIPANT]).reset_index(drop=True)
    if SESSION in trials:
        trials[PARTICIPANT] = trials[PARTICIPANT].astype(str) + "." + trials.pop(SESSION)
    trials[CHOICE] = trials[CHOICE].where(trials[CHOICE].ne(NO_ANSWER) & trials[CHOICE].ne(""))
    for name in (*IMAGES, CHOICE):
        cells = trials[name].astype("object")
        trials[name] = cells.map({cell: Path(str(cell)).name for cell in cells.dropna().unique()}, na_action="ignore")
    return trials


def without_exclusions(
    trials: pd.DataFrame, min_catch_accuracy: float, max_misses: int, slowest: float
) -> tuple[pd.DataFrame, Exclusions]:
    """The trials that the published rules keep, with `rt` in seconds, and the numbers of the others.

    `trials` has participant, kind, choice (missing for none), rt in milliseconds, and whether catch trials are right.
    """
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
        participants=people.nunique(),
        trials=len(trials),
        careless=len(careless),
        absent=len(absent),
        their_trials=int(is_out.sum()),
        missed=int((is_missed & ~is_out).sum()),
        slow=int((is_slow & ~is_missed & ~is_out).sum()),
    )
    return trials.assign(**{RT: seconds})[~is_out & ~is_missed & ~is_slow].reset_index(drop=True), exclusions


def _is_right(catch_trials: pd.DataFrame) -> pd.Series:
    """Whether each catch trial is right: by its field, or else if the chosen image is the only one of its class."""
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
            f"the median response time is {1000 * seconds.median():g} ms, so they look like seconds; the published "
            "files have milliseconds: multiply them by 1000"
        )
    return seconds.where(seconds > 0)


def _own_table(trials: pd.DataFrame, names: Sequence[str]) -> pa.Table:
    """The trials as a table for `read_own_table`, with the spelling of `names` for images."""
    of_stem = {Path(name).stem: name for name in names}
    images = {}
    for name in (*IMAGES, CHOICE):
        images[name] = trials[name].map({cell: of_stem.get(Path(cell).stem, cell) for cell in trials[name].unique()})
    is_catch = trials[KIND] == CATCH_TRIAL
    texts = dict(zip((*IMAGE_ROLES, ODD_ONE_OUT), images.values(), strict=True)) | {
        PARTICIPANT: trials[PARTICIPANT].astype(str),
        LEVEL: _levels(trials).where(~is_catch, None),
    }
    columns = {name: pa.array(values, pa.string(), from_pandas=True) for name, values in texts.items()}
    return pa.table(columns | {RT: pa.array(trials[RT], pa.float32(), from_pandas=True), IS_CATCH: pa.array(is_catch)})


def _levels(trials: pd.DataFrame) -> pd.Series:
    """Level of each trial, from the classes in the file names, or else from its field."""
    first, second, third = (trials[name].str.extract(CLASS, expand=False) for name in IMAGES)
    num_classes = 3 - (first == second).astype(int) - ((third == first) | (third == second)).astype(int)
    levels = num_classes.map(OF_CLASSES).where(first.notna() & second.notna() & third.notna())
    if LEVEL in trials:
        levels = levels.fillna(trials[LEVEL].map(LEVEL_NAMES))
    if levels.isna().any():
        row = int(levels.isna().to_numpy().argmax())
        images = ", ".join(str(trials[name].iloc[row]) for name in IMAGES)
        raise InputError(
            f"the level of the images {images} is not known: their names do not begin with a WordNet id (n04536866_), "
            f"and the field triplet_type holds none of {', '.join(LEVEL_NAMES)}"
        )
    return levels


def trial_sets(judgments: Dataset) -> np.ndarray:
    """The set of trials of each row of choices, (n,) int64 numbers from 0.

    In Levels each participant sees one set of triplets, and some others see the same set. Two participants have the
    same set if a chain of shared triplets joins them. Response times of people with the same set can be compared.
    Checks of attention join nobody, because all sets share them. Raises an InputError if a participant is not known.
    """
    people = participant_codes(judgments) if PARTICIPANT in judgments.column_names else np.array([-1])
    if (people < 0).any():
        raise InputError("trial sets need the participant of every judgment")
    is_judgment = ~are_catch_trials(judgments)
    distinct, which, _ = distinct_triplets(column(judgments, TRIPLET))
    number = people.max() + 1
    edges = people[is_judgment], number + which[is_judgment]
    graph = scipy.sparse.coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(number + len(distinct),) * 2)
    components = scipy.sparse.csgraph.connected_components(graph, directed=False)[1][people]
    return np.unique(components, return_inverse=True)[1].astype(np.int64)


def in_shared_sets(judgments: Dataset) -> np.ndarray:
    """(n,) bool: whether several participants saw the trial set of a row. The authors only use times of such rows."""
    sets = trial_sets(judgments)
    of_people = np.unique(np.stack([sets, participant_codes(judgments)], 1), axis=0)[:, 0]
    return (np.bincount(of_people) > 1)[sets]
