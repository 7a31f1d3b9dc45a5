"""Facts about the making of a result: versions of packages, and commits of models and datasets from the Hub."""

import platform
import re
from importlib.metadata import version
from pathlib import Path

from datasets import Dataset
from huggingface_hub import try_to_load_from_cache

from hf_alignet import __version__
from hf_alignet.sources import hub_id, local_path, split_revision

PACKAGES = ("torch", "transformers", "datasets", "peft", "accelerate", "numpy")
COMMIT = re.compile("[0-9a-f]{40}")


def versions() -> dict[str, str]:
    """The versions of Python, of this package and of the packages that it works with."""
    packages = {package: version(package) for package in PACKAGES}
    return {"hf_alignet": __version__, **packages, "python": platform.python_version()}


def model_commit(path_or_id: str) -> str | None:
    """The commit of a model or adapter that was loaded from the Hub; None for a local one."""
    name, revision = split_revision(path_or_id)
    if local_path(path_or_id) is not None or hub_id(name) is None:
        return None
    found = (try_to_load_from_cache(name, file, revision=revision) for file in ("adapter_config.json", "config.json"))
    return next((_commit(file) for file in found if isinstance(file, str)), None)


def dataset_commit(dataset: Dataset) -> str | None:
    """The commit of a dataset that was loaded from the Hub; None for a local one."""
    return _commit(dataset.cache_files[0]["filename"]) if dataset.cache_files else None


def _commit(file: str) -> str | None:
    """The commit of a file in a cache, which has a folder for each commit."""
    folder = Path(file).parent.name
    return folder if COMMIT.fullmatch(folder) else None
