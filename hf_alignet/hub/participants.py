"""Participants without the names that a platform knows them by: a worker's id there leads to a person."""

import re

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict

from hf_alignet.judgments.dataset import PARTICIPANT
from hf_alignet.judgments.rows import arrow_column

NUMBER = re.compile(r"\d{1,6}")  # which a study gives; platforms' ids are longer, or have letters


def anonymous(splits: DatasetDict) -> tuple[DatasetDict, bool]:
    """The same judgments, with numbers in place of participants' names, the same in all splits.

    Args:
        splits: of judgments, with the same columns.

    Returns:
        The splits as they are, where participants are numbers of up to six digits already; else with numbers in the
        order in which participants come. And whether they were replaced.
    """
    if PARTICIPANT not in next(iter(splits.values())).column_names:
        return splits, False
    everyone = pa.concat_arrays([arrow_column(data, PARTICIPANT) for data in splits.values()]).dictionary_encode()
    if all(NUMBER.fullmatch(name) for name in everyone.dictionary.to_pylist()):
        return splits, False
    numbers = pa.array(np.arange(len(everyone.dictionary)).astype(str))
    coded = pa.DictionaryArray.from_arrays(everyone.indices, numbers).cast(pa.string())
    replaced, start = {}, 0
    for name, data in splits.items():
        table = data.with_format("arrow")[:]
        column = table.schema.get_field_index(PARTICIPANT)
        part = coded.slice(start, len(table))
        replaced[name] = Dataset(table.set_column(column, table.schema.field(column), part), info=data.info.copy())
        start += len(table)
    return DatasetDict(replaced), True
