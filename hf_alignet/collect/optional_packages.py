"""The modules that need the packages of an extra, imported when they are used."""

from importlib import import_module
from types import ModuleType

from hf_alignet.errors import InputError


def web_module(name: str) -> ModuleType:
    """A module of this room that needs the extra `collect`. Raises an InputError if a package is not installed."""
    try:
        return import_module(f"hf_alignet.collect.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("hf_alignet"):
            raise
        raise InputError(
            f'the pages of a study need the package {error.name}: pip install "hf-alignet[collect]"'
        ) from error
