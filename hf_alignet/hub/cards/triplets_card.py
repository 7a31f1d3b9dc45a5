"""The card of a triplet dataset, from `hub_cards/triplets.md.jinja`."""

from pathlib import Path
from typing import Any

from hf_alignet.hub.cards.dataset_card import dataset_metadata
from hf_alignet.hub.rendering import render_card
from hf_alignet.sources import hub_id
from hf_alignet.storage import write_text


def write_triplets_card(
    directory: Path, info: dict[str, Any], num_rows: dict[str, int], repo_id: str | None = None
) -> None:
    """Writes `README.md` beside the folder `triplets`, and the folders `clusters` and `images` if they exist.

    `info` says how the dataset was made, without any local path. `num_rows` counts the triplets of each split.
    """
    folders = [name for name in ("triplets", "clusters", "images") if (directory / name).is_dir()]
    images_id = hub_id(info.get("images"))
    data = dataset_metadata(
        directory,
        {name: list(num_rows) if name == "triplets" else ["train"] for name in folders},
        ["triplets"],
        task_categories=["feature-extraction" if info.get("input") == "text" else "image-feature-extraction"],
        license="cc-by-4.0" if info.get("official") else None,
        source_datasets=[images_id] if images_id else None,
    )
    card = render_card(
        "triplets.md.jinja",
        data,
        info=info,
        num_rows=num_rows,
        repo_id=repo_id,
        folders=folders,
        images_id=images_id,
        has_elbow=(directory / "elbow.png").exists(),
    )
    write_text(directory / "README.md", str(card))
