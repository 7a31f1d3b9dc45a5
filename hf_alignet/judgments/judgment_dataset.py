"""The judgments Dataset: human odd-one-out choices. One row is a choice, or a triplet with counts of choices.

Columns of choices: `triplet` (three row numbers of the stimuli), `odd` (the chosen position), and where known
`participant` (a string), `rt` (response time in seconds; null if not measured), `level` (`coarse`, `fine` or
`boundary`) and `is_catch` (whether the trial checks attention). Columns of counts: `triplet`, `counts` of choices per
odd position, and where known `rt_log_mean` (mean natural logarithm of seconds) and `level`. Counts leave out checks of
attention, because they do not measure similarity.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

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
from hf_alignet.ranges import row_numbers

logger = logging.getLogger(__name__)

Values: TypeAlias = Sequence | np.ndarray | pa.Array | pa.ChunkedArray
PARTICIPANT, RT, LEVEL, IS_CATCH = "participant", "rt", "level", "is_catch"
COUNTS, RT_LOG_MEAN = "counts", "rt_log_mean"
LEVELS = ("coarse", "fine", "boundary")
SLOWEST_MEDIAN = 60.0  # seconds; people take a few. Milliseconds would look like hundreds or thousands of seconds

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
    """Numbers of rows in which a participant judges a triplet again, with the `same` choice or an `other` choice."""

    same: int
    other: int


class Majority(NamedTuple):
    """Triplets with the position that most people chose, and the numbers of other triplets."""

    triplets: np.ndarray  # (u, 3)
    odd: np.ndarray  # (u,)
    num_tied: int  # triplets in which no position has more choices than all others
    num_few: int  # triplets with too few choices


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
        triplets: (n, 3) row numbers of an image dataset.
        odd: (n,) position 0, 1 or 2 of the chosen odd one out.
        participant: (n,); numbers become strings.
        rt: (n,) seconds; NaN becomes null.
        level: (n,) `coarse`, `fine`, `boundary` or null.
        is_catch: (n,) bool.

    Raises:
        ValueError: the shapes are not as above.
        InputError: values cannot be converted to the type of their column.
    """
    triplets, odd = np.asarray(triplets), np.asarray(odd)
    if triplets.shape != (len(odd), 3) or odd.shape != (len(odd),):
        raise ValueError(f"expected arrays of shape (n, 3) and (n,), got {triplets.shape} and {odd.shape}")
    triplets = row_numbers(triplets, None, "the triplets")
    optional = {PARTICIPANT: participant, RT: rt, LEVEL: level, IS_CATCH: is_catch}
    given = {name: values for name, values in optional.items() if values is not None}
    return _make_dataset({TRIPLET: triplets, ODD: odd, **given})


def _make_dataset(columns: Mapping[str, Values]) -> Dataset:
    """A Dataset of the schema by way of Arrow arrays, because `Dataset.from_dict` converts each number by itself."""
    features = Features({name: FEATURES[name] for name in FEATURES if name in columns})
    schema = features.arrow_schema
    return Dataset(pa.table([_as_arrow(columns[field.name], field) for field in schema], schema=schema))


def _as_arrow(values: Values, field: pa.Field) -> pa.Array:
    """Values in one piece and in the type of a column; NaN of NumPy becomes null."""
    if isinstance(values, np.ndarray) and values.ndim == 2:
        values = lists_of_three(values)
    elif not isinstance(values, pa.Array | pa.ChunkedArray):
        values = pa.array(values, from_pandas=True)
    try:
        values = values.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"the column {field.name!r} is not {field.type}: {error}") from error
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def conform(judgments: Dataset) -> Dataset:
    """The columns of the schema, in its types, or an InputError if that is not possible; others are left out."""
    read = {name: column if isinstance(feature, List) else arrow_column for name, feature in FEATURES.items()}
    return _make_dataset({name: read[name](judgments, name) for name in FEATURES if name in judgments.column_names})


def align_columns(splits: DatasetDict) -> DatasetDict:
    """The splits with the same columns, because a dataset needs that. Cells of an added column are null."""
    names = [name for name in FEATURES if any(name in data.column_names for data in splits.values())]
    aligned = {}
    for split, data in splits.items():
        known = data.column_names
        columns = {name: arrow_column(data, name) if name in known else pa.nulls(len(data)) for name in names}
        aligned[split] = _make_dataset(columns)
    return DatasetDict(aligned)


def check_judgments(judgments: Dataset, num_images: int | None = None, split: str = "train") -> Repeats:
    """Checks judgments before a long computation begins.

    Some studies ask a person twice about the same triplet. Such rows are kept, and a warning counts them. The result
    is their number (see `count_repeats`), (0, 0) without participants.

    Args:
        judgments: rows of choices or of counts.
        num_images: length of the image dataset; None skips the check that the rows lie inside it.
        split: name of the split, for messages.

    Raises:
        InputError: a column is missing, or the split is empty. Or, with the first wrong row: a triplet points outside
            the images or names one twice, the odd one out is not 0, 1 or 2, counts are negative or all zero, a
            response time is not positive and finite, or a level is unknown. Or response times look like milliseconds.
    """
    what = f"{split!r} judgments"
    has_counts = COUNTS in judgments.column_names
    check_columns(judgments, (TRIPLET, COUNTS if has_counts else ODD), what)
    check_rows(column(judgments, TRIPLET), num_images, what)
    if has_counts:
        counts = column(judgments, COUNTS)
        refuse((counts < 0).any(1) | (counts.sum(1) == 0), counts, what, "has counts that are negative or all zero")
    else:
        _odd_positions(judgments, what)
    if RT in judgments.column_names:
        seconds = known_times(judgments, RT)
        is_bad = (seconds <= 0) | np.isinf(seconds)
        refuse(is_bad, seconds, what, "has a response time that is not positive and finite")
        median = np.nan if np.isnan(seconds).all() else np.nanmedian(seconds)
        if median > SLOWEST_MEDIAN:
            raise InputError(
                f"the median response time of the {what} is {median:g} s, so they look like milliseconds; the column "
                f"{RT!r} needs seconds: divide it by 1000"
            )
    if LEVEL in judgments.column_names:
        levels = arrow_column(judgments, LEVEL)
        is_unknown = ~pc.is_in(levels, pa.array([*LEVELS, None])).to_numpy(zero_copy_only=False)
        refuse(is_unknown, np.array(levels), what, f"has a level other than {', '.join(LEVELS)}")
    if has_counts or PARTICIPANT not in judgments.column_names:
        return Repeats(0, 0)
    repeats = count_repeats(judgments)
    if any(repeats):
        logger.warning(
            "the %s have %d rows in which a participant judges a triplet again and makes the same choice, and %d with "
            "another choice; all are kept",
            what, repeats.same, repeats.other,
        )  # fmt: skip
    return repeats


def _odd_positions(judgments: Dataset, what: str = "judgments") -> np.ndarray:
    odd = column(judgments, ODD)
    refuse((odd < 0) | (odd > 2), odd, what, "has an odd one out that is not position 0, 1 or 2")
    return odd


def known_times(judgments: Dataset, name: str) -> np.ndarray:
    """(n,) float64 of the column `rt` (seconds) or `rt_log_mean`; NaN where it is null."""
    return arrow_column(judgments, name).cast(pa.float64()).to_numpy(zero_copy_only=False)


def participant_codes(judgments: Dataset) -> np.ndarray:
    """(n,) int64, one number from 0 for each participant, and -1 if the participant is not known."""
    codes = arrow_column(judgments, PARTICIPANT).dictionary_encode().indices
    return codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def count_repeats(judgments: Dataset) -> Repeats:
    """How often participants judged a triplet again, and made the same choice or another one.

    All rows of a participant on one triplet but the first are repeats, whatever the order of the images. `other`
    counts the distinct choices after the first: of the choices A, A, B one repeat is `same` and one is `other`.
    """
    distinct, which, chosen = choices(judgments)
    people = participant_codes(judgments)
    is_known = people >= 0
    keys = np.unique((people[is_known] * len(distinct) + which[is_known]) * 3 + chosen[is_known])
    num_seen = len(np.unique(keys // 3))
    return Repeats(same=int(is_known.sum()) - len(keys), other=len(keys) - num_seen)


def are_catch_trials(judgments: Dataset) -> np.ndarray:
    """(n,) bool, whether a row is known to check attention."""
    if IS_CATCH not in judgments.column_names:
        return np.zeros(len(judgments), bool)
    return arrow_column(judgments, IS_CATCH).fill_null(False).to_numpy(zero_copy_only=False)


def without_catch_trials(judgments: Dataset) -> Dataset:
    """The rows that are not known to check attention."""
    is_catch = are_catch_trials(judgments)
    return select_rows(judgments, ~is_catch) if is_catch.any() else judgments


def choice_counts(judgments: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Distinct triplets, and how often each of their images was the odd one out, in rows of choices or of counts.

    Returns:
        (u, 3) int64 triplets, ascending within each row and from row to row, and (u, 3) int64 counts per position.
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
    """Distinct triplets (u, 3), which of them each row shows (n,), and the odd position in that one (n,)."""
    distinct, which, order = distinct_triplets(column(judgments, TRIPLET))
    return distinct, which, (order == _odd_positions(judgments)[:, None]).argmax(axis=1)


def aggregate(judgments: Dataset) -> Dataset:
    """One row for each distinct triplet: how often each image was chosen, and the mean logarithm of response times.

    Args:
        judgments: rows of choices or of counts, with the images of a triplet in any order. Counts are added, and
            `rt_log_mean` is averaged with the sums of the counts as weights.

    Returns:
        Rows with `triplet` (images in ascending order) and `counts`; with `rt_log_mean` and `level` if the judgments
        have times and levels (null for a triplet without them).

    Raises:
        InputError: a triplet has two different levels.
    """
    judgments = without_catch_trials(judgments)
    distinct, which, counts = _counted(judgments)
    columns: dict[str, Values] = {TRIPLET: distinct, COUNTS: counts}
    is_counted = COUNTS in judgments.column_names
    times = RT_LOG_MEAN if is_counted else RT
    if times in judgments.column_names:
        values = known_times(judgments, times)
        weights = column(judgments, COUNTS).sum(1) if is_counted else np.ones(len(values))
        columns[RT_LOG_MEAN] = _means(values if is_counted else np.log(values), weights, which, len(distinct))
    if LEVEL in judgments.column_names:
        columns[LEVEL] = _levels_of_triplets(arrow_column(judgments, LEVEL), distinct, which)
    return _make_dataset(columns)


def _means(values: np.ndarray, weights: np.ndarray, which: np.ndarray, number: int) -> np.ndarray:
    """(number,) float32 weighted means of the known values (n,) of each triplet; NaN without a known value."""
    weights = np.where(np.isnan(values), 0, weights)
    sums = np.bincount(which, np.where(weights > 0, values, 0) * weights, number)
    totals = np.bincount(which, weights, number)
    return np.divide(sums, totals, out=np.full(number, np.nan), where=totals > 0).astype(np.float32)


def _levels_of_triplets(levels: pa.Array, distinct: np.ndarray, which: np.ndarray) -> pa.Array:
    """(u,) level of each distinct triplet."""
    of_triplet = levels.take(pa.array(np.unique(which, return_index=True)[1]))
    differs = np.array(levels) != np.array(of_triplet)[which]
    refuse(differs, distinct[which], "judgments", "gives a triplet with another level than before")
    return of_triplet


def majority(judgments: Dataset, min_raters: int = 1) -> Majority:
    """The odd one out by majority, for each triplet that has a majority.

    Args:
        judgments: rows of choices or of counts; checks of attention are left out.
        min_raters: number of choices that a triplet needs.

    Example:
        >>> judgments = Dataset.from_dict({"triplet": [[0, 1, 2], [3, 4, 5]], "counts": [[4, 1, 0], [2, 2, 1]]})
        >>> majority(judgments).odd.tolist(), majority(judgments).num_tied
        ([0], 1)
    """
    triplets, counts = choice_counts(judgments)
    is_few = counts.sum(1) < max(min_raters, 1)
    is_tied = ~is_few & ((counts == counts.max(axis=1, keepdims=True)).sum(1) > 1)
    kept = ~is_few & ~is_tied
    return Majority(triplets[kept], counts[kept].argmax(1), int(is_tied.sum()), int(is_few.sum()))
