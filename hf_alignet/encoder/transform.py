"""AffineTransform: maps features of an encoder to features whose dot products predict human choices.

`hf_alignet.teacher` fits it. The convention is that of gLocal (Muttenthaler et al. 2023b): features are rows. One
scalar mean and one scalar standard deviation, both of the whole matrix of stimulus features, standardise them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, overload
from zipfile import BadZipFile

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelCardData
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hf_alignet.errors import InputError
from hf_alignet.hub.rendering import TAGS, card_links, render_card
from hf_alignet.hub.transport.shared_model import SharedModel
from hf_alignet.storage import whole_file, write_json

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
BLOCK = 8192  # rows that are transformed at once: a memory map may be larger than the memory


class AffineTransform(nn.Module, SharedModel):
    """`((x - mean) / std) @ weight + bias` in float32.

    Args:
        weight: (p, p), acts on row vectors. The paper writes Wx + b: its W is the transpose.
        bias: (p,).
        mean: scalar that is subtracted from every feature.
        std: positive scalar that every feature is divided by.
        info: facts about the fit that JSON can hold, for `config.json` and the card. They are shared with the
            transform, so they must not contain a local path.

    Raises:
        InputError: the shapes do not fit, a number is not finite, or `std` is not positive.

    Example:
        >>> transform = AffineTransform(2 * np.eye(2), np.array([0, 1]), mean=1.0)
        >>> transform(np.array([[1.0, 2.0]]))
        array([[0., 3.]], dtype=float32)
    """

    kind = "transform"
    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        weight: np.ndarray | Tensor,
        bias: np.ndarray | Tensor,
        mean: float | Tensor = 0.0,
        std: float | Tensor = 1.0,
        info: dict[str, Any] | None = None,
    ):
        super().__init__()
        for name, value in {"weight": weight, "bias": bias, "mean": mean, "std": std}.items():
            self.register_buffer(name, torch.as_tensor(value).detach().to(torch.float32, copy=True).contiguous())
        self.info = dict(info or {})
        shapes = {name: tuple(tensor.shape) for name, tensor in self.named_buffers()}
        p = self.bias.numel()
        if shapes != {"weight": (p, p), "bias": (p,), "mean": (), "std": ()}:
            raise InputError(f"a transform has weight (p, p), bias (p,) and scalar mean and std, got {shapes}")
        bad = [name for name, tensor in self.named_buffers() if not torch.isfinite(tensor).all()]
        if bad:
            raise InputError(f"{bad[0]} of the transform is not finite")
        if not self.std > 0:
            raise InputError(f"std of the transform must be positive, got {self.std.item()}")

    @classmethod
    def identity(cls, dim: int) -> Self:
        """The transform that changes nothing: the teacher of the paper's control, UnAligNet."""
        return cls(torch.eye(dim), torch.zeros(dim), info={"method": "identity"})

    @property
    def dim(self) -> int:
        return len(self.bias)

    @overload
    def forward(self, features: Tensor) -> Tensor: ...

    @overload
    def forward(self, features: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...

    def forward(self, features: np.ndarray | Tensor, out: np.ndarray | None = None) -> np.ndarray | Tensor:
        """Transformed features.

        Args:
            features: (..., p) tensor on the device of the transform, and gradients pass through; or (n, p) array of
                any float type, which is read in blocks of rows and may be a memory map.
            out: (n, p) array of any float type that the result is written to, if the features are an array.

        Returns:
            The same shape and kind, float32; or `out`.

        Raises:
            InputError: the features have another width (names both widths), are not finite, or are too large for
                `out` (names the row).
        """
        if features.ndim == 0 or features.shape[-1] != self.dim:
            raise InputError(f"features of shape {tuple(features.shape)} do not fit a transform of width {self.dim}")
        if isinstance(features, Tensor):
            return self._transform(features, 0)
        transformed = np.empty(features.shape, np.float32) if out is None else out
        for number, block in enumerate(self.blocks(features, transformed.dtype)):
            transformed[number * BLOCK : number * BLOCK + len(block)] = block
        return transformed

    @torch.no_grad()
    def blocks(self, features: np.ndarray, dtype: np.dtype | str = "float32") -> Iterator[np.ndarray]:
        """Transformed features (n, p) in blocks of rows; otherwise as `forward` of an array."""
        for start in range(0, len(features), BLOCK):
            block = torch.from_numpy(np.array(features[start : start + BLOCK], np.float32)).to(self.weight.device)
            with np.errstate(over="ignore"):  # the next lines raise an error for it
                transformed = self._transform(block, start).cpu().numpy().astype(dtype, copy=False)
            is_bad = ~np.isfinite(transformed).all(1)
            if is_bad.any():
                row = start + int(is_bad.argmax())
                raise InputError(f"transformed features of row {row} are too large for {transformed.dtype}")
            yield transformed

    def _transform(self, features: Tensor, first_row: int) -> Tensor:
        # Autocast would multiply in half precision
        with torch.autocast(features.device.type, enabled=False):
            transformed = (features.float() - self.mean) / self.std @ self.weight + self.bias
        is_bad = ~torch.isfinite(transformed.detach()).reshape(-1, self.dim).all(1)
        if is_bad.any():
            raise InputError(f"features of row {first_row + int(is_bad.int().argmax())} are not finite, or too large")
        return transformed

    # ---- gLocal's file

    @classmethod
    def from_npz(cls, path: str | Path) -> Self:
        """Reads gLocal's `transform.npz`: `weights`, `bias`, `mean`, `std`. Without a bias in the file, it is 0.

        Raises:
            InputError: the file cannot be read, lacks an array, or holds something else.
        """
        try:
            file = np.load(Path(path).expanduser(), allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is no .npz file")
            with file:
                arrays = dict(file)
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise InputError(f"cannot read the transform {path}: {error}") from error
        missing = {"weights", "mean", "std"} - arrays.keys()
        if missing:
            raise InputError(f"{path} lacks {', '.join(sorted(missing))}; it holds {', '.join(sorted(arrays))}")
        bias = arrays.get("bias", np.zeros(arrays["weights"].shape[-1]))
        mean, std = (torch.from_numpy(np.asarray(arrays[name]).squeeze()) for name in ("mean", "std"))
        return cls(arrays["weights"], bias.squeeze(), mean, std)

    def to_npz(self, path: str | Path) -> None:
        """Writes gLocal's `transform.npz`."""
        arrays = {name: tensor.cpu().numpy() for name, tensor in self.named_buffers()}
        with whole_file(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, weights=arrays["weight"], bias=arrays["bias"], mean=arrays["mean"], std=arrays["std"])

    # ---- the Hub

    def generate_model_card(
        self, repo_id: str | None = None, table: str | None = None, has_figure: bool = False
    ) -> ModelCard:
        """The card from `hub_cards/teacher.md.jinja`.

        Args:
            repo_id: where the transform will be found.
            table: Markdown table: how well the features predict choices before and after the transform.
            has_figure: whether `calibration.png` lies beside the card.
        """
        links = card_links(self.info)
        data = ModelCardData(library_name="hf_alignet", tags=TAGS, **links)
        base_model = self.info["base_model"] if links["base_model"] else None
        facts = {"dim": self.dim, "info": self.info, "base_model": base_model, "repo_id": repo_id}
        return render_card("teacher.md.jinja", data, **facts, table=table, has_figure=has_figure)

    def _save_pretrained(self, save_directory: Path) -> None:
        with whole_file(save_directory / WEIGHTS_FILE) as temporary:
            save_file(dict(self.named_buffers()), temporary)
        write_json(save_directory / CONFIG_FILE, {"dim": self.dim, "info": self.info})

    @classmethod
    def _from_pretrained(cls, *, model_id: str, info: dict[str, Any] | None = None, **download: Any) -> Self:
        tensors = load_file(cls.file(model_id, WEIGHTS_FILE, **download))
        if "gate_weight" in tensors:
            raise InputError(
                "it is a ContextTransform: similarities depend on all three images of a triplet, so no image has an "
                "embedding of its own; `evaluate` takes it for choices, things and levels"
            )
        if tensors.keys() != {"weight", "bias", "mean", "std"}:
            raise InputError(f"it holds {', '.join(sorted(tensors)[:4])} …, not weight, bias, mean and std")
        return cls(**tensors, info=info)
