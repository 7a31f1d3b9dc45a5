"""Triplets of the demo: noisy ratings to learn from, and clean held-out ones in a drawing style never seen in
alignment.

Held out from alignment are a drawing style and a fifth of the concepts. Three kinds of triplet test three levels:

- coarse: two pictures of one group (say, Food & Drink) but different subgroups, the third of another group;
- fine: two concepts of one subgroup, the third of another subgroup of the same group;
- boundary: one concept in two styles, the third another concept of its subgroup in a third style.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict

from hf_alignet.demo.raters import SimulatedRaters
from hf_alignet.triplets.triplet_dataset import triplets_from_arrays

T = TypeVar("T")
Draw = Callable[[dict[str, np.ndarray], np.random.Generator], list[int] | None]

HELD_OUT_STYLE = "fxemoji"
HELD_OUT_SHARE = 0.2  # of the concepts of each subgroup
NUM_BLOCKS = 1500
TRIPLETS_PER_BLOCK = 512
NUM_TEST = 2000


def demo_triplets(images: Dataset, seed: int = 0) -> DatasetDict:
    """Splits `train`, and `coarse`, `fine` and `boundary`, each of seen concepts and, `_new_concepts`, of unseen ones.

    Consecutive training rows come in blocks that share 48 pictures, so that a batch of one block embeds few pictures
    and learns from many triplets; read them in order (`train_sampling_strategy: sequential`). Test rows are labelled
    by the hierarchy itself, without the raters' noise.

    Args:
        images: from `demo_images`.
        seed: of the split, the draws and the raters.
    """
    rng = np.random.default_rng(seed)
    table = images.select_columns(["concept", "subgroup", "group", "style"]).to_pandas()
    is_new = table["concept"].isin(_held_out_concepts(table, rng))
    raters = SimulatedRaters(images, seed)
    hierarchy = _hierarchy(table[~is_new & (table["style"] != HELD_OUT_STYLE)])
    train = np.concatenate([_block(hierarchy, rng) for _ in range(NUM_BLOCKS)])
    splits = {"train": triplets_from_arrays(train, raters.similarities(train))}
    for suffix, tested in (("", table[~is_new]), ("_new_concepts", table[is_new])):
        for level, draw in (("coarse", _coarse), ("fine", _fine), ("boundary", _boundary)):
            triplets = np.array(_many(draw, tested, rng))
            splits[level + suffix] = triplets_from_arrays(triplets, raters.similarities(triplets, noisy=False))
    return DatasetDict(splits)


def _held_out_concepts(table: pd.DataFrame, rng: np.random.Generator) -> list[str]:
    """A share of each subgroup, so that every part of the hierarchy is tested."""
    held_out: list[str] = []
    for _, concepts in table.groupby("subgroup")["concept"].unique().items():
        held_out += rng.choice(concepts, round(HELD_OUT_SHARE * len(concepts)), replace=False).tolist()
    return held_out


def _hierarchy(seen: pd.DataFrame) -> list[list[list[np.ndarray]]]:
    """Rows of every concept, of every subgroup, of every group."""
    return [
        [[c.index.to_numpy() for _, c in subgroup.groupby("concept")] for _, subgroup in group.groupby("subgroup")]
        for _, group in seen.groupby("group")
    ]


def _block(hierarchy: list[list[list[np.ndarray]]], rng: np.random.Generator) -> np.ndarray:
    """Triplets among 4 groups x 2 subgroups x 3 concepts x 2 styles.

    Two thirds are random, and so ask about groups most often; a third lie in one subgroup, to keep its concepts apart.
    """
    subgroups = [s for group in _some(hierarchy, 4, rng) for s in _some(group, 2, rng)]
    pictures = [np.concatenate([rng.permutation(rows)[:2] for rows in _some(s, 3, rng)]) for s in subgroups]
    subgroup = np.repeat(np.arange(len(pictures)), [len(p) for p in pictures])
    chosen = rng.integers(len(pictures), size=TRIPLETS_PER_BLOCK)
    is_random = np.arange(TRIPLETS_PER_BLOCK) % 3 > 0
    allowed = is_random[:, None] | (subgroup == chosen[:, None])
    positions = np.argsort(rng.random(allowed.shape) + ~allowed, axis=1)[:, :3]
    return np.concatenate(pictures)[positions]


def _some(items: list[T], number: int, rng: np.random.Generator) -> list[T]:
    return [items[i] for i in rng.permutation(len(items))[:number]]


def _many(draw: Draw, tested: pd.DataFrame, rng: np.random.Generator) -> list[list[int]]:
    """Draws of (similar, similar, odd) rows, positions shuffled; a first picture without partners is drawn again."""
    columns = {name: tested[name].to_numpy() for name in tested.columns}
    triplets: list[list[int]] = []
    while len(triplets) < NUM_TEST:
        drawn = draw(columns, rng)
        if drawn is not None:
            triplets.append(rng.permutation(tested.index.to_numpy()[drawn]).tolist())
    return triplets


def _coarse(columns: dict[str, np.ndarray], rng: np.random.Generator) -> list[int] | None:
    is_style = columns["style"] == HELD_OUT_STYLE
    first = _pick(is_style, rng)
    same = columns["group"] == columns["group"][first]
    second = _pick(is_style & same & (columns["subgroup"] != columns["subgroup"][first]), rng)
    return _all(first, second, _pick(is_style & ~same, rng))


def _fine(columns: dict[str, np.ndarray], rng: np.random.Generator) -> list[int] | None:
    is_style = columns["style"] == HELD_OUT_STYLE
    first = _pick(is_style, rng)
    same = columns["subgroup"] == columns["subgroup"][first]
    second = _pick(is_style & same & (columns["concept"] != columns["concept"][first]), rng)
    return _all(first, second, _pick(is_style & ~same & (columns["group"] == columns["group"][first]), rng))


def _boundary(columns: dict[str, np.ndarray], rng: np.random.Generator) -> list[int] | None:
    first = _pick(columns["style"] == HELD_OUT_STYLE, rng)
    same = columns["concept"] == columns["concept"][first]
    second = _pick(same & (columns["style"] != HELD_OUT_STYLE), rng)
    if second is None:
        return None
    is_third_style = (columns["style"] != HELD_OUT_STYLE) & (columns["style"] != columns["style"][second])
    return _all(
        first, second, _pick(is_third_style & ~same & (columns["subgroup"] == columns["subgroup"][first]), rng)
    )


def _pick(is_candidate: np.ndarray, rng: np.random.Generator) -> int | None:
    candidates = np.flatnonzero(is_candidate)
    return int(rng.choice(candidates)) if len(candidates) else None


def _all(*picked: int | None) -> list[int] | None:
    return None if None in picked else list(picked)  # type: ignore[arg-type]
