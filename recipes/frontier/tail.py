"""The last blocks of a ViT, as a student that takes what the first blocks gave: these stay as they are, and run once.

A training step of the last 4 of 12 blocks costs a third of one of all, and so does embedding the held-out photographs.
The numbers are those of a student whose first blocks are frozen, exactly.
"""

from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from hf_alignet.encoder.blocks import blocks_of
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.images.reader import ImageReader

BATCH = 64


class TokensKept(Exception):
    """Ends a forward pass whose tokens are kept: what comes after them need not run."""


class Tail(nn.Module):
    """The last `num_blocks` blocks and the layer norm of a ViT or DINOv2, from tokens (n, t, d) to embeddings (n, d).

    The embedding is that of the class token.
    """

    def __init__(self, encoder: VisionEncoder, num_blocks: int):
        super().__init__()
        self.blocks = cast(nn.ModuleList, blocks_of(encoder.backbone))[-num_blocks:]
        self.norm = cast(nn.Module, encoder.backbone.layernorm)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, 0].float()

    @torch.no_grad()
    def embed(self, tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(m, d) embeddings of the photographs in `rows`, in bfloat16 autocast."""
        with torch.autocast("cpu", torch.bfloat16):
            parts = [self(torch.from_numpy(tokens[part])) for part in np.split(rows, range(BATCH, len(rows), BATCH))]
        return torch.cat(parts).numpy()


@torch.no_grad()
def first_blocks(
    encoder: VisionEncoder, reader: ImageReader, rows: np.ndarray, num_blocks: int, file: Path
) -> np.ndarray:
    """(m, t, d) float32 tokens of the photographs in `rows` before the last `num_blocks` blocks, kept in `file`."""
    if file.exists():
        return np.load(file, mmap_mode="r")
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kept.append(inputs[0].float())
        raise TokensKept

    handle = cast(nn.ModuleList, blocks_of(encoder.backbone))[-num_blocks].register_forward_pre_hook(keep)
    tokens = None
    starts = range(0, len(rows), BATCH)
    try:
        for start in tqdm(starts, desc="first blocks", unit="batch"):
            kept.clear()
            with suppress(TokensKept), torch.autocast("cpu", torch.bfloat16):
                encoder(**reader.read(rows[start : start + BATCH].tolist()))
            if tokens is None:
                tokens = np.lib.format.open_memmap(
                    file.with_suffix(".part.npy"), mode="w+", dtype=np.float32, shape=(len(rows), *kept[0].shape[1:])
                )
            tokens[start : start + BATCH] = kept[0].numpy()
    finally:
        handle.remove()
    assert tokens is not None
    tokens.flush()
    file.with_suffix(".part.npy").rename(file)
    return np.load(file, mmap_mode="r")
