"""The database of a study: one SQLite file in WAL mode, with the plan, the participants and their answers.

Participants are numbers. What a platform calls them lies in a table of its own, `identifiers`. Of a participant's
secret token only the SHA-256 is stored.
"""

import secrets
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from hf_alignet.collect.planned_triplets import NO_LEVEL, NO_ODD, StudyTriplets
from hf_alignet.collect.study_settings import StudySettings
from hf_alignet.collect.trial_order import PlannedTrial
from hf_alignet.errors import InputError

DATABASE_FILE, PICTURES = "study.sqlite3", "pictures"
VERSION = 1  # of the tables
STUDY_ID = "id"  # tells studies apart that one browser has seen
TRIAL, CATCH, PRACTICE = "trial", "catch", "practice"
TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE pictures (number INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE triplets (
    number INTEGER PRIMARY KEY, first INTEGER NOT NULL, second INTEGER NOT NULL, third INTEGER NOT NULL,
    kind TEXT NOT NULL, level TEXT, odd INTEGER
);
CREATE TABLE trials (
    trial_set INTEGER NOT NULL, place INTEGER NOT NULL, triplet INTEGER NOT NULL REFERENCES triplets,
    shown TEXT NOT NULL, PRIMARY KEY (trial_set, place)
) WITHOUT ROWID;
CREATE TABLE participants (
    number INTEGER PRIMARY KEY, token_hash BLOB UNIQUE, trial_set INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'finished', 'replaced')),
    next INTEGER NOT NULL DEFAULT 0, tab TEXT, started REAL NOT NULL, seen REAL NOT NULL, finished REAL,
    demographics TEXT NOT NULL, file TEXT UNIQUE
);
CREATE UNIQUE INDEX one_holder ON participants (trial_set) WHERE state != 'replaced' AND file IS NULL;
CREATE TABLE identifiers (
    participant INTEGER NOT NULL REFERENCES participants, name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (participant, name)
) WITHOUT ROWID;
CREATE INDEX by_identifier ON identifiers (name, value);
CREATE TABLE answers (
    participant INTEGER NOT NULL REFERENCES participants, place INTEGER NOT NULL, odd INTEGER, rt REAL,
    stored REAL NOT NULL, PRIMARY KEY (participant, place)
) WITHOUT ROWID;
"""


def picture_file(folder: Path, number: int) -> Path:
    """The file of a picture of a study: the name of the file is its number in the database."""
    return folder / PICTURES / f"{number:06d}.webp"


def create_database(
    folder: Path,
    settings: StudySettings,
    names: Sequence[str] | None,
    triplets: dict[str, StudyTriplets],
    trial_sets: Sequence[Sequence[PlannedTrial]],
) -> None:
    """Writes a new database.

    Args:
        folder: of the study; it must have no database.
        settings: whose fingerprint is kept.
        names: of all images, in the order of their rows; None without names.
        triplets: by kind, `trial`, `catch`, `practice`; their numbers count from the first of them to the last.
        trial_sets: the trials of each participant.
    """
    connection = sqlite3.connect(folder / DATABASE_FILE)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(TABLES)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        facts = [(part, settings.fingerprint(part)) for part in ("plan", "protocol")]
        _insert(connection, "facts", [*facts, (STUDY_ID, secrets.token_hex(8))])
        if names is not None:
            _insert(connection, "pictures", list(enumerate(names)))
        _insert(connection, "triplets", _triplet_rows(triplets))
        rows = [
            (number, place, trial.triplet, trial.shown)
            for number, trials in enumerate(trial_sets)
            for place, trial in enumerate(trials)
        ]
        _insert(connection, "trials", rows)
        connection.commit()
    finally:
        connection.close()


def _insert(connection: sqlite3.Connection, table: str, rows: Sequence[tuple]) -> None:
    if rows:
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def _triplet_rows(triplets: dict[str, StudyTriplets]) -> list[tuple]:
    rows: list[tuple] = []
    for kind, some in triplets.items():
        for images, level, odd in zip(some.triplets.tolist(), some.levels, some.odd.tolist(), strict=True):
            known = None if level == NO_LEVEL else level
            rows.append((len(rows), *images, kind, known, None if odd == NO_ODD else odd))
    return rows


def connect(folder: Path) -> sqlite3.Connection:
    """A connection to the database of a study. Its transactions are begun by hand.

    Raises:
        InputError: there is none, it is damaged, or it is of another version.
    """
    file = folder / DATABASE_FILE
    if not file.is_file():
        raise InputError(f"{folder} holds no study: make one by hf-alignet collect init {folder}")
    try:
        connection = sqlite3.connect(file, isolation_level=None, timeout=30, check_same_thread=False)
        connection.execute("PRAGMA synchronous = FULL")  # a committed answer also outlives a loss of power
        connection.execute("PRAGMA foreign_keys = ON")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise InputError(f"cannot read {file}: {error}; restore it from a backup") from error
    if version != VERSION:
        connection.close()
        raise InputError(
            f"{file} is a database of version {version}, and this hf_alignet reads version {VERSION}: use the "
            "hf_alignet that made it, or plan the study again in another folder"
        )
    return connection


def study_id(connection: sqlite3.Connection) -> str:
    """A random name, made with the database."""
    return connection.execute("SELECT value FROM facts WHERE name = ?", (STUDY_ID,)).fetchone()[0]


def num_answers(connection: sqlite3.Connection) -> int:
    """How many answers there are, of anybody."""
    return connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0]


def open_study(folder: Path) -> tuple[StudySettings, sqlite3.Connection]:
    """The settings and the database of a study.

    Raises:
        InputError: there is no study, or its plan was changed, or its times after the first answer.
    """
    connection = connect(folder)
    settings = StudySettings.read(folder)
    known = dict(connection.execute("SELECT name, value FROM facts"))
    if settings.fingerprint("plan") != known.get("plan"):
        raise InputError(
            f"the plan in {folder / 'study.yaml'} was changed, and the database has the one before: undo the change, "
            "or plan another study by collect init in another folder"
        )
    if settings.fingerprint("protocol") != known.get("protocol"):
        if num_answers(connection):
            raise InputError(
                f"the protocol in {folder / 'study.yaml'} was changed after {num_answers(connection)} answers, which "
                "would mix two experiments: undo the change, or plan another study in another folder"
            )
        connection.execute("UPDATE facts SET value = ? WHERE name = 'protocol'", (settings.fingerprint("protocol"),))
    return settings, connection
