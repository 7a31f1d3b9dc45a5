"""Participants without the names that a platform gave them: with the id of a worker one can find the person."""

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict

from hf_alignet.judgments.judgment_dataset import PARTICIPANT
from hf_alignet.judgments.rows import arrow_column


def anonymous(splits: DatasetDict) -> tuple[DatasetDict, bool]:
    """The same judgments, with numbers instead of the names of participants; and whether names were replaced.

    n participants whose names are the numbers from 0 to n - 1 keep them. Otherwise they get these numbers in their
    order of appearance in the splits, which have the same columns.
    """
    if PARTICIPANT not in next(iter(splits.values())).column_names:
        return splits, False
    everyone = pa.concat_arrays([arrow_column(data, PARTICIPANT) for data in splits.values()]).dictionary_encode()
    numbers = pa.array(np.arange(len(everyone.dictionary)).astype(str))
    if set(everyone.dictionary.to_pylist()) == set(numbers.to_pylist()):
        return splits, False
    coded = pa.DictionaryArray.from_arrays(everyone.indices, numbers).cast(pa.string())
    replaced, start = {}, 0
    for name, data in splits.items():
        table = data.with_format("arrow")[:]
        column = table.schema.get_field_index(PARTICIPANT)
        part = coded.slice(start, len(table))
        replaced[name] = Dataset(table.set_column(column, table.schema.field(column), part), info=data.info.copy())
        start += len(table)
    return DatasetDict(replaced), True
