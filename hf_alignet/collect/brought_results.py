"""Brings results into a study: files of its static site, and raw data of jsPsych and the like about its pictures."""

import json
import logging
import math
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_alignet.collect.sessions import FINISHED
from hf_alignet.collect.study_database import TRIAL, open_study, study_id
from hf_alignet.collect.study_settings import StudyPlan
from hf_alignet.errors import InputError
from hf_alignet.judgments import load_judgments
from hf_alignet.judgments.judgment_dataset import PARTICIPANT, RT, known_times
from hf_alignet.judgments.rows import ODD, arrow_column, column
from hf_alignet.text_files import load_json

SITE_FIELDS = {"study", "file", "trial_set", "identifiers", "demographics", "answers"}

logger = logging.getLogger(__name__)


def import_results(study: str, results: Sequence[str]) -> int:
    """Adds results to the database of a study. What was added before is not added again.

    Args:
        study: folder of the study.
        results: files, or folders of them: of its static site, or raw data of jsPsych (JSON, CSV) and whatever else
            `load_judgments` reads, about pictures of the study by name.

    Returns:
        Number of participants that were added.

    Raises:
        InputError: a file cannot be read, or is of another study.
    """
    files = [file for path in results for file in _files(Path(path).expanduser())]
    if not files:
        raise InputError("`results` names no files")
    settings, connection = open_study(Path(study).expanduser())
    name, added = study_id(connection), 0
    names = [name for (name,) in connection.execute("SELECT name FROM pictures ORDER BY number")]
    connection.execute("BEGIN IMMEDIATE")
    try:
        for file in files:
            content = load_json(file, "the results") if _is_object(file) else {}
            if SITE_FIELDS <= content.keys():
                added += _add_site_result(connection, content, file, name, settings.plan)
            else:
                added += _add_judgments(connection, file, names)
        connection.execute("COMMIT")
    finally:
        connection.close()  # without the commit nothing is added
    return added


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    return [path]


def _is_object(file: Path) -> bool:
    with open(file, "rb") as opened:
        return opened.read(64).lstrip()[:1] == b"{" and file.suffix == ".json"


def _add_site_result(
    connection: sqlite3.Connection, content: dict[str, Any], file: Path, name: str, plan: StudyPlan
) -> int:
    if content["study"] != name:
        raise InputError(f"{file} is of another study")
    answers, trial_set = content["answers"], content["trial_set"]
    if type(trial_set) is not int or not 0 <= trial_set < plan.num_participants:
        raise InputError(f"{file} names the trial set {trial_set!r}, and there are {plan.num_participants}")
    if not isinstance(answers, list) or len(answers) != plan.places or not all(map(_is_answer, answers)):
        raise InputError(f"{file} is not complete, or was changed: it must have {plan.places} pairs of odd and rt")
    about = {str(key): str(value) for key, value in dict(content["demographics"]).items()}
    number = _add_participant(connection, str(content["file"]), trial_set, len(answers), about)
    if number is None:
        return 0
    rows = [(number, str(key), str(value)) for key, value in dict(content["identifiers"]).items()]
    connection.executemany("INSERT INTO identifiers VALUES (?, ?, ?)", rows)
    _add_answers(connection, number, answers)
    return 1


def _is_answer(answer: Any) -> bool:
    if not isinstance(answer, list) or len(answer) != 2:
        return False
    odd, rt = answer
    is_time = isinstance(rt, int | float) and math.isfinite(rt) and rt > 0
    return (odd is None and rt is None) or (type(odd) is int and odd in (0, 1, 2) and is_time)


def _add_participant(
    connection: sqlite3.Connection, file: str, trial_set: int, number: int, about: dict[str, str]
) -> int | None:
    """The number of a new participant; None if it was added before."""
    if connection.execute("SELECT 1 FROM participants WHERE file = ?", (file,)).fetchone():
        logger.warning("%s was added before", file)
        return None
    now = time.time()
    row = (trial_set, FINISHED, number, now, now, now, json.dumps(about), file)
    return connection.execute(
        "INSERT INTO participants (trial_set, state, next, started, seen, finished, demographics, file) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        row,
    ).lastrowid


def _add_answers(connection: sqlite3.Connection, number: int, answers: Sequence[Sequence[Any]]) -> None:
    now = time.time()
    rows = [(number, place, odd, rt, now) for place, (odd, rt) in enumerate(answers)]
    connection.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", rows)


def _add_judgments(connection: sqlite3.Connection, file: Path, names: Sequence[str]) -> int:
    """Each participant gets a trial set of his or her own, with a negative number, that nobody is given."""
    if not names:
        raise InputError(f"{file} names pictures, and those of the study have no names")
    (judgments,) = load_judgments(str(file), names).values()
    triplets, odd = column(judgments, "triplet"), column(judgments, ODD)
    known = PARTICIPANT in judgments.column_names
    people = np.array(arrow_column(judgments, PARTICIPANT).to_pylist() if known else [file.stem] * len(judgments))
    times = known_times(judgments, RT) if RT in judgments.column_names else np.full(len(judgments), np.nan)
    numbers = {
        tuple(sorted(images)): (number, images)
        for number, *images in connection.execute("SELECT number, first, second, third FROM triplets")
    }
    added = 0
    for person in dict.fromkeys(people.tolist()):
        rows = np.flatnonzero(people == person)
        lowest = connection.execute("SELECT MIN(0, MIN(trial_set)) FROM trials").fetchone()[0]
        participant = _add_participant(connection, f"{file.name}: {person}", lowest - 1, len(rows), {})
        if participant is None:
            continue
        added += 1
        for place, row in enumerate(rows):
            images = triplets[row].tolist()
            number, listed = numbers.get(tuple(sorted(images)), (None, images))
            if number is None:
                number = len(numbers)
                numbers[tuple(sorted(images))] = (number, images)
                values = (number, *images, TRIAL, None, None)
                connection.execute("INSERT INTO triplets VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            shown = "".join(str(listed.index(image)) for image in images)
            connection.execute("INSERT INTO trials VALUES (?, ?, ?, ?)", (lowest - 1, place, number, shown))
            seconds = None if np.isnan(times[row]) else float(times[row])
            values = (participant, place, int(odd[row]), seconds, time.time())
            connection.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", values)
    return added
