"""Writes labelled triplets to disk: parquet shards, one after the other, each complete or absent.

Each shard records where it ends in the order of the sampler. So a run that was stopped continues from there, and ends
with the same bytes as a run without a stop.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.processes import this_process
from hf_alignet.similarity import NO_CHOICE, odd_one_out
from hf_alignet.storage import write_table
from hf_alignet.triplets.filters import LabelBounds, take_triplets
from hf_alignet.triplets.labeling import label_triplets
from hf_alignet.triplets.sampling import TripletSampler
from hf_alignet.triplets.triplet_dataset import TRIPLET, triplet_table

ROWS_PER_SHARD = 1_000_000
ROWS_PER_GROUP = 100_000
BLOCK = 65_536  # number of triplets that are labelled at once
DECIDED_SAMPLE = 1000  # triplets
PLACE = b"hf_alignet.next_place"
NO_LIMIT = np.iinfo(np.int64).max


class TooFewTriplets(InputError):
    """The bounds on labels and `max_per_image` leave only `found` triplets."""

    def __init__(self, message: str, found: int):
        super().__init__(message)
        self.found = found


@dataclass
class TripletSource:
    """Labelled triplets in a fixed order."""

    sampler: TripletSampler
    embeddings: np.ndarray  # (n, p) of the teacher, one row for each image of the sampler; may be a memory map
    rows: np.ndarray | None = None  # (n,) rows of these images in the image dataset; None means 0 to n - 1
    bounds: LabelBounds = LabelBounds()  # on the labels
    max_per_image: int | None = None  # greatest number of triplets with the same image; None means no limit

    def check(self, number: int, place: int = 0) -> None:
        """Raises an InputError if there are fewer than `number` triplets from a place in the order on."""
        if place + number > (most := self.sampler.num_triplets):
            raise InputError(f"{place + number} triplets are needed, but there are only {most} different triplets")
        if self.max_per_image is not None and number > (most := len(self.embeddings) * self.max_per_image // 3):
            limits = f"{len(self.embeddings)} images with `max_per_image={self.max_per_image}`"
            raise InputError(f"{number} triplets are needed, but {limits} allow only {most}")

    def check_decided(self) -> None:
        """Raises an InputError if the teacher finds two pairs most similar in each of the first triplets."""
        triplets = self.sampler.draw(0, min(DECIDED_SAMPLE, self.sampler.num_triplets))
        similarities = label_triplets(self.embeddings, triplets)
        if (odd_one_out(torch.from_numpy(similarities)) == NO_CHOICE).all():
            raise InputError("the teacher is undecided about every triplet: is it collapsed, or are all images alike?")

    def read(self, place: int, number: int, uses: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """The next `number` triplets within all limits, from a place in the order on.

        It yields parts: triplets (m, 3) of rows of `embeddings`, their similarities (m, 3), and the place after them.
        It adds to `uses` (n,), the number of uses of each image. Raises TooFewTriplets at the end of the order.
        """
        asked = number
        while number:
            end = min(place + BLOCK, self.sampler.num_triplets)
            if place == end:
                raise TooFewTriplets(
                    f"{number} more triplets are needed, but the bounds on labels and `max_per_image` leave none of "
                    f"all {end}",
                    asked - number,
                )
            triplets = self.sampler.draw(place, end)
            similarities = label_triplets(self.embeddings, triplets)
            admitted = self.bounds.admit(similarities)
            taken, seen = take_triplets(triplets, admitted, uses, self.max_per_image or NO_LIMIT, number)
            place += seen
            number -= len(taken)
            yield triplets[taken], similarities[taken], place


def write_shards(
    directory: Path,
    split: str,
    source: TripletSource,
    number: int,
    place: int = 0,
    progress: bool = True,
    is_shared: bool = False,
) -> int:
    """Writes `number` triplets as `{split}-00000-of-00010.parquet` and so on, from a place in the order on.

    Returns the place after the last triplet. A run that was stopped continues: shards in the directory must come from
    the same source. With `is_shared` every process must call it, of a source that takes each triplet, and each writes
    some of the shards. Raises an InputError if there are not enough triplets, TooFewTriplets if the bounds leave too
    few.
    """
    source.check(number, place)
    files = shard_files(directory, split, number)
    uses = np.zeros(len(source.embeddings), np.int64)
    state = this_process()
    first, step = (state.process_index, state.num_processes) if is_shared else (0, 1)
    begin, is_hidden = place, not (progress and state.is_main_process)
    with tqdm(total=number, desc=f"{split} triplets", unit="triplet", disable=is_hidden) as bar:
        for index, file in list(enumerate(files))[first::step]:
            size = min(ROWS_PER_SHARD, number - index * ROWS_PER_SHARD)
            if is_shared:
                place = begin + index * ROWS_PER_SHARD
            if file.exists():
                place = _count_uses(file, source, uses)
                bar.update(size)
            else:
                try:
                    place = _write_shard(file, source, place, size, uses, bar)
                except TooFewTriplets as error:
                    raise TooFewTriplets(str(error), index * ROWS_PER_SHARD + error.found) from error
    if is_shared:
        state.wait_for_everyone()
        place = begin + number
    return place


def shard_files(directory: Path, split: str, number: int) -> list[Path]:
    """The files for a number of triplets."""
    total = -(-number // ROWS_PER_SHARD)
    return [directory / f"{split}-{index:05d}-of-{total:05d}.parquet" for index in range(total)]


def _write_shard(file: Path, source: TripletSource, place: int, size: int, uses: np.ndarray, bar: tqdm) -> int:
    parts: list[pa.Table] = []
    for triplets, similarities, end in source.read(place, size, uses):
        rows = triplets if source.rows is None else source.rows[triplets]
        parts.append(triplet_table(rows, similarities))
        place = end
        bar.update(len(triplets))
    table = pa.concat_tables(parts).combine_chunks()
    write_shard(table.replace_schema_metadata({**table.schema.metadata, PLACE: json.dumps(place).encode()}), file)
    return place


def write_shard(table: pa.Table, file: Path) -> None:
    """Writes triplets as a parquet file; see `write_table`."""
    # A dictionary would be larger than the numbers, because they hardly repeat
    write_table(table, file, compression="zstd", use_dictionary=False, row_group_size=ROWS_PER_GROUP)


def _count_uses(file: Path, source: TripletSource, uses: np.ndarray) -> int:
    """Counts the images of an existing shard, if their number is limited, and returns the place after the shard."""
    if source.max_per_image is not None:
        named = np.asarray(pq.read_table(file, columns=[TRIPLET])[TRIPLET].combine_chunks().flatten())
        named = named if source.rows is None else np.searchsorted(source.rows, named)
        uses += np.bincount(named, minlength=len(uses))
    return json.loads(pq.read_schema(file).metadata[PLACE])
