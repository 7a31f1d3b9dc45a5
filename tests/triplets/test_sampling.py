"""Which triplets are drawn: exactly those that obey the rule, in an order that looks random and never changes."""

import math
import random
from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from hf_alignet.errors import InputError
from hf_alignet.triplets import TripletSampler
from hf_alignet.triplets.sampling import MAX_TRIPLETS, _pair_at, _permute, _triple_at

SAMPLINGS = ["cluster_boundary", "class_boundary", "within_class", "between_class", "random"]
GROUPS = np.array([3, 0, 3, 7, 0, -1, 3, 7, 3, 0, 5, -2])  # four, three, two and one image; two take no part
EQUALLY = ["cluster_boundary", "class_boundary", "within_class"]


def allowed(sampling, groups) -> set[tuple[int, ...]]:
    """All triplets that obey a rule, in plain words."""
    different = {"cluster_boundary": 2, "class_boundary": 2, "within_class": 1, "between_class": 3}
    images = [image for image in range(len(groups)) if groups[image] >= 0]
    triplets = combinations(images, 3)
    if sampling == "random":
        return set(triplets)
    return {triplet for triplet in triplets if len({int(groups[i]) for i in triplet}) == different[sampling]}


def unordered(triplets) -> list[tuple[int, ...]]:
    return [tuple(sorted(triplet)) for triplet in triplets.tolist()]


def whole(*arguments) -> np.ndarray:
    sampler = TripletSampler(*arguments)
    return sampler.draw(0, sampler.num_triplets)


def odd_column(triplets, groups) -> np.ndarray:
    """Which column holds the image of another group than the two others."""
    a, b, c = groups[triplets].T
    return np.where(a == b, 2, np.where(a == c, 1, 0))


# ---- which


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_whole_order_is_all_that_obey_the_rule(sampling, seed):
    drawn = whole(sampling, GROUPS, False, seed)
    assert drawn.dtype == np.int32 and drawn.shape[1] == 3
    assert len(drawn) == len(allowed(sampling, GROUPS))  # none is there twice
    assert set(unordered(drawn)) == allowed(sampling, GROUPS)


@pytest.mark.parametrize("seed", range(5))
def test_small_random_groups(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(-1, 5, 16)
    for sampling in SAMPLINGS:
        assert sorted(unordered(whole(sampling, groups, False, seed))) == sorted(allowed(sampling, groups))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_rules_hold_in_large_sets(sampling):
    groups = np.random.default_rng(0).integers(-1, 40, 20_000)
    drawn = TripletSampler(sampling, groups).draw(10**6, 10**6 + 5000)
    number = [len(set(row)) for row in groups[drawn].tolist()]
    assert (groups[drawn] >= 0).all()
    assert all(len(set(row)) == 3 for row in drawn.tolist()) and len(set(unordered(drawn))) == 5000
    if sampling != "random":
        assert set(number) == {{"within_class": 1, "between_class": 3}.get(sampling, 2)}


@pytest.mark.parametrize("sampling", EQUALLY)
def test_weighted_equally_every_group_gives_as_many(sampling):
    sampler = TripletSampler(sampling, GROUPS, True, 3)
    drawn = sampler.draw(0, sampler.num_triplets)
    triplets = allowed(sampling, GROUPS)

    def group_of(triplet):  # of the pair, or of all three
        named = GROUPS[list(triplet)].tolist()
        return max(named, key=named.count)

    numbers = {group: sum(group_of(t) == group for t in triplets) for group in (0, 3, 5, 7)}
    numbers = {group: number for group, number in numbers.items() if number}
    assert len(numbers) == (2 if sampling == "within_class" else 3)
    assert sampler.num_triplets == len(numbers) * min(numbers.values())
    assert set(unordered(drawn)) <= triplets and len(set(unordered(drawn))) == len(drawn)
    rounds = [sorted(group_of(t) for t in part) for part in drawn.reshape(-1, len(numbers), 3).tolist()]
    assert rounds == [sorted(numbers)] * min(numbers.values())  # each group once in every round
    orders = {tuple(group_of(t) for t in part) for part in drawn.reshape(-1, len(numbers), 3).tolist()}
    assert len(orders) > 1 or min(numbers.values()) == 1  # not always in the same order


@pytest.mark.parametrize("weight_equally", [False, True])
def test_parts_of_the_order_make_the_whole(weight_equally):
    groups = np.random.default_rng(0).integers(0, 5, 60)
    sampler = TripletSampler("class_boundary", groups, weight_equally, 1)
    expected = sampler.draw(0, 999)
    cuts = [0, 1, 2, 2, 250, 251, 777, 999]
    parts = [sampler.draw(start, stop) for start, stop in zip(cuts, cuts[1:], strict=False)]
    assert len(parts[2]) == 0
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    again = TripletSampler("class_boundary", groups, weight_equally, 1)
    np.testing.assert_array_equal(again.draw(500, 600), expected[500:600])  # without those before
    assert (TripletSampler("class_boundary", groups, weight_equally, 2).draw(0, 999) != expected).any()


FIRST = {
    ("cluster_boundary", False): [[449, 26, 774], [927, 883, 926], [698, 291, 832]],
    ("cluster_boundary", True): [[83, 132, 308], [885, 116, 473], [991, 494, 365]],
    ("within_class", False): [[699, 5, 457], [368, 204, 820], [470, 173, 800]],
    ("between_class", False): [[862, 413, 959], [966, 798, 998], [775, 208, 282]],
    ("random", False): [[495, 353, 417], [201, 91, 449], [80, 13, 329]],
}


@pytest.mark.parametrize(("sampling", "weight_equally"), FIRST)
def test_order_is_the_same_in_every_process_and_version(sampling, weight_equally):
    """A run that goes on after an update would otherwise draw some triplets twice."""
    groups = np.arange(1000) ** 2 % 11
    drawn = TripletSampler(sampling, groups, weight_equally, 42).draw(777, 780)
    assert drawn.tolist() == FIRST[sampling, weight_equally]


def test_names_of_groups_do_not_matter():
    renamed = np.where(GROUPS < 0, GROUPS, GROUPS * 10 + 1)
    np.testing.assert_array_equal(whole("class_boundary", renamed), whole("class_boundary", GROUPS))
    np.testing.assert_array_equal(whole("class_boundary", GROUPS), whole("cluster_boundary", GROUPS))


# ---- how random

TOO_UNLIKELY = 1e-4  # there are hundreds of these tests, each with its fixed seed


def is_uniform(counts, expected=None) -> bool:
    expected = np.full(len(counts), np.sum(counts) / len(counts)) if expected is None else expected
    return chisquare(counts, expected * np.sum(counts) / np.sum(expected)).pvalue > TOO_UNLIKELY


def are_independent(one, other) -> bool:
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)
    return chi2_contingency(table).pvalue > TOO_UNLIKELY


def test_over_seeds_every_order_of_a_tiny_set_is_as_likely():
    orders = list(permutations(combinations(range(4), 3)))
    counts, positions = np.zeros(len(orders)), np.zeros((6, 6))
    shuffles = list(permutations(range(3)))
    for seed in range(6000):
        drawn = whole("random", np.zeros(4, int), False, seed)
        counts[orders.index(tuple(unordered(drawn)))] += 1
        ranks = drawn[:2].argsort(1).tolist()
        positions[shuffles.index(tuple(ranks[0])), shuffles.index(tuple(ranks[1]))] += 1
    assert is_uniform(counts)
    assert is_uniform(positions.ravel())  # the order within the first, and within the second


def test_over_seeds_every_triplet_is_first_as_often():
    triplets = sorted(allowed("class_boundary", GROUPS))
    counts = np.zeros((2, len(triplets)))
    for seed in range(4000):
        for place, triplet in enumerate(unordered(TripletSampler("class_boundary", GROUPS, False, seed).draw(0, 2))):
            counts[place, triplets.index(triplet)] += 1
    assert is_uniform(counts[0]) and is_uniform(counts[1])


@pytest.mark.parametrize("places", [(0, 1), (0, 16), (3, 19), (18, 19)])
def test_over_seeds_every_two_triplets_are_at_two_places_as_often(places):
    triplets = sorted(allowed("random", np.zeros(6)))
    counts = np.zeros((len(triplets), len(triplets)))
    for seed in range(5000):
        sampler = TripletSampler("random", np.zeros(6, int), False, seed)
        two = [triplets.index(unordered(sampler.draw(place, place + 1))[0]) for place in places]
        counts[tuple(two)] += 1
    assert is_uniform(counts[~np.eye(len(triplets), dtype=bool)])


SIZES = np.array([400, 100, 250, 50, 200])
LARGE = np.random.default_rng(5).permutation(np.repeat(np.arange(5), SIZES))
NUMBER = 60_000


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_images_groups_and_positions_are_uniform_over_all_triplets(seed):
    drawn = TripletSampler("class_boundary", LARGE, False, seed).draw(0, NUMBER)
    odd = odd_column(drawn, LARGE)
    pair = LARGE[drawn[np.arange(NUMBER), (odd + 1) % 3]]
    other = LARGE[drawn[np.arange(NUMBER), odd]]
    pairs = SIZES * (SIZES - 1) / 2
    expected = pairs[:, None] * SIZES * (1 - np.eye(5))
    table = np.zeros((5, 5))
    np.add.at(table, (pair, other), 1)
    is_there = expected > 0
    assert is_uniform(table[is_there], expected[is_there])
    share = expected.sum(1) * 2 / SIZES + expected.sum(0) / SIZES  # of an image of each group
    assert is_uniform(np.bincount(drawn.ravel(), minlength=1000), share[LARGE])
    assert is_uniform(np.bincount(odd, minlength=3))
    assert are_independent(odd, pair) and are_independent(odd, other)
    ranks = (drawn.argsort(1) * [9, 3, 1]).sum(1)  # which of six orders
    assert is_uniform(np.unique(ranks, return_counts=True)[1])


@pytest.mark.parametrize("sampling", ["random", "within_class", "between_class"])
def test_images_are_uniform_under_the_other_rules(sampling):
    groups = np.arange(300) % 3  # of one size: every image is as likely
    drawn = TripletSampler(sampling, groups, False, 7).draw(0, 30_000)
    for column in drawn.T:
        assert is_uniform(np.bincount(column, minlength=300))


def test_weighted_equally_images_of_a_group_are_uniform():
    drawn = TripletSampler("class_boundary", LARGE, True, 0).draw(0, 40_000)
    odd = odd_column(drawn, LARGE)
    rows = np.arange(len(drawn))
    pair = np.concatenate([drawn[rows, (odd + 1) % 3], drawn[rows, (odd + 2) % 3]])
    assert np.bincount(LARGE[pair]).tolist() == [16_000] * 5
    for group in range(5):
        assert is_uniform(np.bincount(pair, minlength=1000)[group == LARGE])
        others = np.bincount(drawn[rows, odd][LARGE[pair[: len(rows)]] == group], minlength=1000)
        assert is_uniform(others[group != LARGE])


@pytest.mark.parametrize("start", [0, 2**40, 2**61])
def test_neighbours_in_the_order_have_nothing_to_do_with_each_other(start):
    num_images = 2_900_000
    drawn = TripletSampler("random", np.zeros(num_images, int), False, 4).draw(start, start + NUMBER)
    ascending = np.sort(drawn, axis=1)
    for column in ascending.T:
        bins = np.argsort(np.argsort(column)) * 12 // NUMBER
        for lag in (1, 2, 3, 64, 256):
            assert are_independent(bins[:-lag], bins[lag:])
    orders = np.unique(drawn.argsort(1), axis=0, return_inverse=True)[1].ravel()
    assert are_independent(orders[:-1], orders[1:])
    assert are_independent(orders, ascending[:, 2] * 12 // num_images)
    mean = ascending.mean(0) / num_images
    np.testing.assert_allclose(mean, [0.25, 0.5, 0.75], atol=0.005)


def test_rounds_in_which_groups_take_turns_have_nothing_to_do_with_each_other():
    num_rounds = 20_000
    drawn = TripletSampler("class_boundary", LARGE, True, 1).draw(0, 5 * num_rounds)
    odd = odd_column(drawn, LARGE)
    first = drawn[np.arange(len(drawn)), (odd + 1) % 3]
    turns = LARGE[first].reshape(num_rounds, 5)
    assert are_independent(turns[:-1, 0], turns[1:, 0]) and are_independent(turns[:-1, 0], turns[1:, 4])
    assert is_uniform(np.bincount(turns[:, 0]))
    for group in range(5):
        bins = np.argsort(np.argsort(first[LARGE[first] == group])) * 10 // num_rounds
        assert are_independent(bins[:-1], bins[1:])


def test_first_halves_of_two_orders_share_half():
    halves = []
    for seed in (0, 1):
        sampler = TripletSampler("random", np.zeros(40, int), False, seed)
        halves.append(set(unordered(sampler.draw(0, sampler.num_triplets // 2))))
    assert abs(len(halves[0] & halves[1]) / len(halves[0]) - 0.5) < 0.03


# ---- large numbers


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 1000, 4096])
def test_permutation_takes_every_number_once(size):
    keys = np.random.default_rng(size).integers(2**64, size=(5, 2), dtype=np.uint64) | np.array([1, 0], np.uint64)
    bits = np.uint64(max(8, (size - 1).bit_length()))
    tweaks = [0, 1, 2]
    found = [
        [int(_permute(np.uint64(x), np.uint64(size), bits, keys, np.uint64(tweak))) for x in range(size)]
        for tweak in tweaks
    ]
    assert all(sorted(order) == list(range(size)) for order in found)
    assert size < 4 or len({tuple(order) for order in found}) == len(tweaks)


def large_numbers(of: int, largest: int) -> list[int]:
    """On both sides of C(k, of) for k up to the largest, and anywhere."""
    rng = random.Random(0)
    ks = [*range(of, 60), *(rng.randrange(60, largest) for _ in range(500)), largest - 1, largest]
    bounds = [math.comb(k, of) + shift for k in ks for shift in (-1, 0, 1)]
    return [*bounds, *(rng.randrange(bounds[-1]) for _ in range(500))]


def test_pairs_by_number_are_exact():
    for number in large_numbers(2, 47_000_000):
        i, j = map(int, _pair_at(np.uint64(number)))
        assert 0 <= i < j and math.comb(j, 2) + i == number


def test_triples_by_number_are_exact():
    largest = 3_024_617
    assert math.comb(largest, 3) < MAX_TRIPLETS < math.comb(largest + 1, 3)
    for number in large_numbers(3, largest):
        i, j, k = map(int, _triple_at(np.uint64(number)))
        assert 0 <= i < j < k and math.comb(k, 3) + math.comb(j, 2) + i == number


def test_order_can_be_as_long_as_numbers_allow():
    sampler = TripletSampler("random", np.zeros(3_024_617, int))
    assert 2**61 < sampler.num_triplets == math.comb(3_024_617, 3) < 2**62
    ends = np.concatenate([sampler.draw(0, 500), sampler.draw(sampler.num_triplets - 500, sampler.num_triplets)])
    assert ends.min() >= 0 and ends.max() < 3_024_617 and len(set(unordered(ends))) == 1000


def test_groups_of_many_sizes_have_the_number_of_a_sum():
    groups = np.repeat(np.arange(4), [200_000, 3, 50_000, 1])
    n, sizes = len(groups), [200_000, 3, 50_000, 1]
    boundary = sum(math.comb(size, 2) * (n - size) for size in sizes)
    assert TripletSampler("class_boundary", groups).num_triplets == boundary
    within = sum(math.comb(size, 3) for size in sizes)
    assert TripletSampler("within_class", groups).num_triplets == within
    between = sum(math.prod(three) for three in combinations(sizes, 3))
    assert TripletSampler("between_class", groups).num_triplets == between
    assert TripletSampler("class_boundary", groups, True).num_triplets == 3 * 3 * (n - 3)  # the group of three
    assert TripletSampler("within_class", groups, True).num_triplets == 3 * 1


def test_weighted_equally_orders_end_where_numbers_do():
    num_images = 3_800_000
    groups = np.arange(num_images) % 2
    number = math.comb(num_images // 2, 2) * (num_images // 2)  # of a group; of both it is too many
    assert number < MAX_TRIPLETS < 2 * number
    sampler = TripletSampler("class_boundary", groups, True)
    assert sampler.num_triplets == MAX_TRIPLETS
    last = sampler.draw(MAX_TRIPLETS - 1000, MAX_TRIPLETS)
    assert len(set(unordered(last))) == 1000 and len(np.unique(groups[last].sum(1))) == 2
    with pytest.raises(InputError, match="more than the limit of"):
        TripletSampler("class_boundary", groups)


# ---- what cannot be


@pytest.mark.parametrize(
    ("sampling", "groups", "message"),
    [
        ("cluster_boundary", [0] * 9, "needs images of at least 2 clusters, but the images have 1"),
        ("class_boundary", [4] * 9 + [-1], "needs images of at least 2 classes, but the images have 1"),
        ("between_class", [0, 1, 1, 0], "needs images of at least 3 classes, but the images have 2"),
        ("random", [0, 0], "needs three images, but there are 2"),
        ("random", [-1] * 5, "needs three images, but there are 0"),
        ("within_class", [], "needs three images, but there are 0"),
        ("class_boundary", [0, 1, -1, -1], "needs three images, but there are 2"),
        ("within_class", [0, 0, 1, 1], r"no triplet follows within_class.*the largest has 2"),
        ("class_boundary", [0, 1, 2], r"no triplet follows class_boundary.*the largest has 1"),
        ("clusters", [0, 0, 1], "`sampling` must be one of cluster_boundary, .*got 'clusters'"),
    ],
)
def test_rules_that_nothing_obeys(sampling, groups, message):
    with pytest.raises(InputError, match=message):
        TripletSampler(sampling, np.array(groups, int))


@pytest.mark.parametrize("sampling", ["random", "between_class"])
def test_rules_without_groups_to_weight(sampling):
    with pytest.raises(InputError, match=f"`sampling={sampling}` has no groups: leave out `weight_equally`"):
        TripletSampler(sampling, np.arange(9) % 3, weight_equally=True)


@pytest.mark.parametrize(
    ("sampling", "num_groups", "weight_equally"),
    [("random", 1, False), ("within_class", 1, True), ("class_boundary", 2, False), ("class_boundary", 2, True)],
)
def test_more_triplets_than_can_be_numbered(sampling, num_groups, weight_equally):
    with pytest.raises(InputError, match=r"of 6000000 images are more than the limit of 2\*\*62"):
        TripletSampler(sampling, np.arange(6_000_000) % num_groups, weight_equally)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 21), (21, 21)])
def test_places_outside_the_order(start, stop):
    sampler = TripletSampler("random", np.zeros(6, int))
    with pytest.raises(IndexError, match=f"no part {start} to {stop} of 20 triplets"):
        sampler.draw(start, stop)
    assert sampler.draw(20, 20).shape == (0, 3)


def test_groups_in_turn_may_have_more_triplets_together_than_can_be_numbered():
    groups = np.repeat(np.arange(8, dtype=np.int8), 800_000)
    sampler = TripletSampler("cluster_boundary", groups, weight_equally=True)
    assert sampler.num_triplets == 2**62 < 8 * math.comb(800_000, 2) * 5_600_000
    drawn = np.sort(groups[sampler.draw(0, 80)], axis=1)
    assert (np.diff(drawn, axis=1) > 0).sum(1).tolist() == [1] * 80
    with pytest.raises(InputError, match="more than the limit of"):
        TripletSampler("cluster_boundary", groups)
