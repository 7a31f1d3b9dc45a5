"""The card of judgments, of a similarity matrix or of pictures, from `hub_cards/dataset.md.jinja`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets

import hf_alignet
from hf_alignet.hub.cards.dataset_metadata import dataset_metadata
from hf_alignet.hub.rendering import render_card

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
