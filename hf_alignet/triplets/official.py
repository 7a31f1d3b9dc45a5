"""Reads and writes the released AligNet triplets: `.npz` files with ImageNet triplets and the teacher's similarities.

`alignet_train.npz` and `alignet_valid.npz` have `filenames` (n, 3) such as `n01440764_10026.JPEG`, `similarities`
(n, 3) in pair order, and `indices` (n, 3), rows of `imagenet2012` (train) in TensorFlow Datasets. The older files
`{transform}/{split}_{sampling}.npz` have no `filenames`. The released metric takes the last image of each row as the
odd one out; the publishers say of the rows that s12 is the smallest similarity, which does not make it so.
`read_official` checks each row, and reorders it if necessary. It also warns of labels of a model that was not fitted
to people, with which a port learns nothing about them; the recipe official-triplets measures that.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset, Features, List, Value
from datasets.fingerprint import Hasher

from hf_alignet import __version__
from hf_alignet.errors import InputError
from hf_alignet.images.opening import IMAGE_COLUMN, as_encoded_images
from hf_alignet.judgments.rows import arrow_column, check_columns, check_rows, column, lists_of_three, refuse
from hf_alignet.similarity import NO_CHOICE, PAIRS, choice_log_probabilities, odd_of_pair, odd_one_out
from hf_alignet.triplets.npz import BLOCK, StoredArray, open_npz, write_npz
from hf_alignet.triplets.triplet_dataset import FEATURES, ODD, SIMILARITIES, TRIPLET

logger = logging.getLogger(__name__)

FILENAMES, INDICES = "filenames", "indices"  # columns of triplets, and arrays of a file
FILENAME = "filename"  # column of images
CONTENTS = {SIMILARITIES: ("fiu", "numbers"), INDICES: ("iu", "integers"), FILENAMES: ("US", "strings")}  # of arrays
LAST = 2
# For each odd one out: the order of the images that puts it last, and the order of the similarities after that
ORDERS = np.array([[*PAIRS[odd_of_pair(odd)], odd] for odd in range(3)])
UNTRANSFORMED = "untransformed"  # part of the path of the control's files, the default of the released configuration
SURE, MOST = 0.99, 0.9  # a label is sure if a pair has this probability; few labels of people are
PAIR_ORDERS = odd_of_pair(ORDERS[:, odd_of_pair(np.arange(3))])


@dataclass
class _Rows:
    """The content of a file. File names are codes (n, 3) of distinct names (u,), because each name occurs often."""

    similarities: np.ndarray
    indices: np.ndarray
    names: pa.Array | None = None
    codes: np.ndarray | None = None
    checksums: tuple[int, ...] = ()

    def check(self, what: str) -> None:
        check_rows(self.indices, None, what)
        refuse(~np.isfinite(self.similarities).all(1), self.similarities, what, "has a similarity that is not finite")
        if self.names is not None and self.codes is not None:
            _check_names(self.names, self.codes, self.indices, what)

    def put_odd_last(self, odd: np.ndarray) -> None:
        """Reorders images and similarities so that the odd one out `odd` (n,) is the last image."""
        rows = np.flatnonzero((odd != NO_CHOICE) & (odd != LAST))
        odd = odd[rows]
        self.similarities[rows] = np.take_along_axis(self.similarities[rows], PAIR_ORDERS[odd], 1)
        for images in (self.indices, self.codes):
            if images is not None:
                images[rows] = np.take_along_axis(images[rows], ORDERS[odd], 1)


def read_official(path: str | Path, images: Dataset | None = None, strict: bool = False) -> Dataset:
    """The triplets of a released file, with the odd one out last.

    Rows in another order are reordered, with their similarities. Rows in which two pairs are the most similar have no
    odd one out (-1) and stay unchanged. A warning counts both. Another one is about labels that do not seem to be of
    a teacher that was fitted to people.

    Args:
        path: of the `.npz` file.
        images: the image dataset for the row numbers. None uses the indices of the file. Images are found by their
            file names, if the file has them: in the column `filename`, or in the paths of the column `image`, without
            folders and without the synset that `ILSVRC/imagenet-1k` appends (`n01440764_10026_n01440764.JPEG`).
            Without file names, the images must have the order of the indices.
        strict: refuse a file with rows in another order.

    Returns:
        Columns `triplet`, `similarities` and `odd` (2 or -1), `filenames` if the file has them, and `indices` if they
        differ from `triplet`.

    Raises:
        InputError: the file cannot be read or has no such array, a row is wrong (names the first), file names and
            indices contradict each other, or an image is missing or has the name of another.

    Example:
        >>> read_official("alignet_train.npz", load_images("ILSVRC/imagenet-1k"))  # doctest: +SKIP
    """
    path = Path(path).expanduser()
    what = f"triplets of {path.name}"
    rows = _read(path)
    rows.check(what)
    odd = odd_one_out(torch.from_numpy(rows.similarities)).numpy().astype(np.int8)
    _check_order(odd, rows.similarities, what, strict)
    _check_teacher(path, rows.similarities, what)
    rows.put_odd_last(odd)
    odd[odd != NO_CHOICE] = LAST

    triplets = rows.indices
    if images is not None and rows.names is not None and rows.codes is not None:
        triplets = _image_rows(rows.names, images, what)[rows.codes]
    elif images is not None:
        check_rows(triplets, len(images), what)
    features = Features(FEATURES)
    columns = {TRIPLET: lists_of_three(triplets), SIMILARITIES: lists_of_three(rows.similarities), ODD: odd}
    if rows.names is not None and rows.codes is not None:
        features[FILENAMES] = List(Value("string"), length=3)
        starts = range(0, len(odd), BLOCK)
        taken = [rows.names.take(pa.array(rows.codes[i : i + BLOCK].ravel())) for i in starts]
        columns[FILENAMES] = pa.chunked_array([pa.FixedSizeListArray.from_arrays(names, 3) for names in taken])
    if not np.array_equal(triplets, rows.indices):
        features[INDICES] = List(Value("int32"), length=3)
        columns[INDICES] = lists_of_three(rows.indices)
    # From checksums. For its own fingerprint, `datasets` would copy the table (released file: 10 s and 3 GB)
    fingerprint = Hasher.hash((__version__, rows.checksums, None if images is None else images._fingerprint))
    return Dataset(pa.table(list(columns.values()), schema=features.arrow_schema), fingerprint=fingerprint)


def write_official(triplets: Dataset, path: str | Path, filenames: Sequence[str] | None = None) -> None:
    """Writes triplets in the form of the released files, with the odd one out last.

    Args:
        triplets: with the columns `triplet` and `similarities`. The column `indices`, if there is one, replaces
            `triplet` as `indices` of the file. The column `filenames` is written if there is one.
        path: of the `.npz` file.
        filenames: of each row of the image dataset, if there is no such column. Without both, the file has the older
            form without file names.

    Raises:
        InputError: a column is missing, a row is wrong (names the first), or file names and indices contradict each
            other.
        RunError: the file cannot be written.
    """
    what = "triplets to write"
    check_columns(triplets, [TRIPLET, SIMILARITIES], what)
    images = column(triplets, TRIPLET)
    check_rows(images, None if filenames is None else len(filenames), what)
    indices = column(triplets, INDICES) if INDICES in triplets.column_names else images
    rows = _Rows(column(triplets, SIMILARITIES).astype(np.float32, copy=False), indices)
    if FILENAMES in triplets.column_names:
        rows.names, rows.codes = _encode(_filename_blocks(triplets))
    elif filenames is not None:
        rows.names, rows.codes = _encode([pa.array(list(filenames), pa.string()).take(pa.array(images.ravel()))])
    rows.check(what)
    rows.put_odd_last(odd_one_out(torch.from_numpy(rows.similarities)).numpy())

    arrays: dict[str, tuple[np.dtype, Iterable[np.ndarray]]] = {
        SIMILARITIES: (np.dtype(np.float32), [rows.similarities]),
        INDICES: (np.dtype(np.int64), [rows.indices]),
    }
    if rows.names is not None and rows.codes is not None:
        names = np.array(rows.names.to_pylist(), dtype=np.str_)
        codes = rows.codes
        arrays[FILENAMES] = names.dtype, (names[codes[i : i + BLOCK]] for i in range(0, len(codes), BLOCK))
    write_npz(path, len(triplets), arrays)


def _read(path: Path) -> _Rows:
    with open_npz(path) as arrays:
        missing = [name for name in (SIMILARITIES, INDICES) if name not in arrays]
        if missing:
            lacking = " and ".join(map(repr, missing))
            raise InputError(f"{path.name} lacks the array {lacking}; it has {', '.join(arrays) or 'none'}")
        used = [name for name in CONTENTS if name in arrays]
        for name in used:
            _check_array(arrays[name], *CONTENTS[name], path)
        lengths = {name: arrays[name].shape[0] for name in used}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
            raise InputError(f"the arrays of {path.name} have different numbers of rows: {listed}")
        with np.errstate(over="ignore"):  # the result is infinite, and refused later
            similarities = np.concatenate([block.astype(np.float32) for block in arrays[SIMILARITIES].blocks()])
        rows = _Rows(similarities, np.concatenate(list(_index_blocks(arrays[INDICES], path))))
        rows.checksums = tuple(arrays[name].checksum for name in used)
        if FILENAMES in arrays:
            # In blocks, because a letter in NumPy's arrays needs four bytes
            rows.names, rows.codes = _encode(pa.array(block.ravel()) for block in arrays[FILENAMES].blocks())
        return rows


def _check_array(array: StoredArray, kinds: str, contents: str, path: Path) -> None:
    if array.dtype.kind not in kinds or array.shape[1:] != (3,):
        found = f"shape {array.shape} of {array.dtype}"
        raise InputError(f"the array {array.name!r} of {path.name} must have three columns of {contents}, got {found}")
    if array.shape[0] == 0:
        raise InputError(f"the array {array.name!r} of {path.name} is empty")


def _index_blocks(array: StoredArray, path: Path) -> Iterator[np.ndarray]:
    for block in array.blocks():
        limits = np.iinfo(np.int32)
        if block.min() < limits.min or block.max() > limits.max:
            found = f"indices from {block.min()} to {block.max()}"
            raise InputError(f"{path.name} has {found}; rows of an image dataset are from 0 to {limits.max}")
        yield block.astype(np.int32)


def _filename_blocks(triplets: Dataset) -> Iterator[pa.Array]:
    """The names in the column `filenames`, in blocks (3b,) of b rows."""
    for batch in triplets.select_columns(FILENAMES).with_format("arrow").iter(BLOCK):
        cells = batch.column(FILENAMES).combine_chunks()
        if not pa.types.is_nested(cells.type) or len(cells.flatten()) != 3 * len(cells):
            raise InputError(f"the column {FILENAMES!r} must have lists of three names")
        yield cells.flatten()


def _encode(blocks: Iterable[pa.Array | pa.ChunkedArray]) -> tuple[pa.Array, np.ndarray]:
    """The distinct names (u,) in blocks of names, and the code of each name, (n, 3) int32."""
    # Arrow splits a large block into chunks
    chunks = [chunk for block in blocks for chunk in getattr(block, "chunks", [block])]
    encoded = pa.chunked_array(chunks).cast(pa.string()).dictionary_encode()
    if encoded.null_count:
        raise InputError("a file name is missing (None): give each image one")
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
    return encoded.chunk(0).dictionary, codes.reshape(-1, 3)


def _check_names(names: pa.Array, codes: np.ndarray, indices: np.ndarray, what: str) -> None:
    """Refuses rows that give a name (u,) two indices, or an index two names."""
    index_of_name = np.empty(len(names), indices.dtype)
    index_of_name[codes] = indices
    differs = index_of_name[codes] != indices
    if differs.any():
        row, position = np.unravel_index(differs.argmax(), differs.shape)
        code, index = codes[row, position], indices[row, position]
        raise InputError(
            f"row {row} of the {what} gives {names[code].as_py()!r} the index {index}, another row gives it "
            f"{index_of_name[code]}: names and indices contradict each other"
        )
    numbers, counts = np.unique(index_of_name, return_counts=True)
    if (counts > 1).any():
        index = numbers[counts.argmax()]
        first, second = (names[code].as_py() for code in np.flatnonzero(index_of_name == index)[:2])
        both = f"the index {index} to both {first!r} and {second!r}"
        raise InputError(f"the {what} give {both}: names and indices contradict each other")


def _check_order(odd: np.ndarray, similarities: np.ndarray, what: str, strict: bool) -> None:
    is_tie = odd == NO_CHOICE
    is_other = ~is_tie & (odd != LAST)
    if strict:
        refuse(is_other, similarities, what, "does not have its odd one out last, according to the similarities")
    if is_tie.any() or is_other.any():
        share = np.mean(odd == LAST)
        in_ports = (
            "; code that takes the last image of each row of the file as the odd one, as the released TripletAccuracy "
            f"does, finds the teacher itself right in {100 * share:.1f} % of them"
        )
        logger.warning(
            "of %d %s, %d did not have their odd one out last and were reordered; %d have no odd one out, because two "
            "pairs are the most similar%s",
            len(odd), what, is_other.sum(), is_tie.sum(), in_ports if share < MOST else "",
        )  # fmt: skip


def _check_teacher(path: Path, similarities: np.ndarray, what: str) -> None:
    """Warns of labels that a model gave before it was fitted to people's choices."""
    sure = [
        (choice_log_probabilities(torch.from_numpy(similarities[i : i + BLOCK])).amax(-1) > math.log(SURE))
        .sum()
        .item()
        for i in range(0, len(similarities), BLOCK)
    ]
    share = sum(sure) / len(similarities)
    if UNTRANSFORMED in (part.lower() for part in path.parts):
        reason = f"lie in a folder {UNTRANSFORMED!r}"
    elif share > MOST:
        reason = f"are nearly certain: in {100 * share:.0f} % of them one pair has a probability above {SURE}"
    else:
        return
    logger.warning(
        "the labels of the %s %s, as those of a model that was never fitted to people: a student learns nothing about "
        "people from them. Take the files of `uncertainty_distillation`; if you want these, use a higher "
        "`teacher_temperature`",
        *(what, reason),
    )


def _image_rows(names: pa.Array, images: Dataset, what: str) -> np.ndarray:
    """The rows (u,) int32 of the images with these file names (u,)."""
    keys, image_keys = _keys(names), _keys(_image_names(images))
    _refuse_twice(image_keys, "image dataset")
    _refuse_twice(keys, what)
    rows = pc.index_in(keys, value_set=image_keys)
    if rows.null_count:
        missing = names.filter(rows.is_null())
        there = f", such as {image_keys[0].as_py()!r}" if len(images) else ""
        raise InputError(
            f"{len(missing)} of the {len(names)} images of the {what} are not in the image dataset, such as "
            f"{missing[0].as_py()!r}; it has {len(images)} images{there}"
        )
    return rows.to_numpy()


def _image_names(images: Dataset) -> pa.Array:
    """File names (n,) of an image dataset, possibly with folders."""
    if FILENAME in images.column_names:
        names, source = arrow_column(images.select_columns(FILENAME), FILENAME), f"column {FILENAME!r}"
    else:
        # In a flat table the paths are a separate column, so the pictures are not read
        flat = as_encoded_images(images).select_columns(IMAGE_COLUMN).flatten()
        path = f"{IMAGE_COLUMN}.path"
        names, source = arrow_column(flat.select_columns(path), path), f"column {IMAGE_COLUMN!r}"
    if names.null_count or not (pa.types.is_string(names.type) or pa.types.is_large_string(names.type)):
        where = f"image row {names.is_null().index(True).as_py()} has" if names.null_count else "the images have"
        raise InputError(f"{where} no file name in the {source}; add a column {FILENAME!r} with a name for each image")
    return names.cast(pa.string())


def _keys(names: pa.Array) -> pa.Array:
    """Names without folders, and without a synset at the end that repeats the beginning of the name."""
    names = pc.replace_substring_regex(names, r"^.*[/\\]", "")
    parts = pc.extract_regex(names, r"^(?P<synset>n\d{8})_\d+_(?P<again>n\d{8})\.[^.]+$")
    is_again = pc.and_kleene(parts.is_valid(), pc.equal(pc.struct_field(parts, 0), pc.struct_field(parts, 1)))
    return pc.if_else(is_again, pc.replace_substring_regex(names, r"_n\d{8}(\.[^.]+)$", r"\1"), names)


def _refuse_twice(keys: pa.Array, what: str) -> None:
    counts = keys.value_counts()
    if len(counts) < len(keys):
        name = counts.field(0)[counts.field(1).to_numpy().argmax()].as_py()
        raise InputError(f"two images of the {what} have the same file name, apart from folders: {name!r}")
