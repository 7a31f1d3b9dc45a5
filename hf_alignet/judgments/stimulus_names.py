"""The list of stimuli that published judgments number, where they come with one (configuration `stimulus_names`)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict

from hf_alignet.errors import InputError
from hf_alignet.judgments.rows import TRIPLET, check_rows, column, lists_of_three
from hf_alignet.sources import has_config, load_splits

CONFIG, NAME = "stimulus_names", "name"
SHOWN = 5  # names in a message
UNKNOWN, AMBIGUOUS = -1, -2  # in place of a row


def renumber(splits: DatasetDict, path_or_id: str, names: Sequence[str]) -> DatasetDict:
    """Judgments whose rows are those of `names`, in whatever order their dataset has the stimuli.

    Args:
        splits: of the dataset.
        path_or_id: where it is from. One without a list of stimuli is left as it is.
        names: of the images; folders and suffixes do not matter where names differ without them.

    Raises:
        InputError: stimuli that are judged are not among the names, or could be several (lists the first).
    """
    if not has_config(path_or_id, CONFIG):
        return splits
    stimuli = load_splits(path_or_id, CONFIG)["train"][NAME][:]
    rows = np.arange(len(stimuli)) if stimuli == list(names) else rows_by_name(stimuli, names)
    renumbered = {}
    for split, judgments in splits.items():
        triplets = column(judgments, TRIPLET)
        check_rows(triplets, len(stimuli), f"{split!r} judgments")
        for kind, what in ((UNKNOWN, "are not among"), (AMBIGUOUS, "cannot be told by their names among")):
            judged = np.unique(triplets[rows[triplets] == kind])
            if len(judged):
                listed = ", ".join(repr(stimuli[row]) for row in judged[:SHOWN])
                raise InputError(
                    f"{len(judged)} stimuli that {path_or_id} judges {what} the {len(names)} images: {listed}"
                )
        table = judgments.with_format("arrow")[:]
        place = table.schema.get_field_index(TRIPLET)
        cells = lists_of_three(rows[triplets]).cast(table.schema.field(place).type)
        renumbered[split] = Dataset(
            table.set_column(place, table.schema.field(place), pa.chunked_array([cells])), info=judgments.info.copy()
        )
    return DatasetDict(renumbered)


def rows_by_name(stimuli: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The row among `names` of each stimulus: by its whole name, or else by that without folders and suffix.

    Returns:
        (n,) int64, `UNKNOWN` where no name is the stimulus's, `AMBIGUOUS` where several could be.
    """
    rows = np.full(len(stimuli), UNKNOWN)
    for wanted, given in ((stimuli, names), (_stems(stimuli), _stems(names))):
        row_of = {name: row for row, name in enumerate(given)}
        times_wanted, times_given = Counter(wanted), Counter(given)
        for i, name in enumerate(wanted):
            if rows[i] == UNKNOWN and name in row_of:
                rows[i] = row_of[name] if times_wanted[name] == times_given[name] == 1 else AMBIGUOUS
    return rows


def _stems(names: Sequence[str]) -> list[str]:
    return [Path(name).stem for name in names]
