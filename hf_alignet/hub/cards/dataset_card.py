"""The card of judgments, of a similarity matrix or of pictures, from `hub_cards/dataset.md.jinja`.

`load_dataset` and the Hub's viewer read the parts, columns and sizes of a dataset from the metadata of its card.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
from datasets.info import DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from huggingface_hub import DatasetCardData

import hf_alignet
from hf_alignet.hub.rendering import TAGS, render_card

SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}
LARGER = "10M<n<100M"
TAIL = 65_536  # bytes at the end of a file, which hold its last rows and its statistics
TAG = {"judgments": "odd-one-out", "aggregated": "odd-one-out", "matrix": "similarity", "images": "images"}


def write_dataset_card(
    directory: Path,
    configs: Mapping[str, datasets.DatasetDict],
    facts: Mapping[str, Any],
    repo_id: str,
    license: str | None = None,
    source: str | None = None,
    command: str | None = None,
) -> None:
    """Writes `README.md` beside the folders of parquet files.

    Args:
        directory: of the dataset.
        configs: the splits of each configuration in the directory, the default one first.
        facts: about the data, without any local path.
        repo_id: where the dataset will be on the Hub.
        license: see `publish`, as for `source` and `command`.
    """
    splits = {config: list(parts) for config, parts in configs.items()}
    first = {config: next(iter(parts.values())) for config, parts in configs.items()}
    card = render_card(
        "dataset.md.jinja",
        dataset_metadata(directory, splits, [TAG[next(iter(splits))]], license=license),
        facts=facts,
        repo_id=repo_id,
        splits=splits,
        features={config: {name: _kind(f) for name, f in part.features.items()} for config, part in first.items()},
        num_images=sum(map(len, configs["images"].values())) if "images" in configs else None,
        source=source,
        license=license,
        made_by={"command": command, "hf_alignet": hf_alignet.__version__, "datasets": datasets.__version__},
    )
    card.save(directory / "README.md")


def _kind(feature: object) -> str:
    if isinstance(feature, datasets.ClassLabel):
        return f"one of {len(feature.names)} classes"
    return "a picture" if isinstance(feature, datasets.Image) else str(getattr(feature, "dtype", "a list"))


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
    tags = list(dict.fromkeys([*TAGS, *tags]))
    data = DatasetCardData(configs=configs, tags=tags, size_categories=size_category(rows), **fields)
    DatasetInfosDict(infos).to_dataset_card_data(data)
    return data


def size_category(rows: int) -> str:
    """The name on the Hub for datasets with this number of rows."""
    return next((size for limit, size in SIZES.items() if rows < limit), LARGER)


def _info(files: Mapping[str, Sequence[Path]]) -> datasets.DatasetInfo:
    splits = SplitDict()
    for split, shards in files.items():
        groups = [pq.read_metadata(file) for file in shards]
        num_bytes = sum(group.row_group(i).total_byte_size for group in groups for i in range(group.num_row_groups))
        splits.add(SplitInfo(split, num_bytes, sum(group.num_rows for group in groups)))
    every = [file for shards in files.values() for file in shards]
    return datasets.DatasetInfo(
        features=datasets.Features.from_arrow_schema(pq.read_schema(every[0])),
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
