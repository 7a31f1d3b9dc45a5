"""Embeds a whole image dataset: in batches, over several processes, and, given a directory, across interruptions."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import reduce
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.images.reader import ImageReader, as_reader

if TYPE_CHECKING:
    from hf_alignet.encoder.model import VisionEncoder

CHUNK = 512  # rows of a directory of embeddings that are finished, or not, as one


def embed_dataset(
    encoder: "VisionEncoder",
    images: Dataset | ImageReader,
    rows: np.ndarray | None = None,
    batch_size: int = 64,
    num_workers: int = 0,
    bf16: bool = False,
    save_to: str | Path | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Embeddings of (some rows of) an image dataset, the same on every process.

    Under `accelerate launch` the processes share the work. With `save_to`, embeddings go to `embeddings.npy` in that
    directory as they are made, and a run that was killed continues where it stopped, with any number of processes.

    Args:
        encoder: used as it is, on the device it is on, in evaluation mode.
        images: a Dataset with an `image` column, or a reader or cache of one.
        rows: (m,) row numbers to embed, in this order; all by default.
        batch_size: images a forward pass.
        num_workers: processes that decode and resize; 0 does it in this one.
        bf16: run the encoder under bfloat16 autocast; embeddings stay float32.
        save_to: directory for the embeddings.
        progress: show a bar (on the first process).

    Returns:
        (m, d) float32; a read-only memory map with `save_to`.

    Raises:
        InputError: an image cannot be decoded (names the row), or `save_to` holds the embeddings of something else.
    """
    state = PartialState(cpu=not torch.accelerator.is_available())  # else it would not see other CPU processes
    reader = as_reader(images, encoder.preprocessor)
    rows = np.arange(len(reader)) if rows is None else np.asarray(rows)
    store = (
        _DirectoryStore(Path(save_to), _describe(encoder, reader, rows, bf16), state)
        if save_to is not None
        else _MemoryStore(len(rows), encoder.embedding_dim, batch_size)
    )
    # Spans never straddle two chunks; each process takes every num_processes-th of the chunks still to do.
    chunks = [start for start in range(0, len(rows), store.chunk) if not store.has(start)]
    spans = [
        (start, min(start + batch_size, chunk + store.chunk, len(rows)))
        for chunk in chunks[state.process_index :: state.num_processes]
        for start in range(chunk, min(chunk + store.chunk, len(rows)), batch_size)
    ]
    bar = tqdm(
        total=sum(end - start for start, end in spans),
        desc="embedding",
        unit="image",
        disable=not progress or not state.is_main_process,
    )
    with bar, _evaluation_mode(encoder), torch.inference_mode():
        batches = _Batches(reader, rows, spans)
        for start, end, inputs in DataLoader(batches, batch_size=None, num_workers=num_workers):
            with torch.autocast(encoder.device.type, torch.bfloat16) if bf16 else contextlib.nullcontext():
                embeddings = encoder(**{name: tensor.to(encoder.device) for name, tensor in inputs.items()})
            store.write(start, embeddings)
            if end % store.chunk == 0 or end == len(rows):
                store.finish(start)
            bar.update(end - start)
    return store.result(state, encoder.device)


@contextlib.contextmanager
def _evaluation_mode(encoder: "VisionEncoder") -> Iterator[None]:
    was_training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(was_training)


class _Batches(torch.utils.data.Dataset):
    """Item i is the i-th batch, read and resized."""

    def __init__(self, reader: ImageReader, rows: np.ndarray, spans: list[tuple[int, int]]):
        self.reader, self.rows, self.spans = reader, rows, spans

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> tuple[int, int, dict[str, Tensor]]:
        start, end = self.spans[index]
        return start, end, self.reader.read(self.rows[start:end].tolist())


class _MemoryStore:
    """Embeddings in memory; each process fills its rows and the sum of all is the whole."""

    def __init__(self, num_rows: int, dim: int, chunk: int):
        self.embeddings = torch.zeros(num_rows, dim)
        self.chunk = chunk

    def has(self, start: int) -> bool:
        return False

    def write(self, start: int, embeddings: Tensor) -> None:
        self.embeddings[start : start + len(embeddings)] = embeddings.cpu()

    def finish(self, start: int) -> None:
        """Nothing outlasts the process, so nothing is noted."""

    def result(self, state: PartialState, device: torch.device) -> np.ndarray:
        if state.num_processes == 1:
            return self.embeddings.numpy()
        return reduce(self.embeddings.to(device), reduction="sum").cpu().numpy()


class _DirectoryStore:
    """Embeddings in `embeddings.npy`; `done.npy` holds one byte a chunk, set after the chunk has reached the disk."""

    chunk = CHUNK

    def __init__(self, directory: Path, description: dict[str, Any], state: PartialState):
        self.directory = directory
        if state.is_main_process:
            self._prepare(description)
        state.wait_for_everyone()
        self.embeddings = np.load(directory / "embeddings.npy", mmap_mode="r+", allow_pickle=False)
        self.done = np.load(directory / "done.npy", mmap_mode="r+", allow_pickle=False)

    def _prepare(self, description: dict[str, Any]) -> None:
        file = self.directory / "embeddings.json"
        if file.exists():
            found = json.loads(file.read_text())
            different = [key for key in description if found.get(key) != description[key]]
            if different:
                raise InputError(
                    f"{self.directory} holds embeddings of something else ({', '.join(different)} differ); "
                    "give another directory or delete it"
                )
            return
        num_rows, dim = description["shape"]
        self.directory.mkdir(parents=True, exist_ok=True)
        np.lib.format.open_memmap(self.directory / "embeddings.npy", "w+", np.float32, (num_rows, dim)).flush()
        np.lib.format.open_memmap(self.directory / "done.npy", "w+", np.uint8, (-(-num_rows // CHUNK),)).flush()
        # Written last and renamed into place: where it exists, the two files above do.
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(description, indent=2))
        os.replace(temporary, file)

    def has(self, start: int) -> bool:
        return bool(self.done[start // CHUNK])

    def write(self, start: int, embeddings: Tensor) -> None:
        self.embeddings[start : start + len(embeddings)] = embeddings.cpu().numpy()

    def finish(self, start: int) -> None:
        self.embeddings.flush()
        self.done[start // CHUNK] = 1
        self.done.flush()

    def result(self, state: PartialState, device: torch.device) -> np.ndarray:
        state.wait_for_everyone()
        return np.load(self.directory / "embeddings.npy", mmap_mode="r", allow_pickle=False)


def _describe(encoder: "VisionEncoder", reader: ImageReader, rows: np.ndarray, bf16: bool) -> dict[str, Any]:
    """Everything that the embeddings depend on."""
    weights = hashlib.blake2b(digest_size=16)
    transform = encoder.transform.state_dict() if encoder.transform is not None else {}
    for name, tensor in [*sorted(encoder.model.state_dict().items()), *sorted(transform.items())]:
        weights.update(name.encode())
        weights.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    settings = {"model": encoder.backbone.config.to_dict(), "processor": encoder.processor.to_dict()}
    return {
        "shape": [len(rows), encoder.embedding_dim],
        "images": reader.fingerprint,
        "rows": hashlib.blake2b(rows.astype(np.int64).tobytes(), digest_size=16).hexdigest(),
        "weights": weights.hexdigest(),
        "settings": hashlib.blake2b(
            json.dumps(settings, sort_keys=True, default=str).encode(), digest_size=16
        ).hexdigest(),
        "pooling": encoder.pooling,
        "bf16": bf16,
    }
