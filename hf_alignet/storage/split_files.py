"""Splits of a dataset as parquet files, in row groups that a reader can hold."""

import contextlib
from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset, Image
from datasets.table import embed_table_storage
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.storage.whole_files import UNFINISHED
from hf_alignet.storage.whole_folders import publish, unfinished

SHARD_BYTES = 500_000_000
GROUP_BYTES, GROUP_ROWS = 50_000_000, 100_000  # of a row group, which a reader loads into memory
GROUP_IMAGES = 100


def write_dataset(
    dataset: Dataset, folder: Path, split: str, progress: bool = True, shard_bytes: int = SHARD_BYTES
) -> None:
    """Writes a split as parquet files `{split}-00000-of-00002.parquet` and so on, the same bytes each time.

    Pictures that lie in files of their own are put into the parquet files. Each keeps its file name, without folders.

    A file is closed before it holds more than `shard_bytes`, counted before compression. InputError without rows.
    """
    if len(dataset) == 0:
        raise InputError(f"the split {split!r} of {folder.name} has no rows")
    columns = [name for name, feature in dataset.features.items() if isinstance(feature, Image)]
    for name in columns:
        dataset = dataset.cast_column(name, Image())
    row_bytes = dataset.data.nbytes // max(1, len(dataset.data)) + 1
    step = GROUP_IMAGES if columns else max(1, min(GROUP_ROWS, GROUP_BYTES // row_bytes))
    schema, arrow = dataset.features.arrow_schema, dataset.with_format("arrow")
    size, number = 0, 0
    with unfinished(folder, f".{split}{UNFINISHED}") as inside:
        with contextlib.ExitStack() as opened:
            for start in tqdm(range(0, len(dataset), step), f"{folder.name}, {split}", disable=not progress):
                table = embed_table_storage(arrow[start : start + step].cast(schema))
                if number == 0 or size + table.nbytes > shard_bytes:
                    opened.close()  # the file before
                    file = pq.ParquetWriter(inside / f"{number:05d}", schema, compression="zstd")
                    writer = opened.enter_context(file)
                    size, number = 0, number + 1
                writer.write_table(table)
                size += table.nbytes
        for index in range(number):
            publish(inside / f"{index:05d}", folder / f"{split}-{index:05d}-of-{number:05d}.parquet")
