"""The posterior of VICE: a Gaussian for each entry of the embedding. And its prior, a spike and a slab.

This module knows nothing of choices. It gets the gradient of their cross-entropy.
"""

import math
from dataclasses import dataclass
from typing import Self

import scipy
import torch
from torch import Tensor

FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True)
class SpikeAndSlab:
    """Prior of each entry: p(x) = share * N(x; 0, spike^2) + (1 - share) * N(x; 0, slab^2)."""

    spike: float  # standard deviation of the entries that are almost zero
    slab: float  # standard deviation of the other entries
    share: float  # in (0, 1)

    def slope(self, x: Tensor) -> Tensor:
        """-d log p / dx. It uses the log odds of the two Gaussians, because their densities can underflow."""
        spike, slab = 1 / self.spike**2, 1 / self.slab**2
        log_odds = math.log(self.share / self.spike) - math.log((1 - self.share) / self.slab)
        of_spike = torch.addcmul(x.new_tensor(log_odds), x, x, value=(slab - spike) / 2).sigmoid_()
        return of_spike.mul_(spike - slab).add_(slab).mul_(x)


class Posterior:
    """Independent Gaussians over an embedding of n objects in d dimensions, and Adam on their parameters.

    `loc` (n, d) are the means, `log_scale` (n, d) the logarithms of the standard deviations. An embedding is a random
    draw with its negative entries set to zero.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, learning_rate: float):
        self.loc, self.log_scale = loc, log_scale
        self.adam = torch.optim.Adam([loc, log_scale], lr=learning_rate, fused=True)

    @classmethod
    def initial(
        cls, shape: tuple[int, int], scale: float | None, learning_rate: float, generator: torch.Generator
    ) -> Self:
        """Means from N(0, 2 / d), and one standard deviation, by default exp(-1 / SD of the means), as in VICE."""
        loc = torch.randn(shape, generator=generator) * math.sqrt(2 / shape[1])
        log_scale = -1 / loc.std().item() if scale is None else math.log(scale)
        return cls(loc, torch.full_like(loc, log_scale), learning_rate)

    def draw(self, generator: torch.Generator) -> Tensor:
        """A random draw (n, d), with its negative entries."""
        noise = torch.randn(self.loc.shape, generator=generator)
        return torch.addcmul(self.loc, self.log_scale.exp(), noise)

    def update(self, draw: Tensor, slope: Tensor, entropy_weight: float) -> None:
        """One step of Adam on loss(draw) + entropy_weight * log q(draw), with draw = loc + scale * noise.

        `slope` (n, d) is the gradient of the loss. log q depends on the log scales alone, with derivative -1.
        """
        self.loc.grad = slope
        self.log_scale.grad = (draw - self.loc).mul_(slope).sub_(entropy_weight)
        self.adam.step()

    def keep(self, dimensions: Tensor) -> None:
        """Keeps the dimensions in a (d,) mask, with their state in Adam, and drops the others."""
        kept = {
            name: value if name.endswith(".step") else value[:, dimensions].contiguous()
            for name, value in self.state().items()
        }
        restored = self.restore(kept, self.adam.defaults["lr"])
        self.loc, self.log_scale, self.adam = restored.loc, restored.log_scale, restored.adam

    def objects_per_dimension(self) -> Tensor:
        """(d,) number of objects whose entry in each dimension is significantly above zero.

        The p-value of an entry is the posterior probability of zero or less. The procedure of Benjamini and Hochberg
        keeps the false discovery rate over the objects of a dimension at 5 %.
        """
        p_values = torch.special.ndtr(-self.loc / self.log_scale.exp())
        adjusted = scipy.stats.false_discovery_control(p_values.numpy(), axis=0)
        return torch.from_numpy((adjusted <= FALSE_DISCOVERY_RATE).sum(0))

    def state(self) -> dict[str, Tensor]:
        """Tensors from which `restore` makes the same posterior, with the state of Adam."""
        state = {"loc": self.loc, "log_scale": self.log_scale}
        for name in state.copy():
            state |= {f"{name}.{key}": value for key, value in self.adam.state[getattr(self, name)].items()}
        return state

    @classmethod
    def restore(cls, state: dict[str, Tensor], learning_rate: float) -> Self:
        """The posterior that `state` describes."""
        posterior = cls(state["loc"], state["log_scale"], learning_rate)
        for name in ("loc", "log_scale"):
            posterior.adam.state[getattr(posterior, name)] = {
                key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")
            }
        return posterior
