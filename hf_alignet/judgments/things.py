"""THINGS odd-one-out choices as published: the large table, and the order of the 1,854 objects.

The table is `triplets_large_final_correctednc_correctedorder.csv` of Hebart et al. 2023 (eLife 12:e82580; OSF f5rn6,
`data/triplet_dataset`). The publishers' preprocessing script, which wrote it, and the index files beside it show its
columns. The table is tab-separated with a header `image1 image2 image3 choice RT noise_ceiling subject_id HIT_nr
trial_nr age gender date time dataset`. Images are object numbers from 1. `choice` is the position 1-3 of the odd one
out. `noise_ceiling` is 0 for ordinary trials and 1, 2 or 3 for the three sets of 1,000 repeated triplets (2: the same
person saw each triplet twice; 3: the triplets of 2, seen by other people). `RT` is in milliseconds (the function that
finds careless workers compares it with 800 and 1,100). We infer that a response time that is not positive is unknown.
Earlier versions of the table (`triplets_large_final.csv`, `..._corrected.csv`) have commas between the cells, and
number the objects in the order of file names.
"""

import logging
import re
from collections.abc import Sequence
from csv import reader
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from datasets import DatasetDict

from hf_alignet.errors import InputError
from hf_alignet.judgments.file_reading import check_filled, check_header, read_header, read_table, read_text
from hf_alignet.judgments.judgment_dataset import make_judgments
from hf_alignet.judgments.rows import refuse, select_rows

logger = logging.getLogger(__name__)

ObjectOrder = Literal["uid", "file_name"]

IMAGES = ("image1", "image2", "image3")
NEEDED = (*IMAGES, "choice")
KINDS = dict.fromkeys(NEEDED, pa.int32()) | {"RT": pa.float32(), "noise_ceiling": pa.int8(), "subject_id": pa.string()}
PUBLISHED = "triplets_large_final"  # how the names of the published tables begin
TWO_LINES = 100_000  # bytes
IN_FILE_NAME_ORDER = re.compile(r"data1854_|triplets_large_final(?!.*correctedorder)")


def file_name_order(unique_ids: Sequence[str]) -> np.ndarray:
    """The order of the objects in THINGS files from before the correction.

    The list of objects is in the order of uniqueIDs, but the experiment took the pictures in the order of their file
    names, by code point and with the extension: `-` comes before `.`, `.` before digits, digits before `_`. So
    `ice-cream_cone` came before `ice`, and `camera1` before `camera_lens`. Of the 1,854 objects 21 moved, with names
    that begin with camera, chicken, crystal, hot, ice or pepper.

    Args:
        unique_ids: n uniqueIDs in the order of the list of concepts (`things_concepts.tsv`).

    Returns:
        (n,) int64: entry r is the row in `unique_ids` of the object with the number r (from 0) in such files.
        `array[np.argsort(order)]` brings an array in the order of file names (such as VICE's published embedding)
        into the order of uniqueIDs.

    Example:
        >>> file_name_order(["camera_lens", "camera1", "camera2"]).tolist()
        [1, 2, 0]
    """
    return np.array(sorted(range(len(unique_ids)), key=lambda i: unique_ids[i] + ".jpg"), dtype=np.int64)


def published_order(file_name: str) -> ObjectOrder:
    """The order in which a published file numbers the objects, from its name.

    Hebart et al. 2023 wrote `trainset.txt`, `validationset.txt` and `testset*.txt` from the corrected table, in the
    order of uniqueIDs. Their 2020 release (`data1854_*.txt`, 1.46 M triplets) and the tables before `correctedorder`
    are in the order of file names: analyses of them renumber the objects after loading. Names such as `train_90` do
    not show the order. This function follows gLocal, which reads such files in the order of uniqueIDs. But VICE's
    published embedding is in the order of file names, so its triplets probably are too: give `order="file_name"`.
    """
    return "file_name" if IN_FILE_NAME_ORDER.match(file_name) else "uid"


def to_uid_order(
    triplets: np.ndarray, order: ObjectOrder, unique_ids: Sequence[str] | None, source: Path
) -> np.ndarray:
    """Triplets (n, 3) of object numbers from 0 as rows of `unique_ids`; only file-name order changes the numbers."""
    if order == "uid":
        return triplets
    if unique_ids is None:
        numbered = f"{source.name} numbers the objects in the order of file names"
        raise InputError(f"{numbered}; give the uniqueIDs of the objects as `object_names`, to renumber them")
    is_outside = np.any(triplets >= len(unique_ids), axis=1)
    refuse(is_outside, triplets, f"triplets of {source.name}", f"is outside the {len(unique_ids)} objects")
    return file_name_order(unique_ids)[triplets]


def is_things_file(path: Path) -> bool:
    """Whether a text table is the published one, by its name, or by columns of object numbers."""
    header, delimiter = read_header(path)
    if not set(IMAGES) <= set(header):
        return False
    if path.name.startswith(PUBLISHED):
        return True
    second = read_text(path, TWO_LINES)[0].decode("utf-8", errors="ignore").splitlines()[1:2]
    cells = dict(zip(header, next(reader(second, delimiter=delimiter), []), strict=False))
    return set(NEEDED) <= set(header) and all(cells.get(name, "").isdecimal() for name in IMAGES)


def load_things_table(
    path: str | Path, unique_ids: Sequence[str] | None = None, order: ObjectOrder | None = None
) -> DatasetDict:
    """The published table: split `train`, and `test1` to `test3` if it marks the repeated triplets.

    `order` is that in which the table numbers the objects; None: the file name decides (see `published_order`). Tables
    in file-name order need the `unique_ids` of the objects. Raises an InputError if a column is missing, or a cell has
    a wrong value (the message names the first row).
    """
    path = Path(path)
    header, delimiter = read_header(path)
    check_header(header, NEEDED, path.name)
    kinds = {name: kind for name, kind in KINDS.items() if name in header}
    table = read_table(path, delimiter, list(kinds), kinds)
    for name in (*NEEDED, *({"noise_ceiling"} & set(kinds))):
        check_filled(table[name], name, path.name)
    triplets = np.stack([table[name].to_numpy() for name in IMAGES], axis=1) - 1
    refuse(np.any(triplets < 0, axis=1), triplets + 1, f"triplets of {path.name}", "has an object number below 1")
    odd = table["choice"].to_numpy() - 1
    refuse((odd < 0) | (odd > 2), odd + 1, f"choices of {path.name}", "is not a position 1, 2 or 3")
    rt = table["RT"].to_numpy() / np.float32(1000) if "RT" in kinds else None
    if rt is not None and (rt <= 0).any():
        logger.warning("%d response times of %s are not positive: treated as unknown", (rt <= 0).sum(), path.name)
        rt[rt <= 0] = np.nan
    participant = table["subject_id"] if "subject_id" in kinds else None
    triplets = to_uid_order(triplets, order or published_order(path.name), unique_ids, path)
    judgments = make_judgments(triplets, odd, participant=participant, rt=rt)
    if "noise_ceiling" not in kinds:
        return DatasetDict(train=judgments)
    sets = table["noise_ceiling"].to_numpy()
    names = {number: f"test{number}" if number else "train" for number in np.unique(sets)}
    return DatasetDict({name: select_rows(judgments, sets == number) for number, name in names.items()})
