"""Embeds images or texts: in batches, over several processes, and, with a directory, across interruptions."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import reduce
from datasets import Dataset
from torch import Tensor
from tqdm.auto import tqdm

from hf_alignet.encoder.device_copies import DeviceCopies
from hf_alignet.errors import InputError
from hf_alignet.images.picture_files import content_fingerprint
from hf_alignet.images.picture_list import Picture
from hf_alignet.images.picture_record import ABSENT, PictureRecord
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import Reader, as_reader
from hf_alignet.images.tokens import TextPreprocessor
from hf_alignet.processes import this_process
from hf_alignet.ranges import Count, Whole, checked, row_numbers
from hf_alignet.sources import load_matrix
from hf_alignet.storage import ResumableArray, output_folder, require_space

ARRAY, DESCRIPTION = "embeddings.npy", "embeddings.json"
CHUNK = 512  # rows of a directory of embeddings that are finished together


class Embedder(Protocol):
    """What embedding needs of an encoder."""

    embedding_dim: int
    training: bool

    @property
    def preprocessor(self) -> Preprocessor | TextPreprocessor: ...

    @property
    def device(self) -> torch.device: ...

    def in_bf16(self) -> "Embedder": ...

    def describe(self) -> dict[str, Any]: ...

    def train(self, mode: bool = True) -> Any: ...

    def __call__(self, **inputs: Tensor) -> Tensor: ...


@checked
def embed_dataset(
    encoder: Embedder,
    images: Dataset | Reader | Sequence[Picture],
    rows: np.ndarray | None = None,
    batch_size: Count = 64,
    num_workers: Whole | None = None,
    bf16: bool = False,
    save_to: str | Path | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Embeddings of an image dataset or some of its rows, the same on every process.

    Under `accelerate launch` the processes share the work. With `save_to`, embeddings are written to `embeddings.npy`
    in that directory as they are made. A run that was killed continues from them, with any number of processes.

    Args:
        encoder: used on the device that it is on, in evaluation mode.
        images: a Dataset with an `image` column, a reader or cache of one, or a list of PIL images or paths; for a
            text model one with a column `text`, or a list of strings.
        rows: (m,) row numbers to embed, in this order; all by default.
        batch_size: number of images in a forward pass.
        num_workers: number of worker processes that decode and resize; with 0, this process does it. By default
            see `hf_alignet.images.workers`.
        bf16: run the encoder in bfloat16: on a CPU under autocast, and on other devices with weights of that type,
            which is faster and rounds more (see `hf_alignet.encoder.half_precision`). Embeddings stay float32.
        save_to: directory for the embeddings.
        progress: show a bar (on the first process).

    Returns:
        (m, d) float32; a read-only memory map with `save_to`.

    Raises:
        InputError: a number is out of range, an image cannot be decoded (names the row), or `save_to` holds other
            embeddings or something else, is in use, or is too small a disk.
        RunError: `save_to` cannot be written, for example because the disk is full.
    """
    state = this_process()
    reader = as_reader(images, encoder.preprocessor)
    rows = np.arange(len(reader)) if rows is None else row_numbers(rows, len(reader), "`rows`", "images")
    options: dict[str, Any] = {"batch_size": batch_size, "num_workers": num_workers, "bf16": bf16}
    options |= {"progress": progress, "state": state}
    if save_to is None:
        return _embed(encoder, reader, rows, None, **options)
    with output_folder(save_to, "embed", "save_to", state.is_main_process):
        disk = _open_directory(save_to, encoder, reader, rows, bf16, state, progress)
        return _embed(encoder, reader, rows, disk, **options)


def _embed(
    encoder: Embedder,
    reader: Reader,
    rows: np.ndarray,
    disk: ResumableArray | None,
    batch_size: int,
    num_workers: int | None,
    bf16: bool,
    progress: bool,
    state: PartialState,
) -> np.ndarray:
    """The work of `embed_dataset`."""
    device = encoder.device
    memory = torch.zeros(0 if disk is not None else len(rows), encoder.embedding_dim)
    # A batch lies in one chunk. Each process takes every num_processes-th of the chunks that are not done.
    size = batch_size if disk is None else disk.chunk
    chunks = [start for start in range(0, len(rows), size) if disk is None or not disk.done[start // size]]
    spans = [
        (start, min(start + batch_size, chunk + size, len(rows)))
        for chunk in chunks[state.process_index :: state.num_processes]
        for start in range(chunk, min(chunk + size, len(rows)), batch_size)
    ]
    state.wait_for_everyone()  # no process finishes a chunk before all have looked
    total, is_hidden = sum(end - start for start, end in spans), not progress or not state.is_main_process
    bar = tqdm(total=total, desc="embedding", unit=reader.noun, disable=is_hidden)
    batches = reader.batches([rows[start:end] for start, end in spans], num_workers, pin=device.type == "cuda")
    with bar, contextlib.ExitStack() as afterwards, torch.inference_mode():
        afterwards.callback(encoder.train, encoder.training)
        encoder.train(False)
        for (start, end), embeddings in zip(spans, _forward_passes(encoder, batches, bf16), strict=True):
            if disk is None:
                memory[start:end] = embeddings
            else:
                disk.write(start, embeddings.numpy())
                if end % size == 0 or end == len(rows):
                    disk.finish([start // size])
            bar.update(end - start)
    if disk is not None:
        state.wait_for_everyone()
        return disk.values
    if state.num_processes == 1:
        return memory.numpy()
    return reduce(memory.to(encoder.device), reduction="sum").cpu().numpy()  # each process has filled its rows


def _forward_passes(encoder: Embedder, batches: Iterator[dict[str, Tensor]], bf16: bool) -> Iterator[Tensor]:
    """The embeddings on the CPU, batch after batch. A GPU has the next batch before its results are read."""
    device = encoder.device
    is_cuda, copies = device.type == "cuda", DeviceCopies(device)
    if bf16 and device.type != "cpu":
        encoder = encoder.in_bf16()
    precision = torch.autocast("cpu", torch.bfloat16, enabled=bf16 and device.type == "cpu")
    waiting: list[tuple[Tensor, torch.cuda.Event | None]] = []
    for inputs in batches:
        with precision:
            embeddings = encoder(**copies(inputs)).to("cpu", non_blocking=is_cuda)
        event = torch.cuda.current_stream(device).record_event() if is_cuda else None
        waiting.append((embeddings, event))
        if len(waiting) > is_cuda:
            yield _ready(*waiting.pop(0))
    yield from (_ready(*batch) for batch in waiting)


def _ready(embeddings: Tensor, event: torch.cuda.Event | None) -> Tensor:
    if event is not None:
        event.synchronize()
    return embeddings


def load_embeddings(path: str, what: str, images: Dataset | None, progress: bool = True) -> np.ndarray:
    """The matrix in a `.npy` file, of which row i belongs to row i of the images.

    Of a matrix that `embed_dataset` wrote, the rows follow the pictures to the places that they have now. Of another
    one nothing is known but the number of its rows, which callers compare.

    Args:
        path: of the file.
        what: names it in messages.
        images: the image dataset at hand; None if there is none.
        progress: show a bar while the images are read.

    Raises:
        InputError: the file cannot be read or is not complete, or an image has no row in it (names the image).
    """
    matrix, file = load_matrix(path, what), Path(path).expanduser()
    disk = ResumableArray(file.parent, ARRAY, DESCRIPTION, CHUNK)
    if file.name != ARRAY or not (file.parent / DESCRIPTION).is_file():
        return matrix
    description = disk.check()
    if not disk.done.all():
        raise InputError(f"{path} is not complete: its run was stopped; embed the images again, which continues there")
    recorded = PictureRecord.load(file.parent)
    if images is None or recorded is None:
        return matrix
    at_hand = (content_fingerprint(images), _hash_rows(np.arange(len(images))))
    if (description.get("images"), description.get("rows")) == at_hand:
        return matrix
    there = PictureRecord.of(images, progress)
    rows = there.rows_in(recorded)
    if (rows == ABSENT).any():
        lost = there.lost(np.flatnonzero(rows == ABSENT), recorded)
        raise InputError(f"{path} holds {what} of other images than `images`: {lost}; embed the images again")
    return matrix if np.array_equal(rows, np.arange(len(matrix))) else matrix[rows]


def _open_directory(
    directory: str | Path,
    encoder: Embedder,
    reader: Reader,
    rows: np.ndarray,
    bf16: bool,
    state: PartialState,
    progress: bool,
) -> ResumableArray:
    disk = ResumableArray(directory, ARRAY, DESCRIPTION, CHUNK)
    file, fingerprint = disk.directory / DESCRIPTION, reader.fingerprint
    found = disk.check().get("images") if file.is_file() else None
    recorded = PictureRecord.load(disk.directory) if found is not None else None
    # The fingerprint of a folder changes if it moves
    is_read = found is None or (recorded is not None and found != fingerprint)
    record = PictureRecord.of(reader.images, progress).select(rows) if is_read else None
    state.wait_for_everyone()  # all processes have looked
    if recorded is not None and record is not None and found is not None:
        if (difference := recorded.difference(record)) is not None:
            raise InputError(
                f"{disk.directory} holds embeddings of other images: {difference}; give another directory, or delete "
                "this one"
            )
        fingerprint = found
    if state.is_main_process:
        description = {
            "shape": [len(rows), encoder.embedding_dim],
            "images": fingerprint,
            "rows": _hash_rows(rows),
            **encoder.describe(),
            "bf16": bf16,
        }
        require_space(disk.directory, 4 * len(rows) * encoder.embedding_dim, "save_to")
        if found is None and record is not None:
            record.save(disk.directory)
        disk.create(description, np.float32)  # last: who finds its description finds the record, too
    state.wait_for_everyone()
    return disk


def _hash_rows(rows: np.ndarray) -> str:
    return hashlib.blake2b(rows.astype(np.int64).tobytes(), digest_size=16).hexdigest()
