"""The judgments Dataset: human odd-one-out choices, one row a choice, or one row a triplet with counts of choices.

Columns of a row a choice: `triplet` three rows of the stimuli, `odd` the position that was chosen, and where known
`participant` (a string, whatever the source calls the person), `rt` (seconds; null where it was not measured),
`level` (`coarse`, `fine` or `boundary`) and `is_catch` (a check of attention). Columns of a row a triplet: `triplet`,
`counts` of choices per odd position, and where known `rt_log_mean` (mean natural logarithm of seconds) and `level`.
Checks of attention are no judgments of similarity: counts leave them out.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, Features, List, Value

from hf_alignet.errors import InputError
from hf_alignet.judgments.rows import (
    ODD,
    TRIPLET,
    arrow_column,
    check_columns,
    check_rows,
    column,
    distinct_triplets,
    lists_of_three,
    refuse,
    select_rows,
)

logger = logging.getLogger(__name__)

PARTICIPANT, RT, LEVEL, IS_CATCH = "participant", "rt", "level", "is_catch"
COUNTS, RT_LOG_MEAN = "counts", "rt_log_mean"
LEVELS = ("coarse", "fine", "boundary")
SLOWEST_MEDIAN = 60.0  # seconds; people take a few, and milliseconds taken for seconds are hundreds or thousands

FEATURES = Features(
    {
        TRIPLET: List(Value("int32"), length=3),
        ODD: Value("int8"),
        PARTICIPANT: Value("string"),
        RT: Value("float32"),
        LEVEL: Value("string"),
        IS_CATCH: Value("bool"),
        COUNTS: List(Value("int32"), length=3),
        RT_LOG_MEAN: Value("float32"),
    }
)


class Repeats(NamedTuple):
    """Rows in which a participant judges a triplet again: with the `same` choice, or with the `other`."""

    same: int
    other: int


def make_judgments(
    triplets: np.ndarray,
    odd: np.ndarray,
    *,
    participant: Sequence[str] | np.ndarray | pa.Array | None = None,
    rt: np.ndarray | pa.Array | None = None,
    level: Sequence[str] | np.ndarray | pa.Array | None = None,
    is_catch: np.ndarray | pa.Array | None = None,
) -> Dataset:
    """The Dataset of n choices.

    Args:
        triplets: (n, 3) rows of an image dataset.
        odd: (n,) positions 0, 1 or 2 of the image that was chosen as the odd one out.
        participant: (n,) who chose; numbers become strings.
        rt: (n,) response times in seconds; NaN or null where there is none.
        level: (n,) `coarse`, `fine` or `boundary`; null where there is none.
        is_catch: (n,) bool, whether the trial checks attention.

    Raises:
        ValueError: the shapes are not as above.
        InputError: values cannot be brought into the type of their column.
    """
    triplets, odd = np.asarray(triplets), np.asarray(odd)
    if triplets.shape != (len(odd), 3) or odd.shape != (len(odd),):
        raise ValueError(f"expected arrays of shape (n, 3) and (n,), got {triplets.shape} and {odd.shape}")
    columns: dict[str, pa.Array] = {
        TRIPLET: _as_arrow(lists_of_three(triplets), TRIPLET),
        ODD: _as_arrow(odd, ODD),
    }
    for name, values in ((PARTICIPANT, participant), (RT, rt), (LEVEL, level), (IS_CATCH, is_catch)):
        if values is not None:
            columns[name] = _as_arrow(values, name)
            if len(columns[name]) != len(odd):
                raise ValueError(f"expected {len(odd)} values of {name}, got {len(columns[name])}")
    return _make_dataset(columns)


def _as_arrow(values: Sequence | np.ndarray | pa.Array | pa.ChunkedArray, name: str) -> pa.Array:
    """Values in one piece, in the type of a column of the schema; NaN of numpy becomes null."""
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        values = pa.array(values, from_pandas=True)
    kind = FEATURES.arrow_schema.field(name).type
    try:
        values = values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"the column {name!r} is not {kind}: {error}") from error
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _make_dataset(columns: dict[str, pa.Array]) -> Dataset:
    """Straight from arrays: `Dataset.from_dict` would look at every number by itself."""
    features = Features({name: FEATURES[name] for name in FEATURES if name in columns})
    return Dataset(pa.table([columns[name] for name in features], schema=features.arrow_schema))


def conform(judgments: Dataset) -> Dataset:
    """The columns of the schema, in its types; others are left out.

    Raises:
        InputError: a column cannot be brought into its type.
    """
    columns: dict[str, pa.Array] = {}
    for name in FEATURES:
        if name in judgments.column_names:
            is_list = isinstance(FEATURES[name], List)
            values = lists_of_three(column(judgments, name)) if is_list else arrow_column(judgments, name)
            columns[name] = _as_arrow(values, name)
    return _make_dataset(columns)


def align_columns(splits: DatasetDict) -> DatasetDict:
    """Splits with the same columns, null in those that lack one: a configuration of a dataset has one set of them."""
    names = [name for name in FEATURES if any(name in data.column_names for data in splits.values())]
    aligned = {}
    for split, data in splits.items():
        kinds = {name: FEATURES.arrow_schema.field(name).type for name in names}
        aligned[split] = _make_dataset(
            {
                name: arrow_column(data, name) if name in data.column_names else pa.nulls(len(data), kind)
                for name, kind in kinds.items()
            }
        )
    return DatasetDict(aligned)


def check_judgments(judgments: Dataset, num_images: int | None = None, split: str = "train") -> Repeats:
    """Refuses judgments that cannot be right, before anything long begins.

    A person who judged a triplet more than once is no mistake (some studies ask twice): such rows are kept, and
    reported with the number of them that contradict the person's earlier choice.

    Args:
        judgments: one split, rows of choices or of counts.
        num_images: length of the image dataset that the rows point into; None does not check against it.
        split: name for the messages.

    Returns:
        How many rows repeat a participant's choice, and how many contradict it; (0, 0) without participants.

    Raises:
        InputError: a column is missing, the split is empty, or a row points outside the images, names one twice, has
            an odd one out that is not 0, 1 or 2, counts that are negative or all zero, a response time that is not
            positive, or an unknown level (names the first row); or response times look like milliseconds.
    """
    what = f"{split!r} judgments"
    has_counts = COUNTS in judgments.column_names
    check_columns(judgments, (TRIPLET, COUNTS if has_counts else ODD), what)
    check_rows(column(judgments, TRIPLET), num_images, what)
    if has_counts:
        counts = column(judgments, COUNTS)
        refuse((counts < 0).any(1) | (counts.sum(1) == 0), counts, what, "has counts that are negative or all zero")
    else:
        odd = column(judgments, ODD)
        refuse((odd < 0) | (odd > 2), odd, what, "has an odd one out that is not position 0, 1 or 2")
    if RT in judgments.column_names:
        _check_times(known_times(judgments, RT), what)
    if LEVEL in judgments.column_names:
        levels = arrow_column(judgments, LEVEL)
        is_known = pc.or_(pc.is_in(levels, pa.array(LEVELS)), pc.is_null(levels)).to_numpy(zero_copy_only=False)
        refuse(~is_known, levels.to_numpy(zero_copy_only=False), what, f"has a level other than {', '.join(LEVELS)}")
    if has_counts or PARTICIPANT not in judgments.column_names:
        return Repeats(0, 0)
    repeats = count_repeats(judgments)
    if any(repeats):
        logger.warning(
            "the %s have %d rows in which a participant judges a triplet again and chooses the same, and %d in which "
            "the choice is another; all are kept",
            what, repeats.same, repeats.other,
        )  # fmt: skip
    return repeats


def _check_times(seconds: np.ndarray, what: str) -> None:
    refuse(seconds <= 0, seconds, what, "has a response time that is not positive")
    refuse(np.isinf(seconds), seconds, what, "has a response time that is not finite")
    median = np.nanmedian(seconds) if not np.isnan(seconds).all() else 0.0
    if median > SLOWEST_MEDIAN:
        raise InputError(
            f"the median response time of the {what} is {median:g} s, as if it were milliseconds; "
            f"{RT!r} is in seconds: divide it by 1000"
        )


def known_times(judgments: Dataset, name: str) -> np.ndarray:
    """(n,) float64 of the column `rt` (seconds) or `rt_log_mean`, NaN where there is none."""
    return arrow_column(judgments, name).cast(pa.float64()).to_numpy(zero_copy_only=False)


def participant_codes(judgments: Dataset) -> np.ndarray:
    """(n,) int64, one number a participant from 0 on, and -1 where the participant is not known."""
    codes = arrow_column(judgments, PARTICIPANT).dictionary_encode().indices
    return codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def count_repeats(judgments: Dataset) -> Repeats:
    """How often participants judged the same triplet again, and chose the same image or another.

    Of each participant's rows on one triplet, whatever the order of its images, all but one are repeats; a repeat
    counts as `same` if another of those rows makes the same choice, so that of three choices A, A, B one repeat is
    `same` and one `other`.
    """
    distinct, which, chosen = choices(judgments)
    people = participant_codes(judgments)
    is_known = people >= 0
    keys = np.sort((people[is_known] * len(distinct) + which[is_known]) * 3 + chosen[is_known])
    num_choices = int(np.count_nonzero(np.diff(keys, prepend=-1)))
    num_seen = int(np.count_nonzero(np.diff(keys // 3, prepend=-1)))
    return Repeats(same=len(keys) - num_choices, other=num_choices - num_seen)


def without_catch_trials(judgments: Dataset) -> Dataset:
    """The rows that are not known to be checks of attention."""
    if IS_CATCH not in judgments.column_names:
        return judgments
    is_catch = arrow_column(judgments, IS_CATCH).fill_null(False).to_numpy(zero_copy_only=False)
    return select_rows(judgments, ~is_catch) if is_catch.any() else judgments


def choice_counts(judgments: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Distinct triplets, and how often each of their images was the odd one out.

    Args:
        judgments: rows with `triplet` and `odd` in any order and number, or with `triplet` and `counts`.

    Returns:
        (u, 3) int64 triplets, ascending in each row and by rows, and (u, 3) int64 counts per position of that row.
    """
    distinct, _, counts = _counted(without_catch_trials(judgments))
    return distinct, counts


def _counted(judgments: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct triplets (u, 3), which of them each row shows (n,), and their counts (u, 3)."""
    if COUNTS not in judgments.column_names:
        distinct, which, chosen = choices(judgments)
        return distinct, which, np.bincount(which * 3 + chosen, minlength=3 * len(distinct)).reshape(-1, 3)
    distinct, which, order = distinct_triplets(column(judgments, TRIPLET))
    counts = np.take_along_axis(column(judgments, COUNTS), order, 1)
    summed = [np.bincount(which, of_position, len(distinct)) for of_position in counts.T]
    return distinct, which, np.stack(summed, axis=1).astype(np.int64)


def choices(judgments: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct triplets (u, 3), which of them each row shows (n,), and the position chosen in that one (n,)."""
    distinct, which, order = distinct_triplets(column(judgments, TRIPLET))
    odd = column(judgments, ODD)
    refuse((odd < 0) | (odd > 2), odd, "judgments", "has an odd one out that is not position 0, 1 or 2")
    return distinct, which, (order == odd[:, None]).argmax(axis=1)


def aggregate(judgments: Dataset) -> Dataset:
    """One row a triplet: how often each of its images was chosen, and the mean logarithm of the response times.

    A triplet shown in any order of its images is the same triplet; its images come out in ascending order.

    Args:
        judgments: rows of choices; or of counts, which are added up, and `rt_log_mean` averaged with their sums as
            weights. Without times, or `level`, the result has no `rt_log_mean`, or `level`.

    Returns:
        Rows with `triplet`, `counts`, and where known `rt_log_mean` and `level` (null for a triplet without).

    Raises:
        InputError: a triplet is given with two levels.
    """
    judgments = without_catch_trials(judgments)
    distinct, which, counts = _counted(judgments)
    columns: dict[str, pa.Array] = {
        TRIPLET: _as_arrow(lists_of_three(distinct), TRIPLET),
        COUNTS: _as_arrow(lists_of_three(counts), COUNTS),
    }
    is_counted = COUNTS in judgments.column_names
    times = RT_LOG_MEAN if is_counted else RT
    if times in judgments.column_names:
        values = known_times(judgments, times)
        weights = column(judgments, COUNTS).sum(1) if is_counted else np.ones(len(values))
        log_means = _means(values if is_counted else np.log(values), weights, which, len(distinct))
        columns[RT_LOG_MEAN] = _as_arrow(log_means, RT_LOG_MEAN)
    if LEVEL in judgments.column_names:
        columns[LEVEL] = _levels_of_triplets(arrow_column(judgments, LEVEL), distinct, which)
    return _make_dataset(columns)


def _means(values: np.ndarray, weights: np.ndarray, which: np.ndarray, number: int) -> np.ndarray:
    """(number,) float32 weighted means over the rows of each triplet that have a value (n,), not NaN, or else NaN."""
    weights = np.where(np.isnan(values), 0, weights)
    sums = np.bincount(which, np.where(weights > 0, values, 0) * weights, number)
    totals = np.bincount(which, weights, number)
    return np.divide(sums, totals, out=np.full(number, np.nan), where=totals > 0).astype(np.float32)


def _levels_of_triplets(levels: pa.Array, distinct: np.ndarray, which: np.ndarray) -> pa.Array:
    encoded = levels.dictionary_encode()
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    of_triplet = np.zeros(len(distinct), codes.dtype)
    of_triplet[which] = codes
    refuse(of_triplet[which] != codes, distinct[which], "judgments", "gives a triplet with another level than before")
    return pa.concat_arrays([encoded.dictionary, pa.nulls(1, levels.type)]).take(pa.array(of_triplet))
