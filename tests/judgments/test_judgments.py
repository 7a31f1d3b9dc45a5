"""The schema: made from arrays, checked, aggregated as a naive loop does, whatever the order within triplets."""

import itertools
import logging
import math

import numpy as np
import pytest
from datasets import Dataset, concatenate_datasets

from hf_alignet.errors import InputError
from hf_alignet.judgments import FEATURES, Repeats, aggregate, check_judgments, choice_counts, make_judgments
from hf_alignet.judgments.rows import LARGEST_CUBE, column, distinct_triplets, select_rows

NUM_IMAGES = 7


@pytest.fixture
def table() -> dict[str, np.ndarray]:
    """400 choices of 9 people on the 35 triplets of 7 images, in any order of the images, some without a time."""
    rng = np.random.default_rng(0)
    triplets = np.array(list(itertools.combinations(range(NUM_IMAGES), 3)))
    which = rng.integers(len(triplets), size=400)
    rt = rng.lognormal(1, 0.5, 400).astype(np.float32)
    rt[rng.random(400) < 0.1] = np.nan
    return {
        "triplets": rng.permuted(triplets[which], axis=1),
        "odd": rng.integers(3, size=400),
        "participant": np.array([f"p{i}" for i in rng.integers(9, size=400)]),
        "rt": rt,
        "level": np.array(["coarse", "fine", "boundary"])[which % 3],
        "is_catch": rng.random(400) < 0.05,
    }


def shuffled_within(table: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(3), (len(table["odd"]), 1)), axis=1)
    odd = (order == table["odd"][:, None]).argmax(1)
    return table | {"triplets": np.take_along_axis(table["triplets"], order, 1), "odd": odd}


def test_columns_are_those_known_in_their_types(table):
    judgments = make_judgments(**table)
    assert judgments.features == {name: FEATURES[name] for name in ("triplet", "odd", *list(table)[2:])}
    np.testing.assert_array_equal(column(judgments, "triplet"), table["triplets"])
    np.testing.assert_array_equal(column(judgments, "odd"), table["odd"])
    assert judgments["participant"][:] == table["participant"].tolist()
    assert judgments[0]["rt"] == table["rt"][0]
    assert list(make_judgments(table["triplets"], table["odd"]).features) == ["triplet", "odd"]
    numbered = make_judgments(table["triplets"][:2], table["odd"][:2], participant=np.array([12, 7]))
    assert numbered["participant"][:] == ["12", "7"]


@pytest.mark.parametrize("bad", [{"triplets": np.zeros((400, 2))}, {"odd": np.zeros(399)}, {"rt": np.ones(3)}])
def test_other_shapes_are_refused(table, bad):
    with pytest.raises(ValueError, match="expected"):
        make_judgments(**(table | bad))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"odd": np.full(400, 256)}, "the column 'odd' is not"),
        ({"triplets": np.full((400, 3), 2**32)}, "the last possible row is 2147483647"),
        ({"rt": np.full(400, "fast")}, "the column 'rt' is not"),
    ],
)
def test_values_that_do_not_fit_their_column_are_refused(table, bad, message):
    with pytest.raises(InputError, match=message):
        make_judgments(**(table | bad))


def naive_aggregate(table: dict[str, np.ndarray]) -> dict[tuple[int, ...], dict]:
    rows: dict[tuple[int, ...], dict] = {}
    for i, triplet in enumerate(table["triplets"].tolist()):
        if table["is_catch"][i]:
            continue
        row = rows.setdefault(tuple(sorted(triplet)), {"counts": [0, 0, 0], "logs": [], "level": table["level"][i]})
        row["counts"][sorted(triplet).index(triplet[table["odd"][i]])] += 1
        if not math.isnan(table["rt"][i]):
            row["logs"].append(math.log(table["rt"][i]))
    return rows


def test_aggregate_equals_a_naive_loop(table):
    expected = naive_aggregate(table)
    rows = aggregate(make_judgments(**table)).to_list()
    assert [tuple(row["triplet"]) for row in rows] == sorted(expected)
    for row in rows:
        naive = expected[tuple(row["triplet"])]
        assert row["counts"] == naive["counts"]
        assert row["level"] == naive["level"]
        assert row["rt_log_mean"] == pytest.approx(np.mean(naive["logs"]), rel=1e-6)


def test_the_order_within_a_triplet_does_not_matter(table):
    first, second = (aggregate(make_judgments(**shuffled_within(table, seed))) for seed in (1, 2))
    assert first.to_dict() == second.to_dict()


def test_counts_are_those_of_choices_and_can_be_counted_again(table):
    judgments = make_judgments(**table)
    triplets, counts = choice_counts(judgments)
    aggregated = aggregate(judgments)
    np.testing.assert_array_equal(column(aggregated, "triplet"), triplets)
    np.testing.assert_array_equal(column(aggregated, "counts"), counts)
    for again, recount in zip(choice_counts(aggregated), (triplets, counts), strict=True):
        np.testing.assert_array_equal(again, recount)
    assert counts.sum() == 400 - table["is_catch"].sum()


def test_counts_are_aggregated_again(table):
    once = aggregate(make_judgments(**table))
    assert aggregate(once).to_dict() == once.to_dict()
    halves = [aggregate(make_judgments(**{k: v[part::2] for k, v in table.items()})) for part in (0, 1)]
    merged = aggregate(concatenate_datasets(halves))
    np.testing.assert_array_equal(column(merged, "triplet"), column(once, "triplet"))
    np.testing.assert_array_equal(column(merged, "counts"), column(once, "counts"))
    assert merged["level"][:] == once["level"][:]


def test_mean_times_are_weighted_by_counts():
    rows = [
        {"triplet": [0, 1, 2], "counts": [2, 1, 0], "rt_log_mean": 1.0},
        {"triplet": [2, 0, 1], "counts": [0, 0, 1], "rt_log_mean": 2.0},
        {"triplet": [1, 0, 2], "counts": [0, 0, 5], "rt_log_mean": None},
        {"triplet": [1, 2, 3], "counts": [0, 0, 5], "rt_log_mean": None},
    ]
    assert aggregate(Dataset.from_list(rows)).to_list() == [
        {"triplet": [0, 1, 2], "counts": [2, 2, 5], "rt_log_mean": 1.25},
        {"triplet": [1, 2, 3], "counts": [0, 0, 5], "rt_log_mean": None},
    ]


def test_triplet_without_times_or_level_has_none():
    judgments = make_judgments(
        np.array([[0, 1, 2], [1, 2, 3]]), np.array([0, 1]), rt=np.array([np.nan, 2.0]), level=[None, "fine"]
    )
    first, second = aggregate(judgments).to_list()
    assert first["rt_log_mean"] is None and first["level"] is None
    assert second["rt_log_mean"] == pytest.approx(math.log(2)) and second["level"] == "fine"


def test_triplet_of_two_levels_is_refused():
    judgments = make_judgments(np.array([[0, 1, 2], [2, 1, 0]]), np.array([0, 1]), level=["coarse", "fine"])
    with pytest.raises(InputError, match=r"another level than before: \[0, 1, 2\]"):
        aggregate(judgments)


def test_many_images_do_not_overflow_the_keys():
    triplets = np.array([[5, LARGEST_CUBE + 5, 3], [3, 5, LARGEST_CUBE + 5], [3, 5, LARGEST_CUBE + 6]])
    distinct, which, order = distinct_triplets(triplets)
    assert distinct.tolist() == [[3, 5, LARGEST_CUBE + 5], [3, 5, LARGEST_CUBE + 6]]
    assert which.tolist() == [0, 0, 1] and order[0].tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"triplet": [0, 1, 7]}, r"row 2 of the 'test' judgments points outside the 7 images: \[0, 1, 7\]"),
        ({"triplet": [0, 3, 0]}, "row 2 .* names an image twice"),
        ({"odd": 3}, "row 2 .* not position 0, 1 or 2: 3"),
        ({"rt": -0.5}, "row 2 .* response time that is not positive and finite: -0.5"),
        ({"rt": 0.0}, "row 2 .* not positive"),
        ({"rt": math.inf}, "row 2 .* not positive and finite: inf"),
        ({"level": "medium"}, "row 2 .* level other than coarse, fine, boundary: medium"),
        ({"triplet": None}, "'triplet' has missing values"),
        ({"odd": None}, "'odd' has missing values"),
    ],
)
def test_bad_row_is_named(table, change, message):
    judgments = make_judgments(**table)
    rows = judgments.to_list()[:4]
    rows[2] |= change
    with pytest.raises(InputError, match=message):
        check_judgments(Dataset.from_list(rows, features=judgments.features), NUM_IMAGES, "test")


def test_missing_column_empty_split_and_impossible_counts_are_refused(table):
    judgments = make_judgments(**table)
    with pytest.raises(InputError, match="lack the column 'odd'; there are triplet, participant"):
        check_judgments(judgments.remove_columns("odd"))
    with pytest.raises(InputError, match="'train' judgments are empty"):
        check_judgments(select_rows(judgments, np.zeros(400, bool)))
    rows = aggregate(judgments).to_list()
    rows[1]["counts"] = [0, 0, 0]
    with pytest.raises(InputError, match="row 1 .* negative or all zero"):
        check_judgments(Dataset.from_list(rows))


def test_milliseconds_are_not_taken_for_seconds(table):
    with pytest.raises(InputError, match="look like milliseconds"):
        check_judgments(make_judgments(**(table | {"rt": table["rt"] * 1000})))
    check_judgments(make_judgments(**(table | {"rt": np.full(400, np.nan)})))  # nobody was timed


def test_repeated_and_contradicted_choices_are_counted_and_kept(caplog):
    triplets = np.array([[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 1, 2], [0, 1, 2], [0, 1, 3]])
    chosen = [0, 0, 2, 0, 0, 3]  # a chooses 0, 0 again, then 2; b and an unknown person choose 0
    odd = np.array([row.tolist().index(image) for row, image in zip(triplets, chosen, strict=True)])
    judgments = make_judgments(triplets, odd, participant=["a", "a", "a", "b", None, "a"])
    with caplog.at_level(logging.WARNING):
        assert check_judgments(judgments) == Repeats(same=1, other=1)
    assert "1 rows in which a participant judges a triplet again" in caplog.text
    assert choice_counts(judgments)[1].sum() == 6
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert check_judgments(make_judgments(triplets, odd)) == Repeats(0, 0)  # nobody knows who they are
    assert not caplog.records


def test_selected_rows_are_a_table_of_their_own(table):
    judgments = make_judgments(**table)
    is_member = np.arange(400) % 3 == 0
    selected = select_rows(judgments, is_member)
    assert selected.to_dict() == judgments.select(np.flatnonzero(is_member)).to_dict()
    assert selected.features == judgments.features
