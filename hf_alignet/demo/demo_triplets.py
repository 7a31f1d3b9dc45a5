"""Triplets of the demo: noisy labels for the training, and labels without noise for the tests.

A drawing style and a fifth of the concepts are held out from the training. Three kinds of triplets test three levels:

- coarse: two pictures of one group (such as Food & Drink) but different subgroups, the third of another group;
- fine: two concepts of one subgroup, the third of another subgroup of the same group;
- boundary: one concept in two styles, the third another concept of its subgroup in a third style.
"""

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict

from hf_alignet.demo.raters import SimulatedRaters
from hf_alignet.triplets.triplet_dataset import triplets_from_arrays

HELD_OUT_STYLE = "fxemoji"
HELD_OUT_SHARE = 0.2  # of the concepts of each subgroup
NUM_BLOCKS = 1500
TRIPLETS_PER_BLOCK = 512
NUM_TEST = 2000


def demo_triplets(images: Dataset, seed: int = 0) -> DatasetDict:
    """The splits `train`, `coarse`, `fine` and `boundary`, and `coarse_new_concepts` and so on of held-out concepts.

    The rows of `train` come in blocks of 512 triplets of 48 pictures. So a batch of one block embeds few pictures and
    learns from many triplets, if it is read in order (`train_sampling_strategy: sequential`).

    Args:
        images: from `demo_images`.
        seed: seed of the split, the random draws and the raters.
    """
    rng = np.random.default_rng(seed)
    table = images.select_columns(["concept", "subgroup", "group", "style"]).to_pandas()
    is_new = table["concept"].isin(_held_out_concepts(table, rng))
    raters = SimulatedRaters(images, seed)
    hierarchy = _hierarchy(table[~is_new & (table["style"] != HELD_OUT_STYLE)])
    train = np.concatenate([_block(hierarchy, rng) for _ in range(NUM_BLOCKS)])
    splits = {"train": triplets_from_arrays(train, raters.similarities(train))}
    for suffix, tested in (("", table[~is_new]), ("_new_concepts", table[is_new])):
        for level in ("coarse", "fine", "boundary"):
            triplets = np.array(_many(level, tested, rng))
            splits[level + suffix] = triplets_from_arrays(triplets, raters.similarities(triplets, noisy=False))
    return DatasetDict(splits)


def _held_out_concepts(table: pd.DataFrame, rng: np.random.Generator) -> list[str]:
    """A share of each subgroup, so that the tests use all parts of the hierarchy."""
    held_out: list[str] = []
    for _, concepts in table.groupby("subgroup")["concept"].unique().items():
        held_out += rng.choice(concepts, round(HELD_OUT_SHARE * len(concepts)), replace=False).tolist()
    return held_out


def _hierarchy(seen: pd.DataFrame) -> list[list[list[np.ndarray]]]:
    """The rows of each concept, by group and subgroup."""
    return [
        [[c.index.to_numpy() for _, c in subgroup.groupby("concept")] for _, subgroup in group.groupby("subgroup")]
        for _, group in seen.groupby("group")
    ]


def _block(hierarchy: list[list[list[np.ndarray]]], rng: np.random.Generator) -> np.ndarray:
    """Triplets of 4 groups x 2 subgroups x 3 concepts x 2 styles.

    Two thirds are random, and mostly test groups. One third is within a subgroup, and tests its concepts.
    """
    subgroups = [s for group in _some(hierarchy, 4, rng) for s in _some(group, 2, rng)]
    pictures = [np.concatenate([rng.permutation(rows)[:2] for rows in _some(s, 3, rng)]) for s in subgroups]
    subgroup = np.repeat(np.arange(len(pictures)), [len(p) for p in pictures])
    chosen = rng.integers(len(pictures), size=TRIPLETS_PER_BLOCK)
    is_random = np.arange(TRIPLETS_PER_BLOCK) % 3 > 0
    allowed = is_random[:, None] | (subgroup == chosen[:, None])
    positions = np.argsort(rng.random(allowed.shape) + ~allowed, axis=1)[:, :3]
    return np.concatenate(pictures)[positions]


def _some(items: list, number: int, rng: np.random.Generator) -> list:
    return [items[i] for i in rng.permutation(len(items))[:number]]


def _many(level: str, tested: pd.DataFrame, rng: np.random.Generator) -> list[list[int]]:
    """Draws rows of triplets, in random positions. If the first picture has no partners, it draws another one."""
    codes = {name: pd.factorize(tested[name])[0] for name in tested.columns}  # compared faster than words
    is_held_out = (tested["style"] == HELD_OUT_STYLE).to_numpy()
    triplets: list[list[int]] = []
    while len(triplets) < NUM_TEST:
        drawn = _draw(level, codes, is_held_out, rng)
        if drawn is not None:
            triplets.append(rng.permutation(tested.index.to_numpy()[drawn]).tolist())
    return triplets


def _draw(
    level: str, columns: dict[str, np.ndarray], is_held_out: np.ndarray, rng: np.random.Generator
) -> list[int] | None:
    """Positions of (similar, similar, odd) pictures, or None if the first picture has no partners."""
    first = int(rng.choice(np.flatnonzero(is_held_out)))
    same = {name: values == values[first] for name, values in columns.items()}
    if level == "coarse":
        second = _pick(is_held_out & same["group"] & ~same["subgroup"], rng)
        third = _pick(is_held_out & ~same["group"], rng)
    elif level == "fine":
        second = _pick(is_held_out & same["subgroup"] & ~same["concept"], rng)
        third = _pick(is_held_out & same["group"] & ~same["subgroup"], rng)
    else:
        second = _pick(~is_held_out & same["concept"], rng)
        if second is None:
            return None
        is_third_style = ~is_held_out & (columns["style"] != columns["style"][second])
        third = _pick(is_third_style & same["subgroup"] & ~same["concept"], rng)
    return None if second is None or third is None else [first, second, third]


def _pick(is_candidate: np.ndarray, rng: np.random.Generator) -> int | None:
    candidates = np.flatnonzero(is_candidate)
    return int(rng.choice(candidates)) if len(candidates) else None
