"""What happened between two logs of a training run."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback


class LogWindow:
    """Sums on the device between two logs, so that logging costs no synchronisation a step."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.started = time.perf_counter()

    def add(self, name: str, value: Tensor) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value.detach()
        self.steps[name] = self.steps.get(name, 0) + 1

    def count(self, **numbers: int) -> None:
        for name, number in numbers.items():
            self.counts[name] = self.counts.get(name, 0) + number

    def means_and_rates(self, reduce: Callable[..., Tensor], device: torch.device) -> dict[str, float]:
        """Means over the window and all processes, and items a second of all processes together."""
        seconds = time.perf_counter() - self.started
        names = list(self.sums)
        means = [self.sums[name] / self.steps[name] for name in names]
        rates = [torch.tensor(number / seconds, device=device) for number in self.counts.values()]
        logs: dict[str, float] = {}
        if names:
            logs |= dict(zip(names, reduce(torch.stack(means), reduction="mean").tolist(), strict=True))
        if rates:
            totals = reduce(torch.stack(rates), reduction="sum").tolist()
            logs |= dict(zip([f"{name}_per_second" for name in self.counts], totals, strict=True))
        return logs


class LogTemperature(TrainerCallback):
    """Logs the temperature when training begins; before, there is no log that it would stay in."""

    def __init__(self, trainer: Trainer):
        self.trainer: Any = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.log({"student_temperature": self.trainer.student_temperature})
