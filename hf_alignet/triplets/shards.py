"""Labelled triplets on disk: parquet shards that are made one after the other, and are whole or not there.

Where a shard ends in the order of its sampler is written in it, so that a run that was killed goes on there, and ends
with the same bytes as one that was not.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.storage import write_table
from hf_alignet.triplets.filters import LabelBounds, take_triplets
from hf_alignet.triplets.labeling import label_triplets
from hf_alignet.triplets.sampling import TripletSampler
from hf_alignet.triplets.triplet_dataset import TRIPLET, triplet_table

ROWS_PER_SHARD = 1_000_000
ROWS_PER_GROUP = 100_000
BLOCK = 65_536  # triplets that are labelled at once
PLACE = b"hf_alignet.next_place"
NO_LIMIT = np.iinfo(np.int64).max

logger = logging.getLogger(__name__)


@dataclass
class TripletSource:
    """Where labelled triplets come from, in an order that is always the same.

    Attributes:
        sampler: the order.
        embeddings: (n, p) the teacher's, one row an image that the sampler knows; may be a memory map.
        rows: (n,) the row of each in the image dataset; None if they are the same.
        bounds: on the labels.
        max_per_image: triplets that name an image; None for any number.
    """

    sampler: TripletSampler
    embeddings: np.ndarray
    rows: np.ndarray | None = None
    bounds: LabelBounds = field(default_factory=LabelBounds)
    max_per_image: int | None = None

    def check(self, number: int, place: int = 0) -> None:
        """Refuses to make more triplets than there are.

        Args:
            number: that will be asked for.
            place: in the order, from which on.

        Raises:
            InputError: says how many there are.
        """
        if place + number > self.sampler.num_triplets:
            raise InputError(
                f"{place + number} triplets were asked for, but there are only {self.sampler.num_triplets} different "
                "ones"
            )
        most = NO_LIMIT if self.max_per_image is None else len(self.embeddings) * self.max_per_image // 3
        if number > most:
            raise InputError(
                f"{number} triplets were asked for, but {len(self.embeddings)} images with at most "
                f"{self.max_per_image} triplets each make {most}"
            )

    def read(self, place: int, number: int, uses: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """The next triplets that are kept, in parts.

        Args:
            place: in the order, from which on.
            number: how many.
            uses: (n,) how often each image is named by those before; counted on.

        Yields:
            Triplets (m, 3) of rows of `embeddings`, their similarities (m, 3), and the place after them.

        Raises:
            InputError: the order ends before there are so many.
        """
        while number:
            end = min(place + BLOCK, self.sampler.num_triplets)
            if place == end:
                raise InputError(
                    f"none of all {end} triplets is left that the bounds on labels and uses admit, and {number} more "
                    "were asked for"
                )
            triplets = self.sampler.draw(place, end)
            similarities = label_triplets(self.embeddings, triplets)
            admitted = self.bounds.admit(similarities)
            max_uses = NO_LIMIT if self.max_per_image is None else self.max_per_image
            taken, seen = take_triplets(triplets, admitted, uses, max_uses, number)
            place += seen
            number -= len(taken)
            yield triplets[taken], similarities[taken], place


def write_shards(
    directory: Path, split: str, source: TripletSource, number: int, place: int = 0, progress: bool = True
) -> int:
    """Writes so many triplets as `{split}-00000-of-00010.parquet` and so on; goes on where an earlier run stopped.

    Args:
        directory: is made if need be; shards in it must come from the same source.
        split: name of the split.
        source: of the triplets.
        number: of the triplets.
        place: in the order of the source, from which on they are taken.
        progress: show a bar.

    Returns:
        The place after the last one.

    Raises:
        InputError: there are not so many triplets.
    """
    source.check(number, place)
    files = shard_files(directory, split, number)
    uses = np.zeros(len(source.embeddings), np.int64)
    with tqdm(total=number, desc=f"{split} triplets", unit="triplet", disable=not progress) as bar:
        for index, file in enumerate(files):
            size = min(ROWS_PER_SHARD, number - index * ROWS_PER_SHARD)
            if file.exists():
                place = _count_uses(file, source, uses)
                bar.update(size)
            else:
                place = _write_shard(file, source, place, size, uses, bar)
    return place


def shard_files(directory: Path, split: str, number: int) -> list[Path]:
    """The files that so many triplets are in."""
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
    """Writes triplets as a parquet file, complete or not at all."""
    # The numbers hardly repeat: a dictionary of them would be larger than they are
    write_table(table, file, compression="zstd", use_dictionary=False, row_group_size=ROWS_PER_GROUP)


def _count_uses(file: Path, source: TripletSource, uses: np.ndarray) -> int:
    """Counts the images of a shard that is there, where their number matters, and gives the place after it."""
    if source.max_per_image is not None:
        named = np.asarray(pq.read_table(file, columns=[TRIPLET])[TRIPLET].combine_chunks().flatten())
        named = named if source.rows is None else np.searchsorted(source.rows, named)
        uses += np.bincount(named, minlength=len(uses))
    return json.loads(pq.read_schema(file).metadata[PLACE])
