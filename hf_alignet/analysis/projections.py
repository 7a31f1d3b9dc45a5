"""Embeddings on a page: principal components, TriMap, and places after alignment turned to those before.

TriMap (Amid & Warmuth 2019, arXiv 1910.00204) is the paper's other projection. It needs the package `trimap`.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.ranges import Count, checked
from hf_alignet.similarity import check_finite

Places = dict[str, dict[str, np.ndarray]]  # (m, 2), by the words for two axes, and by model

NUM_COMPONENTS = 32
BLOCK = 8192  # rows at once
TRIMAP_MISSING = "TriMap is left out: `pip install hf-alignet[analysis]` brings the package trimap"
FEWEST_FOR_TRIMAP = 100  # each image is compared with 12 near and several far ones


class Components(NamedTuple):
    """The first k principal components of n images."""

    places: np.ndarray  # (n, k) float32
    shares: np.ndarray  # (k,) of the variance, descending


@checked
def principal_components(embeddings: np.ndarray, number: Count = NUM_COMPONENTS) -> Components:
    """The first `number` principal components, or as many as there are.

    They come from the covariance, summed in double precision over blocks of rows, so that a memory map will do. The
    direction of each is the one in which its largest weight is positive.

    Args:
        embeddings: (n, d).
        number: k.

    Raises:
        InputError: there are fewer than two images, or an embedding is not finite.
    """
    if len(embeddings) < 2:
        raise InputError(f"principal components need two images or more, got {len(embeddings)}")
    check_finite(embeddings)
    mean = np.mean(embeddings, 0, dtype=np.float64)
    covariance = np.zeros((embeddings.shape[1],) * 2)
    for start in range(0, len(embeddings), BLOCK):
        block = embeddings[start : start + BLOCK] - mean
        covariance += block.T @ block
    values, vectors = np.linalg.eigh(covariance)
    number = min(number, len(values), len(embeddings) - 1)
    kept, total = np.maximum(values[::-1][:number], 0), np.trace(covariance)
    vectors = vectors[:, ::-1][:, :number]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(number)])
    places = np.empty((len(embeddings), number), np.float32)
    for start in range(0, len(embeddings), BLOCK):
        places[start : start + BLOCK] = (embeddings[start : start + BLOCK] - mean) @ vectors
    return Components(places, kept / total if total > 0 else np.zeros(number))


def unit_places(places: np.ndarray) -> np.ndarray:
    """Places (n, 2) moved to mean 0 and scaled to a root mean square of 1; all 0 if they are the same."""
    moved = np.asarray(places, np.float64) - np.mean(places, 0, dtype=np.float64)
    size = np.sqrt((moved**2).sum(1).mean())
    return moved / size if size > 0 else moved


def turned_to(reference: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Places (n, 2) rotated, or mirrored, to lie as near to a reference (n, 2) as they can: Procrustes' problem.

    Both are moved and scaled by `unit_places` first, so that distances on one page keep their proportions.
    """
    target, moved = unit_places(reference), unit_places(places)
    left, _, right = np.linalg.svd(moved.T @ target)
    return moved @ (left @ right)


def component_places(found: Mapping[str, Components], rows: np.ndarray) -> Places:
    """Places of some images by the first two components, and by the next two where every model has so many.

    Args:
        found: components of all images, by model.
        rows: (m,) of the images.
    """
    return {
        f"components {first + 1} and {first + 2}": {
            name: of.places[rows, first : first + 2] for name, of in found.items()
        }
        for first in (0, 2)
        if all(of.places.shape[1] >= first + 2 for of in found.values())
    }


def comparable_places(raw: Places, reference: Mapping[str, str]) -> Places:
    """Places of each model turned to those of its reference, by default the first model; see `turned_to`."""
    return {
        axes: {
            name: turned_to(of_models[reference.get(name, next(iter(of_models)))], of_models[name])
            for name in of_models
        }
        for axes, of_models in raw.items()
    }


def has_trimap() -> bool:
    """Whether the package `trimap` is installed."""
    return find_spec("trimap") is not None


def trimap_places(embeddings: np.ndarray) -> np.ndarray:
    """Places (n, 2) by TriMap, with its defaults. It takes no seed; two runs differ slightly.

    Raises:
        InputError: `trimap` is not installed, or there are fewer than 100 images.
    """
    if not has_trimap():
        raise InputError(TRIMAP_MISSING)
    if len(embeddings) < FEWEST_FOR_TRIMAP:
        raise InputError(f"TriMap needs {FEWEST_FOR_TRIMAP} images or more, got {len(embeddings)}")
    trimap = import_module("trimap")  # here, since it compiles for a quarter of a minute
    return np.asarray(trimap.TRIMAP(verbose=False).fit_transform(np.array(embeddings, np.float32)), np.float64)
