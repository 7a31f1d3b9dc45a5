"""The stimuli of several benchmarks: opened once, told apart, and embedded by one model after another."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_alignet.encoder import AffineTransform, Encoder
from hf_alignet.errors import InputError
from hf_alignet.judgments.stimuli import Stimuli
from hf_alignet.workflows.model_names import folder_of_name


def open_stimuli(
    images: list[Any], features: list[Any], names: list[Any], number: int, where: tuple[str | None, str]
) -> list[Stimuli]:
    """The stimuli of each benchmark; benchmarks with the same sources get the same object.

    `where` are the column and the split of pictures.
    """
    column, split = where
    for parameter, given in (("images", images), ("features", features), ("object_names", names)):
        if len(given) not in (0, 1, number):
            raise InputError(
                f"there are {len(given)} `{parameter}` for {number} benchmarks: give one for all, or one for each in "
                "their order"
            )
    each = [given * number if len(given) == 1 else given or [None] * number for given in (images, features, names)]
    found: dict[tuple[object, ...], Stimuli] = {}
    for source in zip(*each, strict=True):
        key = _key(source)
        if key not in found:
            opened = Stimuli.open(source[0], source[1], source[2], column, split)
            if opened.name in {stimuli.name for stimuli in found.values()}:
                opened.name += f"-{len(found) + 1}"
            found[key] = opened
    return [found[_key(source)] for source in zip(*each, strict=True)]


def distinct_sets(every: Iterable[Stimuli]) -> list[Stimuli]:
    """The sets of which each has other images; those with other images get other names."""
    found: dict[str, Stimuli] = {}
    for stimuli in every:
        while stimuli.name in found and not _are_same(stimuli, found[stimuli.name]):
            stimuli.name += "'"
        found.setdefault(stimuli.name, stimuli)
    return list(found.values())


def _are_same(one: Stimuli, other: Stimuli) -> bool:
    if one.images is None or other.images is None:
        return one is other
    return one.images._fingerprint == other.images._fingerprint


def _key(source: tuple[Any, ...]) -> tuple[object, ...]:
    return tuple(part if isinstance(part, str) else id(part) for part in source)


def embed_sets(
    encoder: Encoder | None,
    sets: Sequence[Stimuli],
    transform: AffineTransform | None,
    directory: Path | None,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Embeddings (n, d) of every set by its name; the directory keeps what the encoder gives."""
    if encoder is not None:
        encoder.eval()
    found = {}
    for stimuli in sets:
        folder = directory / folder_of_name(stimuli.name) if directory is not None else None
        embeddings = stimuli.embed(encoder, folder, **options)
        found[stimuli.name] = embeddings if transform is None else transform(embeddings)
    return found
