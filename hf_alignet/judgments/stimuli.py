"""The list of stimuli that published judgments number, where they come with one (configuration `stimulus_names`)."""

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


def renumber(splits: DatasetDict, path_or_id: str, names: Sequence[str]) -> DatasetDict:
    """Judgments whose rows are those of `names`, in whatever order their dataset has the stimuli.

    Args:
        splits: of the dataset.
        path_or_id: where it is from. One without a list of stimuli is left as it is.
        names: of the images; folders and suffixes do not matter.

    Raises:
        InputError: stimuli that are judged are not among the names (lists the first).
    """
    if not has_config(path_or_id, CONFIG):
        return splits
    stimuli = load_splits(path_or_id, CONFIG)["train"][NAME][:]
    row_of = {Path(name).stem: row for row, name in enumerate(names)} | {name: row for row, name in enumerate(names)}
    rows = np.array([row_of.get(name, row_of.get(Path(name).stem, -1)) for name in stimuli])
    renumbered = {}
    for split, judgments in splits.items():
        triplets = column(judgments, TRIPLET)
        check_rows(triplets, len(stimuli), f"{split!r} judgments")
        unknown = np.unique(triplets[rows[triplets] < 0])
        if len(unknown):
            listed = ", ".join(repr(stimuli[row]) for row in unknown[:SHOWN])
            raise InputError(
                f"{len(unknown)} stimuli that {path_or_id} judges are not among the {len(names)} images: {listed}"
            )
        table = judgments.with_format("arrow")[:]
        place = table.schema.get_field_index(TRIPLET)
        cells = lists_of_three(rows[triplets]).cast(table.schema.field(place).type)
        renumbered[split] = Dataset(
            table.set_column(place, table.schema.field(place), pa.chunked_array([cells])), info=judgments.info.copy()
        )
    return DatasetDict(renumbered)
