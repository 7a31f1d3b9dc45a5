"""What happened between two logs of a training run."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback

NEVER = torch.iinfo(torch.int64).max


class LogWindow:
    """Sums on the device between two logs. Only reading them waits for the device, and no training step does."""

    def __init__(self, device: torch.device):
        self.sums: dict[str, Tensor] = {}
        self.counts: Counter[str] = Counter()
        self.num_added = 0
        self.first_bad_step = torch.full((), NEVER, device=device)  # the first whose loss was not finite
        self.started = time.perf_counter()

    def add(self, loss: Tensor, step: int, values: dict[str, Tensor], **counts: int) -> None:
        """Adds the values of a batch, of the same names each time, and how many items of each kind it had."""
        bad_step = self.first_bad_step.clamp(max=step)
        self.first_bad_step = torch.where(torch.isfinite(loss.detach()), self.first_bad_step, bad_step)
        self.num_added += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach()
        self.counts.update(counts)

    def means_and_rates(self, reduce: Callable[..., Tensor]) -> dict[str, float]:
        """Means over the window and all processes, and items per second of all processes together."""
        if self.num_added == 0:
            return {}
        seconds = time.perf_counter() - self.started
        means = torch.stack([total / self.num_added for total in self.sums.values()])
        rates = torch.tensor([number / seconds for number in self.counts.values()], device=means.device)
        names = [*self.sums, *(f"{name}_per_second" for name in self.counts)]
        values = reduce(means, reduction="mean").tolist() + reduce(rates, reduction="sum").tolist()
        return dict(zip(names, values, strict=True))


class LogTemperature(TrainerCallback):
    """Logs the temperature when training begins, because Trainer then starts a new log."""

    def __init__(self, trainer: Trainer):
        self.trainer: Any = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.log({"student_temperature": self.trainer.student_temperature})
