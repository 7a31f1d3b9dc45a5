"""Reads the files of Levels, in any of their forms, as one table of trials with the same columns."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from hf_alignet.errors import InputError
from hf_alignet.judgments.judgment_dataset import LEVEL, PARTICIPANT, RT
from hf_alignet.judgments.text_table import read_header, read_table

IMAGES = ("image1", "image2", "image3")
CHOICE, KIND, CATCH_CORRECT = "choice", "kind", "catch_correct"
FIELDS = {
    PARTICIPANT: ("subject_id", "participant", "participant_id"),
    "image1": ("image1Path", "image1", "image_1"),
    "image2": ("image2Path", "image2", "image_2"),
    "image3": ("image3Path", "image3", "image_3"),
    CHOICE: ("selected_image", "odd_one_out"),
    RT: ("rt", "response_time"),
    KIND: ("exp_trial_type",),
    LEVEL: ("triplet_type", "triplet_class", "level"),
    CATCH_CORRECT: ("catch_trial_correct",),
}
OPTIONAL = (LEVEL, CATCH_CORRECT)
NO_ANSWER = "No image selected"
SESSION = "session"


def read_trials(path: Path) -> pd.DataFrame:
    """One row an event: participant, three images and the chosen one by file name, time, kind, and level if given.

    Args:
        path: a folder of `.json` files, or a `.json`, `.csv` or `.tsv` file.

    Raises:
        InputError: the file cannot be read, or a field is missing (lists those that are there).
    """
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if not files:
            raise InputError(f"the folder {path} holds no .json files of Levels; name the folder of the raw results")
        return _conform(pd.concat([_read_json(file) for file in files], ignore_index=True), str(path))
    if path.suffix == ".json":
        return _conform(_read_json(path), path.name)
    if path.suffix in (".pkl", ".pickle"):
        raise InputError(
            f"{path} is a pickle, which could run any program when it is read; give the folder of the raw results, or "
            "the same trials as a table (pandas.DataFrame.to_csv)"
        )
    if path.suffix in (".csv", ".tsv"):
        header, delimiter = read_header(path)
        return _conform(read_table(path, delimiter, header, {}).to_pandas(), path.name)
    raise InputError(f"{path} is no file of Levels: a folder of .json files, or a .json, .csv or .tsv file")


def _read_json(path: Path) -> pd.DataFrame:
    """The events of a session that are trials: a JSON list, or one object a line."""
    try:
        text = path.read_text(encoding="utf-8").strip()
        events = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} as JSON: {error}") from error
    if not all(isinstance(event, Mapping) for event in events):
        raise InputError(f"{path} does not hold one object an event")
    return pd.DataFrame(events).assign(**{SESSION: path.stem})


def _conform(events: pd.DataFrame, source: str) -> pd.DataFrame:
    """The columns of `FIELDS`, whatever spelling of their names is used; rows without images or participant go."""
    spelled = {_plain(name): name for name in reversed(list(events.columns))}
    found = {
        field: next((spelled[_plain(name)] for name in known if _plain(name) in spelled), None)
        for field, known in FIELDS.items()
    }
    missing = [field for field, name in found.items() if name is None and field not in OPTIONAL]
    if missing:
        wanted = "; ".join(f"{field} ({' or '.join(FIELDS[field])})" for field in missing)
        raise InputError(f"{source} lacks {wanted}; it has {_listed(events.columns)}")
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


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _listed(names: Iterable[str], most: int = 30) -> str:
    names = [str(name) for name in names if name != SESSION]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
