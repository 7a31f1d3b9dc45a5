"""Datasets as parquet files, the same bytes each time, and checksums of them."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset, Image
from datasets.table import embed_table_storage
from tqdm.auto import tqdm

from hf_alignet.errors import InputError

SHARD_BYTES = 500_000_000
GROUP_BYTES, GROUP_ROWS = 50_000_000, 100_000  # of a row group, which a reader takes into memory
GROUP_IMAGES = 100
CHECKSUMS = "SHA256SUMS"


def write_shards(
    dataset: Dataset, folder: Path, split: str, progress: bool = True, shard_bytes: int = SHARD_BYTES
) -> None:
    """Writes a split as `{split}-00000-of-00002.parquet` and so on, pictures that lie in files of their own included.

    Of such a picture its name stays, without the folder.

    Args:
        dataset: the split.
        folder: is made if need be.
        split: its name.
        progress: show a bar.
        shard_bytes: in memory, after which a new file begins.

    Raises:
        InputError: there are no rows.
    """
    if len(dataset) == 0:
        raise InputError(f"the split {split!r} of {folder.name} has no rows")
    folder.mkdir(parents=True, exist_ok=True)
    columns = [name for name, feature in dataset.features.items() if isinstance(feature, Image)]
    for name in columns:
        dataset = dataset.cast_column(name, Image())
    row_bytes = dataset.data.nbytes // max(1, len(dataset.data)) + 1
    step = GROUP_IMAGES if columns else max(1, min(GROUP_ROWS, GROUP_BYTES // row_bytes))
    schema, arrow = dataset.features.arrow_schema, dataset.with_format("arrow")
    files: list[Path] = []
    writer, size = None, 0
    try:
        for start in tqdm(range(0, len(dataset), step), f"{folder.name}, {split}", disable=not progress):
            table = embed_table_storage(arrow[start : start + step].cast(schema))
            if writer is None or size + table.nbytes > shard_bytes:
                if writer is not None:
                    writer.close()
                files.append(folder / f"{split}-{len(files):05d}")
                writer, size = pq.ParquetWriter(files[-1], schema, compression="zstd"), 0
            writer.write_table(table)
            size += table.nbytes
    finally:
        if writer is not None:
            writer.close()
    for file in files:
        file.rename(folder / f"{file.name}-of-{len(files):05d}.parquet")


def write_checksums(directory: Path) -> None:
    """Writes the file that `sha256sum --check` reads, of all files that are there."""
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    lines = []
    for file in files:
        with open(file, "rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        lines.append(f"{digest}  {file.relative_to(directory).as_posix()}\n")
    (directory / CHECKSUMS).write_text("".join(lines), encoding="utf-8")
