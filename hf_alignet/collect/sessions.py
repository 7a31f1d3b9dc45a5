"""What happens to a participant: gets a trial set, opens a tab, answers, comes back, drops out.

Each function is one step in the database, which is the only truth about a session. Answers come in the order of the
trials, each once: the same answer sent again changes nothing and is acknowledged again. The last tab that was opened
has the session, and another one is told so. A trial set whose participant has not answered for long goes to the next
participant; what the first one did stays in the database, and does not count.
"""

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_alignet.collect.study_database import PRACTICE

RUNNING, FINISHED, REPLACED = "running", "finished", "replaced"
# What identifies a person's participation on Prolific
PLATFORM = ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")
UNKNOWN, TAKEN_OVER, OUT_OF_ORDER, FULL, TOOK_PART = "unknown", "taken_over", "out_of_order", "full", "took_part"


class Refused(Exception):
    """A step that is not possible; its text is one of the words above, or a state."""


@dataclass(frozen=True)
class Participant:
    """One row of the table of participants."""

    number: int
    trial_set: int
    state: str
    next: int  # place of the first trial without an answer
    tab: str | None


def hash_token(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).digest()


def find_participant(connection: sqlite3.Connection, token: str) -> Participant:
    """The participant with a token. Raises Refused if there is none."""
    row = connection.execute(
        "SELECT number, trial_set, state, next, tab FROM participants WHERE token_hash = ?", (hash_token(token),)
    ).fetchone()
    if row is None:
        raise Refused(UNKNOWN)
    return Participant(*row)


def start_session(
    connection: sqlite3.Connection,
    identifiers: Mapping[str, str],
    demographics: Mapping[str, str],
    now: float,
    abandoned_before: float,
) -> str:
    """Gives a new participant a trial set; returns a new token, which nobody can guess.

    Somebody whom the platform sends again, with the same three identifiers, goes on where he or she was, with a new
    token.

    Args:
        connection: in a transaction.
        identifiers: of the platform, by name; none without a platform.
        demographics: answers to the optional questions.
        now: seconds since 1970.
        abandoned_before: trial sets without an answer since then go to others.

    Raises:
        Refused: all trial sets are in work or done, or this person took part already.
    """
    token = secrets.token_urlsafe(32)
    again = _same_person(connection, identifiers)
    if again is not None:
        known, state, has_all = again
        if state != RUNNING or not has_all:
            raise Refused(TOOK_PART)
        connection.execute("UPDATE participants SET token_hash = ? WHERE number = ?", (hash_token(token), known))
        return token
    trial_set = _free_set(connection, abandoned_before)
    row = (hash_token(token), trial_set, RUNNING, now, now, json.dumps(dict(demographics)))
    number = connection.execute(
        "INSERT INTO participants (token_hash, trial_set, state, started, seen, demographics) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        row,
    ).lastrowid
    rows = [(number, name, value) for name, value in identifiers.items()]
    connection.executemany("INSERT INTO identifiers VALUES (?, ?, ?)", rows)
    return token


def _same_person(connection: sqlite3.Connection, identifiers: Mapping[str, str]) -> tuple[int, str, bool] | None:
    """Number and state of the participant with this identifier, and whether all identifiers are the same."""
    if PLATFORM[0] not in identifiers:
        return None
    found = connection.execute(
        "SELECT number, state FROM participants JOIN identifiers ON number = participant "
        "WHERE name = ? AND value = ? ORDER BY number DESC",
        (PLATFORM[0], identifiers[PLATFORM[0]]),
    ).fetchone()
    if found is None:
        return None
    known = dict(connection.execute("SELECT name, value FROM identifiers WHERE participant = ?", found[:1]))
    return *found, set(PLATFORM) <= identifiers.keys() and known == dict(identifiers)


def _free_set(connection: sqlite3.Connection, abandoned_before: float) -> int:
    """The first trial set that nobody has, or else the one that was abandoned first."""
    free = connection.execute(
        "SELECT MIN(trial_set) FROM (SELECT DISTINCT trial_set FROM trials WHERE trial_set >= 0 EXCEPT "
        "SELECT trial_set FROM participants WHERE state != 'replaced' AND file IS NULL)"
    ).fetchone()[0]
    if free is not None:
        return free
    abandoned = connection.execute(
        "SELECT number, trial_set FROM participants WHERE state = 'running' AND seen < ? AND file IS NULL "
        "ORDER BY seen LIMIT 1",
        (abandoned_before,),
    ).fetchone()
    if abandoned is None:
        raise Refused(FULL)
    connection.execute("UPDATE participants SET state = 'replaced' WHERE number = ?", abandoned[:1])
    return abandoned[1]


def open_tab(connection: sqlite3.Connection, token: str, tab: str, now: float) -> Participant:
    """Gives the session to a tab. Raises Refused if there is no such session."""
    found = find_participant(connection, token)
    connection.execute("UPDATE participants SET tab = ?, seen = ? WHERE number = ?", (tab, now, found.number))
    return found


def store_answer(
    connection: sqlite3.Connection,
    token: str,
    tab: str,
    place: int,
    odd: int | None,
    rt: float | None,
    num_places: int,
    now: float,
) -> int:
    """Stores the answer to one trial, once; returns the place of the next trial.

    Args:
        connection: in a transaction.
        token: of the session.
        tab: that sends it.
        place: of the trial, from 0.
        odd: chosen place on the screen, 0 to 2; None for none.
        rt: seconds; None without an answer.
        num_places: number of trials of a session.
        now: seconds since 1970.

    Raises:
        Refused: there is no such session, another tab has it, it is not in work, or trials before are missing.
    """
    found = find_participant(connection, token)
    if place < found.next:
        return found.next  # sent again, because the acknowledgement was lost
    if found.state != RUNNING:
        raise Refused(found.state)
    if found.tab != tab:
        raise Refused(TAKEN_OVER)
    if place != found.next or place >= num_places:
        raise Refused(OUT_OF_ORDER)
    connection.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?)", (found.number, place, odd, rt, now))
    is_last = place + 1 == num_places
    connection.execute(
        "UPDATE participants SET next = ?, seen = ?, state = ?, finished = ? WHERE number = ?",
        (place + 1, now, FINISHED if is_last else RUNNING, now if is_last else None, found.number),
    )
    return place + 1


def trials_of(connection: sqlite3.Connection, trial_set: int) -> list[dict[str, Any]]:
    """What a browser needs of each trial: three pictures as shown, and in practice the place of the right answer.

    Nothing tells a catch trial from the others.
    """
    rows = connection.execute(
        "SELECT first, second, third, shown, kind, odd FROM trials JOIN triplets ON triplet = number "
        "WHERE trial_set = ? ORDER BY place",
        (trial_set,),
    )
    return [_trial(row[:3], row[3], row[5] if row[4] == PRACTICE else None) for row in rows]


def _trial(images: Sequence[int], shown: str, odd: int | None) -> dict[str, Any]:
    trial: dict[str, Any] = {"pictures": [images[int(position)] for position in shown]}
    if odd is not None:
        trial["right"] = shown.index(str(odd))
    return trial
