"""Texts in place of pictures: a dataset with a column `text` of strings. All else is as for an image dataset."""

from collections.abc import Sequence

import pyarrow.compute as pc
from datasets import Dataset, Value

from hf_alignet.errors import InputError

TEXT_COLUMN = "text"
STRINGS = (Value("string"), Value("large_string"))


def as_texts(texts: Dataset | Sequence[str], column: str | None = None) -> Dataset:
    """The texts as a dataset with a column `text`.

    Args:
        texts: a dataset with a column of strings, or a list of strings.
        column: name of that column; by default `text`.

    Raises:
        InputError: there is no such column (lists the columns), or it holds something else, or a text is missing or
            empty (names the row).
    """
    if not isinstance(texts, Dataset):
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise InputError("texts must be a Dataset with a column 'text', or a list of strings")
        texts = Dataset.from_dict({TEXT_COLUMN: list(texts)})
    name = column or TEXT_COLUMN
    if texts.features.get(name) not in STRINGS:
        there = ", ".join(texts.column_names)
        raise InputError(f"a text model needs texts in a column {name!r} of strings; there are the columns {there}")
    cells = texts.with_format("arrow", columns=[name])[:].column(name)
    is_empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(cells), ""), True)
    if pc.any(is_empty).as_py():
        row = pc.index(is_empty, True).as_py()
        raise InputError(f"text row {row} is empty, so that nothing can be embedded: fill or drop it")
    if name == TEXT_COLUMN:
        return texts
    if TEXT_COLUMN in texts.column_names:
        texts = texts.remove_columns(TEXT_COLUMN)
    return texts.rename_column(name, TEXT_COLUMN)
