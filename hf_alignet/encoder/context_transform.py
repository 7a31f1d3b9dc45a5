"""ContextTransform: similarity of two images that depends on the third image in view.

People compare images by what tells those in view apart or joins them, so that a dimension that matters in one triplet
may be idle in another (Tversky 1977; Born et al. 2026, https://arxiv.org/abs/2604.13883, where an anchor image is the
context). Here each triplet weighs the leading dimensions of an affine transform anew. With z the transformed features,
x = z V their leading dimensions, and h = x G + b:

    s_ij | ijk  =  z_i·z_j + sum_d (w_d - 1) x_id x_jd,      w = exp((h_i + h_j + h_k) / 3)

The weights are the same for the three pairs, and do not depend on the order of the images. With G = 0 and b = 0 it is
the plain transform. On THINGS nothing is gained for objects that nobody judged (recipes/context). The form is this
package's own; the equation of Born et al. was not at hand.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelCardData
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hf_alignet.encoder.transform import CONFIG_FILE, WEIGHTS_FILE, AffineTransform
from hf_alignet.errors import InputError
from hf_alignet.hub.rendering import TAGS, card_links, render_card
from hf_alignet.hub.transport.shared_model import SharedModel
from hf_alignet.ranges import row_numbers
from hf_alignet.similarity import PAIRS
from hf_alignet.similarity.products import products_of_triplets
from hf_alignet.storage import whole_file, write_json

GATE = ("axes", "gate_weight", "gate_bias")
LIMIT = 4.0  # of the logarithm of a weight: images unlike those of the fit must not overflow
BLOCK = 4096  # triplets whose weights are in memory at once


class ContextTransform(nn.Module, SharedModel):
    """Similarities of triplets, from features of their images.

    Args:
        plain: the affine transform (p, p) that it weighs anew.
        axes: V (p, r), orthonormal columns: the dimensions that are weighed, r ≤ p.
        gate_weight: G (r, r), acts on row vectors.
        gate_bias: b (r,).
        info: facts about the fit, as of `AffineTransform`. By default those of `plain`.

    Raises:
        InputError: the shapes do not fit, or a number is not finite.

    Example:
        >>> plain = AffineTransform.identity(2)
        >>> transform = ContextTransform(plain, np.eye(2), np.zeros((2, 2)), np.log([1.0, 3.0]))
        >>> transform.similarities(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]]), np.array([[0, 1, 2]]))
        array([[1., 0., 6.]], dtype=float32)
    """

    kind = "context transform"
    axes: Tensor
    gate_weight: Tensor
    gate_bias: Tensor

    def __init__(
        self,
        plain: AffineTransform,
        axes: np.ndarray | Tensor,
        gate_weight: np.ndarray | Tensor,
        gate_bias: np.ndarray | Tensor,
        info: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.plain = plain
        for name, value in zip(GATE, (axes, gate_weight, gate_bias), strict=True):
            self.register_buffer(name, torch.as_tensor(value).detach().to(torch.float32, copy=True).contiguous())
        self.info = dict(plain.info if info is None else info)
        r = self.gate_bias.numel()
        shapes = {name: tuple(getattr(self, name).shape) for name in GATE}
        if shapes != {"axes": (plain.dim, r), "gate_weight": (r, r), "gate_bias": (r,)}:
            raise InputError(
                f"a context transform of width {plain.dim} has axes ({plain.dim}, r), gate_weight (r, r) and "
                f"gate_bias (r,), got {shapes}"
            )
        bad = [name for name in GATE if not torch.isfinite(getattr(self, name)).all()]
        if bad:
            raise InputError(f"{bad[0]} of the context transform is not finite")

    @property
    def dim(self) -> int:
        return self.plain.dim

    def similarities(self, features: np.ndarray, triplets: np.ndarray) -> np.ndarray:
        """Similarities of the pairs of triplets; the probability that people keep a pair is their softmax.

        Args:
            features: (n, p) of any float type; only the rows that triplets name are read.
            triplets: (m, 3) rows of the features.

        Returns:
            (m, 3) float32 in pair order.

        Raises:
            InputError: the features have another width, or a row is not finite; a triplet points outside them.
        """
        triplets = row_numbers(triplets, len(features), "the triplets", "features")
        rows, named = np.unique(triplets, return_inverse=True)
        named = named.reshape(-1, 3)
        transformed = self.plain(features[rows])
        found = products_of_triplets(transformed, named)
        leading = transformed @ self.axes.cpu().numpy()
        gates = leading @ self.gate_weight.cpu().numpy() + self.gate_bias.cpu().numpy()
        for start in range(0, len(named), BLOCK):
            block = named[start : start + BLOCK]
            corners = leading[block]  # (b, 3, r)
            extra = np.expm1(gates[block].mean(1).clip(-LIMIT, LIMIT))  # w - 1
            for column, (i, j) in enumerate(PAIRS):
                found[start : start + BLOCK, column] += (extra * corners[:, i] * corners[:, j]).sum(1)
        return found

    # ---- the Hub

    def generate_model_card(
        self, repo_id: str | None = None, table: str | None = None, has_figure: bool = False
    ) -> ModelCard:
        """The card from `hub_cards/context.md.jinja`; the arguments are those of `AffineTransform`."""
        data = ModelCardData(library_name="hf_alignet", tags=TAGS, **card_links(self.info))
        facts = {"dim": self.dim, "number": len(self.gate_bias), "info": self.info, "repo_id": repo_id}
        return render_card("context.md.jinja", data, **facts, table=table, has_figure=has_figure)

    def _save_pretrained(self, save_directory: Path) -> None:
        tensors = dict(self.plain.named_buffers()) | {name: getattr(self, name) for name in GATE}
        with whole_file(save_directory / WEIGHTS_FILE) as temporary:
            save_file(tensors, temporary)
        write_json(save_directory / CONFIG_FILE, {"dim": self.dim, "info": self.info})

    @classmethod
    def _from_pretrained(cls, *, model_id: str, info: dict[str, Any] | None = None, **download: Any) -> Self:
        tensors = load_file(cls.file(model_id, WEIGHTS_FILE, **download))
        gate = {name: tensors.pop(name) for name in GATE if name in tensors}
        if len(gate) < len(GATE) or tensors.keys() != {"weight", "bias", "mean", "std"}:
            raise InputError(f"it has no {', '.join(GATE)} beside an affine transform")
        plain = AffineTransform(tensors["weight"], tensors["bias"], tensors["mean"], tensors["std"])
        return cls(plain, gate["axes"], gate["gate_weight"], gate["gate_bias"], info)


def open_transform(name: str) -> AffineTransform | ContextTransform:
    """The transform of either kind in a directory or a Hub id. Raises an InputError if there is none."""
    try:
        return ContextTransform.from_pretrained(name)
    except InputError:
        return AffineTransform.from_pretrained(name)
