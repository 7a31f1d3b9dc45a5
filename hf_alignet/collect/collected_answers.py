"""What a study has collected: its answers and participants as tables, its progress, and the judgments.

Judgments are of participants who finished. The exclusions are those of Levels (see `judgments.levels_study`), counted
one by one. Practice is no judgment.
"""

import json
import logging
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset

from hf_alignet.collect.sessions import FINISHED, REPLACED, RUNNING
from hf_alignet.collect.study_database import CATCH, PRACTICE, open_study
from hf_alignet.errors import InputError
from hf_alignet.judgments import check_judgments, make_judgments
from hf_alignet.judgments.judgment_dataset import LEVEL, PARTICIPANT, RT
from hf_alignet.judgments.levels_study import (
    CATCH_CORRECT,
    CATCH_TRIAL,
    CHOICE,
    KIND,
    MAX_MISSES,
    MIN_CATCH_ACCURACY,
    SLOWEST,
    TRIAL,
    without_exclusions,
)
from hf_alignet.judgments.rows import ODD
from hf_alignet.judgments.stimulus_names import CONFIG as STIMULI
from hf_alignet.judgments.stimulus_names import NAME
from hf_alignet.ranges import NotNegative, Share, Whole, checked
from hf_alignet.storage import empty, output_folder, write_dataset, write_json, write_text

MAKER = "collect export"
ANSWERS = """
SELECT answers.participant, place, answers.odd AS odd_place, rt, shown, first, second, third, kind, level,
    triplets.odd AS right_answer, triplets.number AS triplet_number, state
FROM answers JOIN participants ON participants.number = answers.participant
JOIN trials USING (trial_set, place) JOIN triplets ON triplets.number = trials.triplet
ORDER BY answers.participant, place
"""

logger = logging.getLogger(__name__)


def read_answers(connection: sqlite3.Connection) -> pd.DataFrame:
    """One row an answer, in the order of participants and trials.

    `odd` is the position in the triplet `first`, `second`, `third`, NaN for none; `is_right` holds where there is a
    right answer; `rt` is in seconds.
    """
    table = pd.read_sql_query(ANSWERS, connection)
    places = table["odd_place"].to_numpy(float, na_value=np.nan)
    shown = [
        float(order[int(place)]) if place == place else np.nan
        for order, place in zip(table["shown"], places, strict=True)
    ]
    table[ODD] = np.array(shown, float)
    table["is_right"] = table[ODD] == table["right_answer"].astype(float)
    table[RT] = table[RT].astype(float)
    return table


def participants_table(connection: sqlite3.Connection, answers: pd.DataFrame) -> pd.DataFrame:
    """One row a participant: state, minutes, share of right catch trials, median response time, misses, demographics.

    There are no identifiers in it.
    """
    people = pd.read_sql_query(
        "SELECT number AS participant, state, started, seen, demographics FROM participants ORDER BY number",
        connection,
    ).set_index("participant")
    measured = answers[answers["kind"] != PRACTICE].groupby("participant")
    catch = answers[answers["kind"] == CATCH].groupby("participant")
    people["minutes"] = ((people.pop("seen") - people.pop("started")) / 60).round(1)
    people["answers"] = measured.size().reindex(people.index, fill_value=0)
    people["catch_accuracy"] = catch["is_right"].mean().reindex(people.index)
    people["median_rt"] = measured[RT].median().reindex(people.index)
    people["misses"] = measured[ODD].apply(lambda odd: odd.isna().sum()).reindex(people.index, fill_value=0)
    about = pd.DataFrame([json.loads(text) for text in people.pop("demographics")], people.index)
    return people.join(about.add_prefix("about_"))


def study_status(study: str) -> str:
    """How far a study is, in words.

    Args:
        study: folder of the study.
    """
    settings, connection = open_study(Path(study).expanduser())
    answers = read_answers(connection)
    people = participants_table(connection, answers)
    connection.close()
    plan, states = settings.plan, people["state"].value_counts()
    counted = answers[(answers["kind"] == "trial") & (answers["state"] != REPLACED)].dropna(subset=[ODD])
    judged = counted.groupby("triplet_number").size().reindex(range(plan.num_triplets), fill_value=0)
    missing = (plan.repeats - judged).clip(lower=0)
    lines = [
        f"{len(people)} participants began: {states.get(FINISHED, 0)} finished, {states.get(RUNNING, 0)} in work, "
        f"{states.get(REPLACED, 0)} dropped out and replaced; {plan.num_participants} trial sets",
        f"{len(counted)} of {plan.num_participants * plan.trials} judgments; {int((missing > 0).sum())} of "
        f"{plan.num_triplets} triplets still miss {int(missing.sum())} of them",
    ]
    if people["catch_accuracy"].notna().any():
        low = int((people["catch_accuracy"] < MIN_CATCH_ACCURACY).sum())
        mean = people["catch_accuracy"].mean()
        lines.append(f"catch trials: {mean:.3f} right, {low} participants below {MIN_CATCH_ACCURACY:g}")
    if people["median_rt"].notna().any():
        lines.append(f"median response time: {answers.loc[answers['kind'] != PRACTICE, RT].median():.2f} s")
    return "\n".join(lines)


@checked
def export_study(
    study: str,
    output_dir: str,
    min_catch_accuracy: Share = MIN_CATCH_ACCURACY,
    max_misses: Whole = MAX_MISSES,
    slowest: NotNegative = SLOWEST,
    identifiers: bool = False,
) -> dict[str, int]:
    """Writes the judgments of a study, as `load_judgments` and all commands read them.

    It writes judgments/, stimulus_names/ (the pictures' names), exclusions.json, and participants.csv.

    Args:
        study: folder of the study.
        output_dir: folder for the results; what an earlier export wrote there is replaced.
        min_catch_accuracy: share of right catch trials that a participant needs.
        max_misses: number of trials that a participant may leave unanswered.
        slowest: longest response time in seconds.
        identifiers: also write identifiers.csv: what the platform calls the participants. Do not share it.

    Returns:
        The numbers of participants and trials, and of those left out by each rule.

    Raises:
        InputError: there is no study, or nothing is left of its answers.
    """
    settings, connection = open_study(Path(study).expanduser())
    answers = read_answers(connection)
    judgments, counts = judgments_of(answers, min_catch_accuracy, max_misses, slowest)
    with output_folder(output_dir, MAKER) as folder:
        empty(folder)
        write_dataset(judgments, folder / "judgments", "train", progress=False)
        names = [name for (name,) in connection.execute("SELECT name FROM pictures ORDER BY number")]
        if names:
            write_dataset(Dataset.from_dict({NAME: names}), folder / STIMULI, "train", progress=False)
        write_text(folder / "participants.csv", participants_table(connection, answers).to_csv())
        if identifiers:
            query = "SELECT participant, name, value FROM identifiers ORDER BY participant, name"
            known = pd.read_sql_query(query, connection).pivot(index="participant", columns="name", values="value")
            write_text(folder / "identifiers.csv", known.to_csv())
        write_json(folder / "exclusions.json", counts)
    connection.close()
    logger.info("%s: %s", output_dir, ", ".join(f"{name} {number}" for name, number in counts.items()))
    return counts


def judgments_of(
    answers: pd.DataFrame, min_catch_accuracy: float, max_misses: int, slowest: float
) -> tuple[Dataset, dict[str, int]]:
    """The judgments Dataset of answers from `read_answers`, and what was left out; see `export_study`."""
    is_done = answers["state"] == FINISHED
    left_out: dict[str, Any] = {
        "unfinished": answers.loc[~is_done, "participant"].nunique(),
        "unfinished_trials": int((~is_done & (answers["kind"] != PRACTICE)).sum()),
    }
    trials = answers[is_done & (answers["kind"] != PRACTICE)].reset_index(drop=True)
    if trials.empty:
        raise InputError("no participant has finished yet: nothing can be exported")
    is_catch = trials["kind"] == CATCH
    form = {KIND: is_catch.map({True: CATCH_TRIAL, False: TRIAL}), CHOICE: trials[ODD], RT: 1000 * trials[RT]}
    kept, exclusions = without_exclusions(
        trials.assign(**form, **{CATCH_CORRECT: trials["is_right"]}), min_catch_accuracy, max_misses, slowest
    )
    counts = {**exclusions._asdict(), **left_out, "kept": len(kept)}
    if kept.empty:
        raise InputError(f"no trial is left after the exclusions: {counts}")
    judgments = make_judgments(
        kept[["first", "second", "third"]].to_numpy(),
        kept[ODD].to_numpy().astype(np.int64),
        participant=kept[PARTICIPANT].astype(str).to_numpy(),
        rt=kept[RT].to_numpy(),
        level=kept[LEVEL].astype(object).where(kept[LEVEL].notna(), None).to_numpy(),
        is_catch=(kept[KIND] == CATCH_TRIAL).to_numpy(),
    )
    if not kept[LEVEL].notna().any():
        judgments = judgments.remove_columns(LEVEL)
    check_judgments(judgments)
    return judgments, counts
