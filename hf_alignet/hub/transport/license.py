"""Reads the licence from a card."""

import logging
from pathlib import Path

import yaml
from huggingface_hub import ModelCard, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import HTTPError

from hf_alignet.sources import local_path, split_revision

FIELDS = ("license", "license_name", "license_link")

logger = logging.getLogger(__name__)


def stated_license(path_or_id: str, ask_hub: bool) -> dict[str, str | list[str]]:
    """The licence in the metadata of a card, of a directory or a Hub id: those of `FIELDS` that it has, or nothing.

    `ask_hub` downloads the card if it is not in the cache.
    """
    directory, (name, revision) = local_path(path_or_id), split_revision(path_or_id)
    try:
        if directory is not None:
            file = directory / "README.md"
        else:
            cached = try_to_load_from_cache(name, "README.md", revision=revision)
            if not isinstance(cached, str) and not ask_hub:
                return {}
            file = Path(cached if isinstance(cached, str) else hf_hub_download(name, "README.md", revision=revision))
        data = ModelCard.load(file).data.to_dict() if file.exists() else {}
    except (HTTPError, OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        logger.warning("cannot read the card of %s, so the licence is left out: %s", path_or_id, error)
        return {}
    stated = {field: data[field] for field in FIELDS if data.get(field)}
    if "license" not in stated:
        return {}
    link = str(stated.get("license_link", ""))
    if link and not link.startswith("http"):  # a file in that repository
        del stated["license_link"]
    return stated
