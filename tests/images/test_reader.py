"""Batches are read by others than the main thread where that helps, and are the same whoever reads them."""

import numpy as np
import pytest
import torch
from transformers import ViTImageProcessorPil

from hf_alignet.errors import InputError
from hf_alignet.images import reader as readers
from hf_alignet.images.cache import ImageCache
from hf_alignet.images.kept_pixels import keep_if_small
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import ImageReader

GROUPS = [np.array(rows) for rows in ([3, 17, 3], [5], [21, 0, 8, 2], [3], [23, 22, 1], [9], [4], [6], [7])]


@pytest.fixture
def plain(images):
    return ImageReader(images, Preprocessor(ViTImageProcessorPil(size={"height": 32, "width": 32})))


@pytest.fixture
def pinned(monkeypatch):
    """Tensors that were pinned, on a machine that may have nothing to pin them for."""
    tensors = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: (tensors.append(self), self)[1])
    return tensors


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_order_from_any_number_of_workers(workers, plain):
    batches = list(plain.batches(GROUPS, num_workers=workers))
    assert len(batches) == len(GROUPS)
    for rows, batch in zip(GROUPS, batches, strict=True):
        assert torch.equal(batch["pixel_values"], plain.read(rows.tolist())["pixel_values"])


@pytest.mark.parametrize("kind", ["cache", "memory"])
def test_rows_that_are_ready_come_from_threads_for_a_cuda_device(kind, plain, images, pinned, tmp_path, monkeypatch):
    everything = np.arange(24)
    if kind == "cache":
        reader = ImageCache(tmp_path, images, plain.preprocessor)
        assert not reader.is_ready(everything)
        reader.prepare(everything[:23], progress=False)
        assert reader.is_ready(everything[:23]) and not reader.is_ready(everything)
        reader.prepare(everything, progress=False)
    else:
        reader = keep_if_small(plain)
        reader.read([3, 5])
        assert reader.is_ready(np.array([5, 3, 3])) and not reader.is_ready(everything)
        reader.read(everything.tolist())
    torch.manual_seed(0)
    expected = list(reader.batches(GROUPS))
    drawn = torch.rand(1)
    assert not pinned
    monkeypatch.setattr(readers, "DataLoader", lambda *_, **__: pytest.fail("starts worker processes"))
    torch.manual_seed(0)
    batches = list(reader.batches(GROUPS, num_workers=2, pin=True))
    assert len(pinned) == len(GROUPS)
    for batch, other in zip(batches, expected, strict=True):
        assert torch.equal(batch["pixel_values"], other["pixel_values"])
    assert torch.equal(torch.rand(1), drawn)  # an order that is drawn later is the same


def test_an_error_in_a_thread_reaches_the_caller(plain, pinned, monkeypatch):
    reader = keep_if_small(plain)
    reader.read(list(range(24)))
    monkeypatch.setattr(type(reader), "read", lambda self, rows: (_ for _ in ()).throw(InputError(f"row {rows[0]}")))
    with pytest.raises(InputError, match="row 3"):
        list(reader.batches(GROUPS, pin=True))


def test_pixels_in_memory_need_no_worker_processes(plain, monkeypatch):
    monkeypatch.setattr(readers, "default_workers", lambda num_batches=None: 7)
    assert plain.default_workers() == 7
    assert keep_if_small(plain).default_workers() == 0
