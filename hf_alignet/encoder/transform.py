"""AffineTransform: the map from an encoder's features to features whose dot products predict human choices.

What `hf_alignet.teacher` fits, saved, shared on the Hub, and applied to the features of any images.
The convention is that of gLocal (Muttenthaler et al. 2023b): features are rows, and one scalar mean and one scalar
standard deviation, of the whole matrix of stimulus features, standardise them.
"""

import json
from pathlib import Path
from typing import Any, Self, overload
from zipfile import BadZipFile

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hf_alignet.errors import InputError
from hf_alignet.hub.rendering import TAGS, card_links, render_card
from hf_alignet.sources import load_shared, shared_file

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
BLOCK = 8192  # rows that are transformed at once, so that a memory map is never read whole


class AffineTransform(nn.Module, ModelHubMixin):
    """`((x - mean) / std) @ weight + bias` in float32.

    Args:
        weight: (p, p), acts on row vectors. The paper writes Wx + b: its W is the transpose.
        bias: (p,).
        mean: scalar that is subtracted from every feature.
        std: positive scalar that every feature is divided by.
        info: facts of how it was made that JSON can hold, kept in `config.json` and shown on the card. It is shared
            with the transform: no local path belongs in it.

    Raises:
        InputError: shapes do not fit, a number is not finite, or `std` is not positive.

    Example:
        >>> transform = AffineTransform(2 * np.eye(2), np.array([0, 1]), mean=1.0)
        >>> transform(np.array([[1.0, 2.0]]))
        array([[0., 3.]], dtype=float32)
    """

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
        for name, value in (("weight", weight), ("bias", bias), ("mean", mean), ("std", std)):
            self.register_buffer(name, torch.as_tensor(value).detach().to(torch.float32, copy=True).contiguous())
        self.info = dict(info or {})
        self._check()

    @classmethod
    def identity(cls, dim: int) -> Self:
        """The transform that changes nothing: the teacher of the paper's control, UnAligNet."""
        return cls(torch.eye(dim), torch.zeros(dim), info={"method": "identity"})

    @property
    def dim(self) -> int:
        """Number of features p."""
        return len(self.bias)

    @overload
    def forward(self, features: Tensor) -> Tensor: ...

    @overload
    def forward(self, features: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...

    def forward(self, features: np.ndarray | Tensor, out: np.ndarray | None = None) -> np.ndarray | Tensor:
        """Transformed features.

        Args:
            features: (..., p) tensor on the device of the transform, through which gradients pass; or (n, p) array of
                any float type, such as a memory map, which is read in blocks of rows.
            out: (n, p) array of any float type, such as a memory map, to write those of an array to.

        Returns:
            The same shape and kind, float32; or `out`.

        Raises:
            InputError: the features have another width (names both), are not finite, or too large for `out` (names
                the row).
        """
        if features.ndim == 0 or features.shape[-1] != self.dim:
            raise InputError(f"features of shape {tuple(features.shape)} do not fit a transform of width {self.dim}")
        if isinstance(features, Tensor):
            return self._transform(features, 0)
        transformed = np.empty(features.shape, np.float32) if out is None else out
        with torch.no_grad():
            for start in range(0, len(features), BLOCK):
                rows = slice(start, start + BLOCK)
                block = torch.from_numpy(np.array(features[rows], np.float32)).to(self.weight.device)
                with np.errstate(over="ignore"):  # the next lines say it
                    transformed[rows] = self._transform(block, start).cpu().numpy()
                is_bad = ~np.isfinite(transformed[rows]).all(1)
                if is_bad.any():
                    row = start + int(is_bad.argmax())
                    raise InputError(f"transformed features of row {row} are too large for {transformed.dtype}")
        return transformed

    def _transform(self, features: Tensor, first_row: int) -> Tensor:
        # Autocast would multiply in half precision
        with torch.autocast(features.device.type, enabled=False):
            transformed = (features.float() - self.mean) / self.std @ self.weight + self.bias
        is_bad = ~torch.isfinite(transformed.detach()).reshape(-1, self.dim).all(1)
        if is_bad.any():
            raise InputError(f"features of row {first_row + int(is_bad.int().argmax())} are not finite, or too large")
        return transformed

    def _check(self) -> None:
        shapes = {name: tuple(tensor.shape) for name, tensor in self.named_buffers()}
        p = self.bias.numel()
        if shapes != {"weight": (p, p), "bias": (p,), "mean": (), "std": ()}:
            raise InputError(f"a transform has weight (p, p), bias (p,) and scalar mean and std, got {shapes}")
        bad = [name for name, tensor in self.named_buffers() if not torch.isfinite(tensor).all()]
        if bad:
            raise InputError(f"{bad[0]} of the transform is not finite")
        if not self.std > 0:
            raise InputError(f"std of the transform must be positive, got {self.std.item()}")

    # ---- gLocal's file

    @classmethod
    def from_npz(cls, path: str | Path) -> Self:
        """Reads gLocal's `transform.npz`: `weights`, `bias`, `mean`, `std`; without a bias it is 0, as in some of the
        published files.

        Raises:
            InputError: the file cannot be read, lacks an array, or holds something else.
        """
        try:
            file = np.load(path, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is no .npz file")
            with file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, BadZipFile) as error:
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
        with open(path, "wb") as file:
            np.savez(file, weights=arrays["weight"], bias=arrays["bias"], mean=arrays["mean"], std=arrays["std"])

    # ---- the Hub

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Loads a transform.

        Args:
            pretrained_model_name_or_path: a directory written by `save_pretrained`, or a Hub id, optionally with
                `@revision`.
            **kwargs: `revision`, `token`, `cache_dir`, `force_download` and `local_files_only` of huggingface_hub.

        Raises:
            InputError: there is no transform.
        """
        return load_shared(super().from_pretrained, pretrained_model_name_or_path, "a transform", **kwargs)

    def push_to_hub(self, repo_id: str, *, model_card_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> str:
        """Uploads `config.json`, `model.safetensors` and a card; arguments are those of `ModelHubMixin`."""
        card = {"repo_id": repo_id, **(model_card_kwargs or {})}
        return super().push_to_hub(repo_id, model_card_kwargs=card, **kwargs)

    def generate_model_card(
        self, repo_id: str | None = None, table: str | None = None, has_figure: bool = False
    ) -> ModelCard:
        """The card from `hub_cards/teacher.md.jinja`.

        Args:
            repo_id: where the transform will be found.
            table: Markdown, how well choices are predicted before and after.
            has_figure: whether `calibration.png` lies beside the card.
        """
        links = card_links(self.info)
        data = ModelCardData(library_name="hf_alignet", tags=TAGS, **links)
        return render_card(
            "teacher.md.jinja",
            data,
            dim=self.dim,
            info=self.info,
            base_model=self.info["base_model"] if links["base_model"] else None,
            repo_id=repo_id,
            table=table,
            has_figure=has_figure,
        )

    def _save_pretrained(self, save_directory: Path) -> None:
        save_file(dict(self.named_buffers()), save_directory / WEIGHTS_FILE)
        config = {"dim": self.dim, "info": self.info}
        (save_directory / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        # The mixin keeps a card that is there, which may state the facts of another transform
        (save_directory / "README.md").unlink(missing_ok=True)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, info: dict[str, Any] | None = None, **download: Any) -> Self:
        tensors = load_file(shared_file(model_id, WEIGHTS_FILE, **download))
        if tensors.keys() != {"weight", "bias", "mean", "std"}:
            raise InputError(f"it holds {', '.join(sorted(tensors)[:4])} …, not weight, bias, mean and std")
        return cls(**tensors, info=info)
