"""The state of one fit of VICE, which can stop and continue."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from hf_alignet.errors import InputError, RunError
from hf_alignet.storage import whole_file
from hf_alignet.teacher.evidence import ShuffledChoices, Slope, all_choices
from hf_alignet.teacher.posterior import Posterior, SpikeAndSlab
from hf_alignet.teacher.settings import ViceSettings


class ViceRun:
    """A fit, epoch by epoch.

    The fit first searches with all dimensions, until the number of dimensions to keep is stable. Then it drops the
    other dimensions, and settles: the learning rate falls to zero. For triplets and `pair_counts`, see `evidence`.
    """

    def __init__(self, settings: ViceSettings, triplets: np.ndarray, pair_counts: np.ndarray, num_objects: int):
        self.settings = settings
        self.prior = SpikeAndSlab(settings.spike, settings.slab, settings.spike_share)
        self.generator = torch.Generator().manual_seed(settings.random_state)
        shape = (num_objects, settings.num_dimensions)
        self.posterior = Posterior.initial(shape, settings.initial_scale, settings.learning_rate, self.generator)
        self.evidence = (
            all_choices(triplets, pair_counts, num_objects)
            if settings.batch_size is None
            else ShuffledChoices(triplets, pair_counts, settings.batch_size)
        )
        self.weight = 1 / int(pair_counts.sum())
        self.history: list[int] = []
        self.settled: int | None = None  # epochs of settling that are done; None while the fit searches
        text = repr(sorted(settings.settings().items())).encode()
        content = text + np.int64(num_objects).tobytes() + triplets.tobytes() + pair_counts.tobytes()
        self.fingerprint = hashlib.sha256(content).hexdigest()

    @property
    def epochs(self) -> int:
        """Number of epochs that are done."""
        return len(self.history) + (self.settled or 0)

    @property
    def most_epochs(self) -> int:
        """How many epochs it can take: fewer once the number of dimensions is stable."""
        searching = self.settings.max_epochs if self.settled is None else len(self.history)
        return searching + self.settings.settle

    def is_done(self) -> bool:
        return self.settled is not None and self.settled >= self.settings.settle

    def has_converged(self) -> bool:
        """Whether the number of dimensions to keep was stable during the last `window` epochs."""
        window = self.settings.window
        recent = self.history[-window:]
        return len(self.history) >= max(self.settings.burn_in, window) and recent[-1] > 0 and len(set(recent)) == 1

    def next_epoch(self) -> float:
        """Uses each choice once, and returns the mean cross-entropy of the steps.

        Raises a RunError if the fit diverged, or no dimension is significant.
        """
        if self.settled is not None:
            rate = self.settings.learning_rate * (1 - self.settled / self.settings.settle)
            self.posterior.adam.param_groups[0]["lr"] = rate
        losses = [self._step(slope) for slope in self.evidence.slopes(self.generator)]
        if not np.isfinite(losses).all() or not self.posterior.loc.isfinite().all():
            raise RunError(f"VICE diverged in epoch {self.epochs + 1}: try a lower `learning_rate`")
        if self.settled is not None:
            self.settled += 1
        else:
            is_kept = self.posterior.objects_per_dimension() > self.settings.min_objects
            self.history.append(int(is_kept.sum()))
            if self.has_converged() or len(self.history) == self.settings.max_epochs:
                self._begin_to_settle(is_kept)
        return float(np.mean(losses))

    def _step(self, slope: Slope) -> float:
        draw = self.posterior.draw(self.generator)
        cross_entropy, gradient = slope(draw.relu())
        gradient.mul_(draw > 0).add_(self.prior.slope(draw), alpha=self.weight)
        self.posterior.update(draw, gradient, entropy_weight=self.weight)
        return cross_entropy

    def _begin_to_settle(self, is_kept: Tensor) -> None:
        if not is_kept.any():
            choices = f"{round(1 / self.weight)} choices of {len(self.posterior.loc)} objects"
            raise RunError(f"VICE found no dimension in {choices}: the choices are too few, or they are random")
        self.posterior.keep(is_kept)
        self.settled = 0

    def save(self, file: Path) -> None:
        """Writes a checkpoint."""
        metadata = {"fingerprint": self.fingerprint, "history": json.dumps(self.history)}
        if self.settled is not None:
            metadata["settled"] = str(self.settled)
        with whole_file(file) as temporary:
            save_file(self.posterior.state() | {"generator": self.generator.get_state()}, temporary, metadata)

    def load(self, file: Path) -> None:
        """Continues from a checkpoint. Raises an InputError if it cannot be read, or belongs to another fit."""
        try:
            with safe_open(file, framework="pt") as opened:
                metadata = opened.metadata() or {}
            state = load_file(file)
        except SafetensorError as error:
            raise InputError(f"{file} cannot be read: remove it to start again: {error}") from error
        if metadata.get("fingerprint") != self.fingerprint:
            raise InputError(f"{file} belongs to a fit with other judgments or settings: remove it to start again")
        self.generator.set_state(state.pop("generator"))
        self.posterior = Posterior.restore(state, self.settings.learning_rate)
        self.history = json.loads(metadata["history"])
        self.settled = int(metadata["settled"]) if "settled" in metadata else None
