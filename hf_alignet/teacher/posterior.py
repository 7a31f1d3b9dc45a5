"""What VICE believes of an embedding: a Gaussian for every entry, a spike-and-slab prior, which dimensions are real.

Everything here is elementwise or by dimension. What choices say about the embedding comes in as the slope of their
cross-entropy.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True)
class SpikeAndSlab:
    """Prior of every entry: p(x) = share * N(x; 0, spike^2) + (1 - share) * N(x; 0, slab^2).

    Args:
        spike: standard deviation of the entries that are as good as zero.
        slab: standard deviation of the others.
        share: of the spike, in (0, 1).
    """

    spike: float
    slab: float
    share: float

    def slope(self, x: Tensor) -> Tensor:
        """-d log p / dx, by the log odds of the two Gaussians, so that no density can underflow."""
        spike, slab = 1 / self.spike**2, 1 / self.slab**2
        log_odds = math.log(self.share / self.spike) - math.log((1 - self.share) / self.slab)
        of_spike = torch.addcmul(x.new_tensor(log_odds), x, x, value=(slab - spike) / 2).sigmoid_()
        return of_spike.mul_(spike - slab).add_(slab).mul_(x)


class Posterior:
    """Independent Gaussians over an embedding of n objects in d dimensions, and Adam on their parameters.

    Attributes:
        loc: (n, d) means; an embedding is what a draw has above zero.
        log_scale: (n, d) logarithms of the standard deviations.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, learning_rate: float):
        self.loc, self.log_scale = loc, log_scale
        self.adam = torch.optim.Adam([loc, log_scale], lr=learning_rate, fused=True)

    @property
    def learning_rate(self) -> float:
        return self.adam.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.adam.param_groups[0]["lr"] = value

    @classmethod
    def initial(
        cls,
        num_objects: int,
        num_dimensions: int,
        scale: float | None,
        learning_rate: float,
        generator: torch.Generator,
    ) -> "Posterior":
        """Means from N(0, 2 / d) and one standard deviation, by default exp(-1 / SD of the means): both as in VICE."""
        loc = torch.randn(num_objects, num_dimensions, generator=generator) * math.sqrt(2 / num_dimensions)
        log_scale = -1 / loc.std().item() if scale is None else math.log(scale)
        return cls(loc, torch.full_like(loc, log_scale), learning_rate)

    def draw(self, generator: torch.Generator) -> Tensor:
        """(n, d), not yet cut off at zero."""
        noise = torch.randn(self.loc.shape, generator=generator)
        return torch.addcmul(self.loc, self.log_scale.exp(), noise)

    def update(self, draw: Tensor, slope: Tensor, entropy_weight: float) -> None:
        """One step of Adam on loss(draw) + entropy_weight * log q(draw), through draw = loc + scale * noise.

        Args:
            draw: (n, d) of this posterior.
            slope: (n, d), gradient of the loss with respect to the draw.
            entropy_weight: one over the number of choices. By that path log q changes with the log scales alone, at
                -1 each.
        """
        self.loc.grad = slope
        self.log_scale.grad = (draw - self.loc).mul_(slope).sub_(entropy_weight)
        self.adam.step()

    def keep(self, dimensions: Tensor) -> None:
        """Drops all dimensions but those (a (d,) mask), along with what Adam remembers of them."""
        old = self.adam
        parameters = self.loc, self.log_scale
        self.loc, self.log_scale = (p[:, dimensions].contiguous() for p in parameters)
        self.adam = torch.optim.Adam([self.loc, self.log_scale], lr=old.defaults["lr"], fused=True)
        for before, after in zip(parameters, (self.loc, self.log_scale), strict=True):
            self.adam.state[after] = {
                name: value if name == "step" else value[:, dimensions].contiguous()
                for name, value in old.state[before].items()
            }

    def objects_per_dimension(self) -> Tensor:
        """(d,) how many objects are certainly not zero in each dimension.

        An entry's p-value is the posterior's mass at or below zero; the procedure of Benjamini and Hochberg over the
        objects of a dimension keeps the share of false discoveries among them at 5 %.
        """
        p_values = torch.special.ndtr(-self.loc / self.log_scale.exp()).T.sort(dim=1).values
        rank = torch.arange(1, len(self.loc) + 1)
        return torch.where(p_values <= FALSE_DISCOVERY_RATE * rank / len(rank), rank, 0).amax(1)

    def state(self) -> dict[str, Tensor]:
        """Tensors from which `restore` makes the same posterior, its Adam included."""
        state = {"loc": self.loc, "log_scale": self.log_scale}
        for name in state.copy():
            state |= {f"{name}.{key}": value for key, value in self.adam.state[getattr(self, name)].items()}
        return state

    @classmethod
    def restore(cls, state: dict[str, Tensor], learning_rate: float) -> "Posterior":
        posterior = cls(state["loc"], state["log_scale"], learning_rate)
        for name in ("loc", "log_scale"):
            posterior.adam.state[getattr(posterior, name)] = {
                key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")
            }
        return posterior
