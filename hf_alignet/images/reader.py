"""Reads rows of an image dataset, or of texts, as inputs of an encoder.

Training, calibration and evaluation all read through it. `as_reader` is where it is decided what is read.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.images.decoding import read_pictures
from hf_alignet.images.opening import IMAGE_COLUMN, as_encoded_images, holds_texts
from hf_alignet.images.picture_files import content_fingerprint
from hf_alignet.images.picture_list import Picture, PictureList
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.texts import TEXT_COLUMN, as_texts
from hf_alignet.images.tokens import TextPreprocessor
from hf_alignet.images.workers import BATCHES, default_workers
from hf_alignet.processes import this_process

GROUP = 8  # pictures that are in memory at their full size
SPAN = 64  # rows that one worker visits at a time
THREADS = 4  # that copy pixels to pinned memory, about 20,000 pictures of 224 x 224 pixels a second and thread


class Reader(ABC):
    """Gives rows as inputs, each time anew. It can be pickled.

    Attributes:
        images: the rows.
        preprocessor: of the encoder that gets the inputs.
        fingerprint: hash of the rows.
        noun: what a row is.
    """

    noun = "image"
    activity = "checking images"
    images: Any
    preprocessor: Any
    fingerprint: Any

    def __len__(self) -> int:
        return len(self.images)

    @abstractmethod
    def read(self, rows: list[int]) -> dict[str, Tensor]:
        """Inputs as `stack` of the preprocessor gives them, in order of `rows`; InputError names a bad row."""

    def is_ready(self, rows: np.ndarray) -> bool:
        """Whether the rows are only copied, and not decoded any more."""
        return False

    def default_workers(self, num_batches: int | None = None) -> int:
        """The number of worker processes that read so many batches where nobody says it."""
        return default_workers(num_batches)

    def batches(
        self, groups: Sequence[np.ndarray], num_workers: int | None = None, pin: bool = False
    ) -> Iterator[dict[str, Tensor]]:
        """The inputs of groups of rows, in order. Worker processes or threads, if there are any, read ahead.

        Args:
            groups: the row numbers of each batch.
            num_workers: as for `prepare`. By default see `default_workers`.
            pin: in pinned memory, which a CUDA device reads beside its work. Rows that are ready come from threads,
                as worker processes would copy them twice more.
        """
        if pin and all(map(self.is_ready, groups)):
            torch.empty((), dtype=torch.int64).random_()  # as a DataLoader does: what draws later draws the same
            return self._ahead(groups)
        workers = self.default_workers(len(groups)) if num_workers is None else num_workers
        workers = min(workers, -(-len(groups) // BATCHES))
        read: Any = self._read_group
        loader: Any = DataLoader(groups, batch_size=None, collate_fn=read, num_workers=workers, pin_memory=pin)  # type: ignore[arg-type]
        return iter(loader)

    def _read_group(self, rows: np.ndarray) -> dict[str, Tensor]:
        return self.read(rows.tolist())

    def _read_pinned(self, rows: np.ndarray) -> dict[str, Tensor]:
        return {name: values.pin_memory() for name, values in self._read_group(rows).items()}

    def _ahead(self, groups: Sequence[np.ndarray]) -> Iterator[dict[str, Tensor]]:
        ahead: deque[Future[dict[str, Tensor]]] = deque()
        with ThreadPoolExecutor(THREADS) as pool:
            for rows in groups:
                ahead.append(pool.submit(self._read_pinned, rows))
                if len(ahead) > THREADS:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def prepare(
        self, rows: np.ndarray, num_workers: int | None = None, progress: bool = True, skip_bad: bool = False
    ) -> dict[int, str]:
        """Reads rows once before a run, to find those that cannot be read.

        Under `accelerate launch` the processes share the work, and each gets the whole result.

        Args:
            rows: (m,) distinct row numbers.
            num_workers: number of worker processes that decode; with 0, this process decodes. By default see
                `hf_alignet.images.workers`.
            progress: show a bar (on the first process).
            skip_bad: continue after a row that cannot be read; otherwise InputError names its row.

        Returns:
            For each row that cannot be read, the reason.
        """
        state = this_process()
        spans: Any = [rows[start : start + SPAN] for start in range(0, len(rows), SPAN)]
        spans = spans[state.process_index :: state.num_processes]
        bad: dict[int, str] = {}
        total, is_hidden = sum(map(len, spans)), not progress or not state.is_main_process
        with tqdm(total=total, desc=self.activity, unit=self.noun, disable=is_hidden) as bar:
            visit = partial(self._visit_span, skip_bad)
            num_workers = default_workers(len(spans)) if num_workers is None else num_workers
            for good, refused in DataLoader(spans, batch_size=None, collate_fn=visit, num_workers=num_workers):
                self._finish(good)
                bad |= refused
                bar.update(len(good) + len(refused))
        return dict(sorted(item for part in gather_object([bad]) for item in part.items()))

    def _visit_span(self, skip_bad: bool, rows: np.ndarray) -> tuple[list[int], dict[int, str]]:
        """The rows that can be read, and for each other row the reason."""
        good, bad = [], {}
        for row in rows.tolist():
            try:
                self._visit(row)
                good.append(row)
            except InputError as error:
                if not skip_bad:
                    raise
                bad[row] = str(error)
        return good, bad

    def _visit(self, row: int) -> None:
        """What a worker process does with a row in `prepare`."""
        self.read([row])

    def _finish(self, rows: list[int]) -> None:  # noqa: B027
        """What the main process does with rows after `_visit`."""


class ImageReader(Reader):
    """Decodes and resizes pictures each time that their rows are read. It can be pickled.

    Args:
        images: a Dataset with an `image` column, or a list of PIL images or paths of image files.
        preprocessor: of the encoder that gets the inputs.

    Raises:
        InputError: the dataset has no such column, or an item of the list is no picture.
    """

    def __init__(self, images: Dataset | Sequence[Picture], preprocessor: Preprocessor):
        self.images: Dataset | PictureList
        if isinstance(images, Dataset):
            self.fingerprint = content_fingerprint(images)
            self.images = as_encoded_images(images).select_columns(IMAGE_COLUMN)
        else:
            self.images = PictureList(images)
        self.preprocessor = preprocessor

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the images: that of the Dataset and the files that it names, or of the content of a list."""
        assert isinstance(self.images, PictureList)  # a Dataset has brought its own
        return self.images.fingerprint

    def read(self, rows: list[int]) -> dict[str, Tensor]:
        """Inputs as `Preprocessor.stack` gives them, usually `pixel_values` (U, 3, H, W) uint8, in order of `rows`.

        Raises:
            InputError: a picture cannot be decoded or is too large (names the row).
        """
        size = GROUP if self.preprocessor.stacks_uint8 else len(rows)  # other processors may pad to the largest
        groups = [rows[start : start + size] for start in range(0, len(rows), size)]
        stacked = [self.preprocessor.stack(self._decode(group)) for group in groups]
        return {name: torch.cat([inputs[name] for inputs in stacked]) for name in stacked[0]}

    def _decode(self, rows: list[int]) -> list[Image.Image]:
        images, edge = self.images, self.preprocessor.shrunk_edge
        pictures = images.read(rows, edge) if isinstance(images, PictureList) else read_pictures(images, rows, edge)
        for picture, row in zip(pictures, rows, strict=True):
            self.preprocessor.check_size(picture, row)
        return pictures

    def _visit(self, row: int) -> None:
        self._decode([row])


class TextReader(Reader):
    """Tokenizes texts each time that their rows are read. It can be pickled.

    Args:
        texts: a Dataset with a `text` column, or a list of strings.
        preprocessor: of the encoder that gets the inputs.

    Raises:
        InputError: the dataset has no such column, or a text is empty (names the row).
    """

    noun = "text"
    activity = "checking texts"

    def __init__(self, texts: Dataset | Sequence[str], preprocessor: TextPreprocessor):
        self.images = as_texts(texts).select_columns(TEXT_COLUMN)
        self.fingerprint = content_fingerprint(self.images)
        self.preprocessor = preprocessor

    def read(self, rows: list[int]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask` (U, T) int64, T tokens in the longest text; see `TextPreprocessor`."""
        return self.preprocessor.stack(self.images[rows][TEXT_COLUMN])


def as_reader(images: Dataset | Reader | Sequence[Any], preprocessor: Preprocessor | TextPreprocessor) -> Reader:
    """A reader of the images for an encoder with this preprocessor. A reader is checked and comes back.

    Raises:
        InputError: the images cannot be used, or are texts and the encoder is of pictures, or the reverse; or the
            reader was made for an encoder that takes other inputs.
    """
    if not isinstance(images, Reader):
        if isinstance(preprocessor, TextPreprocessor):
            return TextReader(images, preprocessor)
        if isinstance(images, Dataset) and holds_texts(images):
            raise InputError("the `images` are texts, and the model is of pictures: give a text model, or pictures")
        return ImageReader(images, preprocessor)
    needed, given = preprocessor.settings(), images.preprocessor.settings()
    if needed != given:
        different = sorted(key for key in needed | given if needed.get(key) != given.get(key))
        raise InputError(
            f"the {images.noun}s are read for an encoder with another {images.noun} processor "
            f"({', '.join(different)} differ); "
            "make the reader or the cache with the preprocessor of this encoder"
        )
    return images
