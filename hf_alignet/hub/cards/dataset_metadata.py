"""The metadata of a dataset's card: `load_dataset` and the Hub's viewer read the parts, columns and sizes from it."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasets import DatasetInfo, Features
from datasets.info import DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from huggingface_hub import DatasetCardData

from hf_alignet.hub.rendering import TAGS

SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}
LARGER = "10M<n<100M"
TAIL = 65_536  # bytes at the end of a file, which hold its last rows and its statistics


def dataset_metadata(
    directory: Path,
    splits: Mapping[str, Sequence[str]],
    tags: Sequence[str],
    **fields: Any,
) -> DatasetCardData:
    """The metadata of the card of parquet files `{config}/{split}-00000-of-00002.parquet`.

    Args:
        directory: of the dataset.
        splits: the splits of each configuration. The first configuration is the default.
        tags: added to those of the package.
        **fields: other fields of `DatasetCardData`.
    """
    configs, infos = [], {}
    for number, (config, names) in enumerate(splits.items()):
        files = {split: sorted((directory / config).glob(f"{split}-*-of-*.parquet")) for split in names}
        # With the number of shards, so that files of an earlier upload are not read too
        data_files = [
            {"split": split, "path": f"{config}/{split}-*-{shards[0].name.split('-', 2)[2]}"}
            for split, shards in files.items()
        ]
        default = {"default": True} if number == 0 else {}
        digest = _digest(directory / config)
        configs.append({"config_name": config, **default, "description": digest, "data_files": data_files})
        infos[config] = _info(files)
    rows = sum(split.num_examples for split in infos[next(iter(splits))].splits.values())
    size = next((size for limit, size in SIZES.items() if rows < limit), LARGER)
    tags = list(dict.fromkeys([*TAGS, *tags]))
    data = DatasetCardData(configs=configs, tags=tags, size_categories=size, **fields)
    DatasetInfosDict(infos).to_dataset_card_data(data)
    return data


def _info(files: Mapping[str, Sequence[Path]]) -> DatasetInfo:
    splits = SplitDict()
    for split, shards in files.items():
        groups = [pq.read_metadata(file) for file in shards]
        num_bytes = sum(group.row_group(i).total_byte_size for group in groups for i in range(group.num_row_groups))
        splits.add(SplitInfo(split, num_bytes, sum(group.num_rows for group in groups)))
    every = [file for shards in files.values() for file in shards]
    return DatasetInfo(
        features=Features.from_arrow_schema(pq.read_schema(every[0])),
        splits=splits,
        download_size=sum(file.stat().st_size for file in every),
        dataset_size=sum(split.num_bytes for split in splits.values()),
    )


def _digest(folder: Path) -> str:
    """A short text that changes with the files: `datasets` caches a local directory by its name and metadata.

    Without it, a directory that was made again would open as it was before.
    """
    digest = blake2b(digest_size=8)
    for file in sorted(folder.iterdir()):
        size = file.stat().st_size
        with open(file, "rb") as opened:
            opened.seek(max(0, size - TAIL))
            digest.update(f"{file.name} {size}".encode() + opened.read())
    return f"files {digest.hexdigest()}"
