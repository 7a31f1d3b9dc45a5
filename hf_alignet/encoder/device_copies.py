"""Batches go to a CUDA device beside its work: copies have a stream of their own, and nobody waits for them there."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class DeviceCopies:
    """Copies tensors, alone or in dicts, to a device. Copies from pinned memory overlap what runs there already.

    On other devices than CUDA this is `Tensor.to`.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, data: Any) -> Any:
        """The same data on the device; what is no tensor stays as it is."""
        if self.stream is None:
            return self._copy(data, None)
        reader = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self.stream):
            copied = self._copy(data, reader)
        reader.wait_stream(self.stream)
        return copied

    def _copy(self, data: Any, reader: torch.cuda.Stream | None) -> Any:
        if isinstance(data, Mapping):
            return {name: self._copy(value, reader) for name, value in data.items()}
        if not isinstance(data, Tensor):
            return data
        copied = data.to(self.device, non_blocking=reader is not None)
        if reader is not None:
            copied.record_stream(reader)  # or its memory could be given away before it is read
        return copied
