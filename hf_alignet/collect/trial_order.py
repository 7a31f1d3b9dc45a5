"""Who sees which triplet, when, and where on the screen.

Participants share blocks of triplets, as in Levels: each block of `trials` triplets is the work of `repeats`
participants, so that response times of people with the same triplets can be compared. Two Latin squares balance what
differs between them. A block has as many parts as it has participants, and each part comes first, second, … for one of
them. And each picture of a triplet is at the left, in the middle and at the right equally often, as far as the number
of participants allows.
"""

from dataclasses import dataclass

import numpy as np

from hf_alignet.errors import InputError

# Which picture of a triplet is at the left, in the middle, at the right: the first three are a Latin square, all six
# of them are every order
ORDERS = ("012", "120", "201", "021", "210", "102")


@dataclass(frozen=True)
class PlannedTrial:
    """A screen with three pictures.

    Attributes:
        triplet: number of the triplet in the study.
        shown: which picture of the triplet is at each place, such as `201`.
    """

    triplet: int
    shown: str


def check_shares(num_participants: int, repeats: int) -> None:
    """Raises an InputError if participants cannot share blocks of triplets evenly."""
    if repeats > num_participants:
        raise InputError(
            f"`repeats` is {repeats}, but there are only {num_participants} trial sets, and nobody judges a triplet "
            "twice: give more `num_participants`, or fewer repeats"
        )
    if num_participants % repeats:
        low = num_participants - num_participants % repeats
        raise InputError(
            f"{num_participants} participants cannot judge each triplet {repeats} times: give `num_participants` "
            f"{low} or {low + repeats}"
        )


def blocks_of(levels: np.ndarray, num_blocks: int, rng: np.random.Generator) -> np.ndarray:
    """Deals triplets to blocks of equal size, so that each block has the levels in equal shares.

    Args:
        levels: (t,) any values, one a triplet; t is a multiple of the number of blocks.
        num_blocks: b.
        rng: of the order.

    Returns:
        (b, t / b) numbers of triplets.
    """
    mixed = rng.permutation(len(levels))
    by_level = mixed[np.argsort(levels[mixed], kind="stable")]
    blocks = by_level.reshape(-1, num_blocks).T  # neighbours of one level go to different blocks
    return rng.permuted(blocks, axis=1)


def trial_sets_of(
    blocks: np.ndarray, repeats: int, catch: np.ndarray, practice: np.ndarray, rng: np.random.Generator
) -> list[list[PlannedTrial]]:
    """The trials of each participant: practice, then the block with catch trials spread over it.

    Args:
        blocks: (b, trials) numbers of triplets.
        repeats: participants of a block.
        catch: (c,) numbers of the triplets of catch trials, which all participants see.
        practice: (p,) numbers of the triplets of the practice.
        rng: of the orders.
    """
    sets = []
    for block in blocks:
        parts = np.array_split(block, repeats)
        first_order = rng.integers(len(ORDERS), size=len(block))
        order_of = dict(zip(block.tolist(), first_order.tolist(), strict=True))
        for sharer in range(repeats):
            in_order = [rng.permutation(parts[(sharer + time) % repeats]) for time in range(repeats)]
            trials = [
                PlannedTrial(number, _turned(order_of[number], sharer)) for number in np.concatenate(in_order).tolist()
            ]
            _spread(trials, [_in_any_order(number, rng) for number in rng.permutation(catch).tolist()], rng)
            sets.append([_in_any_order(number, rng) for number in practice.tolist()] + trials)
    return sets


def _turned(order: int, turns: int) -> str:
    """The next orders of the same Latin square, and after three of them those of the other one."""
    square = (order // 3 + turns // 3) % 2
    return ORDERS[3 * square + (order + turns) % 3]


def _in_any_order(number: int, rng: np.random.Generator) -> PlannedTrial:
    return PlannedTrial(number, ORDERS[rng.integers(len(ORDERS))])


def _spread(trials: list[PlannedTrial], others: list[PlannedTrial], rng: np.random.Generator) -> None:
    """Puts each of the other trials at a random place of its own part of the trials."""
    ends = np.linspace(0, len(trials), len(others) + 1).astype(int)
    for i in reversed(range(len(others))):
        trials.insert(int(rng.integers(ends[i], max(ends[i] + 1, ends[i + 1]))), others[i])
