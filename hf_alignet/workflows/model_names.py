"""How results call models: by the folder or the Hub id, or, where two are alike, as they were given."""

from collections.abc import Sequence
from typing import Any

from hf_alignet.errors import InputError
from hf_alignet.sources import public_name


def listed(given: Any) -> list[Any]:
    """One thing, or several, as a list."""
    return list(given) if isinstance(given, list | tuple) else [given]


def model_names(paths: Sequence[str], naming: str) -> list[str]:
    """The name of each model. Raises an InputError, which begins with `naming`, for a path that is there twice."""
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise InputError(f"{naming} {twice!r} twice")
    names = [public_name(path) for path in paths]
    return [path if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]


def folder_of_name(name: str) -> str:
    """A name as that of a folder."""
    return name.strip("/.").replace("/", "--") or "model"
