"""THINGS odd-one-out choices as their publishers give them: the large table, and the order of the 1,854 objects.

The table is `triplets_large_final_correctednc_correctedorder.csv` of Hebart et al. 2023 (eLife 12:e82580; OSF f5rn6,
`data/triplet_dataset`). What its columns mean is read from the publishers' preprocessing script that wrote it and the
index files beside it: tab-separated with a header `image1 image2 image3 choice RT noise_ceiling subject_id HIT_nr
trial_nr age gender date time dataset`; images are object numbers from 1; `choice` is the position 1-3 of the odd one
out; `noise_ceiling` is 0 for ordinary trials and 1, 2 or 3 for the three sets of 1,000 repeated triplets (2: each
triplet twice by the same person; 3: the triplets of 2, by other people); `RT` is in milliseconds (the function
that finds careless workers compares it with 800 and 1,100). Inferred, not stated: a response time that is not positive
is unknown. Earlier states of the table (`triplets_large_final.csv`, `..._corrected.csv`) are separated by commas and
still in the order of file names.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import DatasetDict

from hf_alignet.errors import InputError
from hf_alignet.judgments.judgment_dataset import make_judgments
from hf_alignet.judgments.rows import refuse, select_rows
from hf_alignet.judgments.text_table import read_header, read_table

logger = logging.getLogger(__name__)

ObjectOrder = Literal["uid", "file_name"]

IMAGES = ("image1", "image2", "image3")
NEEDED = (*IMAGES, "choice")
NUMBERS = {**dict.fromkeys(NEEDED, pa.int32()), "RT": pa.float32(), "noise_ceiling": pa.int8()}
OPTIONAL = {"subject_id": pa.string()}
IN_FILE_NAME_ORDER = re.compile(r"data1854_|triplets_large_final(?!.*correctedorder)")


def file_name_order(unique_ids: Sequence[str]) -> np.ndarray:
    """The order of the objects in which THINGS files from before the correction number them.

    The objects are listed by uniqueID, but the pictures were uploaded to the experiment in the order of their files,
    by code point and with the extension: `-` comes before `.`, that before digits, those before `_`. So
    `ice-cream_cone` came before `ice`, and `camera1` before `camera_lens`. Of the 1,854 objects 21 moved, of the
    families camera, chicken, crystal, hot, ice and pepper.

    Args:
        unique_ids: the n uniqueIDs in the order of the list of concepts (`things_concepts.tsv`).

    Returns:
        (n,) int64: entry r is the row in `unique_ids` of the object that such files call r (from 0). Arrays in the
        order of file names (VICE's published embedding) come into uniqueID order by `array[np.argsort(order)]`.

    Example:
        >>> file_name_order(["camera_lens", "camera1", "camera2"]).tolist()
        [1, 2, 0]
    """
    return np.array(sorted(range(len(unique_ids)), key=lambda i: unique_ids[i] + ".jpg"), dtype=np.int64)


def published_order(file_name: str) -> ObjectOrder:
    """The order in which a published file numbers the objects, told by its name.

    Hebart et al. 2023 write `trainset.txt`, `validationset.txt` and `testset*.txt` from the corrected table: uniqueID
    order. Their 2020 release (`data1854_*.txt`, 1.46 M triplets) and the tables before `correctedorder` are in the
    order of file names: analyses of them renumber the objects after loading. Names such as `train_90` do not tell:
    gLocal reads those files in uniqueID order, which is what is taken here, but VICE's published embedding is in the
    order of file names, and so presumably were the triplets that it was fitted to; for such, say `order="file_name"`.
    """
    return "file_name" if IN_FILE_NAME_ORDER.match(file_name) else "uid"


def to_uid_order(
    triplets: np.ndarray, order: ObjectOrder, unique_ids: Sequence[str] | None, source: Path
) -> np.ndarray:
    """Triplets (n, 3) of object numbers from 0, renumbered to rows of `unique_ids` if they are in file-name order.

    Raises:
        InputError: file-name order without the uniqueIDs, or a number outside them.
    """
    if order == "uid":
        return triplets
    if unique_ids is None:
        raise InputError(
            f"{source.name} numbers the objects in the order of file names; give the uniqueIDs of the objects "
            "(`object_names`), so that they can be renumbered"
        )
    is_outside = np.any(triplets >= len(unique_ids), axis=1)
    refuse(is_outside, triplets, f"triplets of {source.name}", f"is outside the {len(unique_ids)} objects")
    return file_name_order(unique_ids)[triplets]


def is_things_table(header: Sequence[str]) -> bool:
    """Whether a table with these columns is the publishers'."""
    return set(IMAGES) <= set(header)


def load_things_table(
    path: str | Path, unique_ids: Sequence[str] | None = None, order: ObjectOrder | None = None
) -> DatasetDict:
    """The publishers' table: split `train`, and `test1` to `test3` of the repeated triplets where it marks them.

    Args:
        path: the table.
        unique_ids: of the objects, needed for tables in file-name order.
        order: how the table numbers the objects; None tells by the name of the file (see `published_order`).

    Raises:
        InputError: a column is missing, or a cell is not what its column should hold (names the first row).
    """
    path = Path(path)
    header, delimiter = read_header(path)
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise InputError(f"{path.name} lacks the column {' and '.join(missing)}; it has {', '.join(header)}")
    kinds = {name: kind for name, kind in (NUMBERS | OPTIONAL).items() if name in header}
    table = read_table(path, delimiter, list(kinds), kinds)
    triplets = np.stack([_numbers(table, name, path) for name in IMAGES], axis=1) - 1
    refuse(np.any(triplets < 0, axis=1), triplets + 1, f"triplets of {path.name}", "has an object number below 1")
    odd = _numbers(table, "choice", path) - 1
    refuse((odd < 0) | (odd > 2), odd + 1, f"choices of {path.name}", "is not a position 1, 2 or 3")
    judgments = make_judgments(
        to_uid_order(triplets, order or published_order(path.name), unique_ids, path),
        odd,
        participant=table["subject_id"] if "subject_id" in kinds else None,
        rt=_seconds(table["RT"], path) if "RT" in kinds else None,
    )
    if "noise_ceiling" not in kinds:
        return DatasetDict(train=judgments)
    of_split = _numbers(table, "noise_ceiling", path)
    names = {0: "train"} | {number: f"test{number}" for number in np.unique(of_split[of_split != 0]).tolist()}
    splits = {name: select_rows(judgments, of_split == number) for number, name in names.items()}
    return DatasetDict({name: split for name, split in splits.items() if len(split)})


def _numbers(table: pa.Table, name: str, path: Path) -> np.ndarray:
    values = table[name]
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py()
        raise InputError(f"row {row} of {path.name} has no {name}")
    return values.to_numpy()


def _seconds(milliseconds: pa.ChunkedArray, path: Path) -> np.ndarray:
    seconds = milliseconds.to_numpy() / np.float32(1000)
    is_wrong = seconds <= 0
    if is_wrong.any():
        logger.warning("%d response times of %s are not positive: taken as unknown", is_wrong.sum(), path.name)
    seconds[is_wrong] = np.nan
    return seconds
