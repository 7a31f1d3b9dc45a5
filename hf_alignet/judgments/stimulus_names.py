"""The list of stimuli of published judgments (configuration `stimulus_names`), and the rows of stimuli by name."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import DatasetDict

from hf_alignet.errors import InputError
from hf_alignet.judgments.rows import TRIPLET, check_rows, column, with_triplets
from hf_alignet.sources import has_config, load_splits

CONFIG, NAME = "stimulus_names", "name"
SHOWN = 5  # names in a message
UNKNOWN, AMBIGUOUS = -1, -2  # instead of a row number


def renumber(splits: DatasetDict, path_or_id: str, names: Sequence[str]) -> DatasetDict:
    """Judgments that point to the rows of `names`, whatever the order of the stimuli in their dataset `path_or_id`.

    Folders and suffixes do not matter if the names differ without them. Without a list of stimuli in the dataset, the
    judgments stay as they are. Raises an InputError if judged stimuli match none or several of the names.
    """
    if not has_config(path_or_id, CONFIG):
        return splits
    stimuli = load_splits(path_or_id, CONFIG)["train"][NAME][:]
    rows = np.arange(len(stimuli)) if stimuli == list(names) else rows_by_name(stimuli, names)
    renumbered = {}
    for split, judgments in splits.items():
        triplets = column(judgments, TRIPLET)
        check_rows(triplets, len(stimuli), f"{split!r} judgments")
        is_judged = np.isin(np.arange(len(stimuli)), triplets)
        check_matched(np.where(is_judged, rows, 0), stimuli, path_or_id, f"{len(names)} images")
        renumbered[split] = with_triplets(judgments, rows[triplets])
    return DatasetDict(renumbered)


def check_matched(rows: np.ndarray, stimuli: Sequence[str], source: str, images: str) -> None:
    """Raises an InputError that names stimuli of `source` whose row is `UNKNOWN` or `AMBIGUOUS` among the images."""
    for kind, what in ((UNKNOWN, "are not among"), (AMBIGUOUS, "do not have one clear match among")):
        bad = np.flatnonzero(rows == kind)
        if len(bad):
            listed = ", ".join(repr(stimuli[row]) for row in bad[:SHOWN])
            raise InputError(f"{len(bad)} stimuli of {source} {what} the {images}: {listed}")


def rows_by_name(stimuli: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The row among `names` of each stimulus: by the whole name, or else by the name without folders and suffix.

    Returns:
        (n,) int64, `UNKNOWN` if no name matches the stimulus, `AMBIGUOUS` if several names or stimuli match.
    """
    rows = np.full(len(stimuli), UNKNOWN)
    stems = [Path(name).stem for name in stimuli], [Path(name).stem for name in names]
    for wanted, given in ((stimuli, names), stems):
        row_of = {name: row for row, name in enumerate(given)}
        times_wanted, times_given = Counter(wanted), Counter(given)
        for i, name in enumerate(wanted):
            if rows[i] == UNKNOWN and name in row_of:
                rows[i] = row_of[name] if times_wanted[name] == times_given[name] == 1 else AMBIGUOUS
    return rows
