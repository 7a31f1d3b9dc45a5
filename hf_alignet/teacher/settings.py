"""Settings of a fit: numbers of Python, which can be compared, hashed and saved as JSON."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from hf_alignet.errors import InputError


def python_numbers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings, with Python numbers in place of NumPy numbers."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in settings.items()}


@dataclass(frozen=True)
class ViceSettings:
    """The arguments of `hf_alignet.teacher.Vice`, checked.

    Raises:
        InputError: a setting is out of range; names the setting, what it must be, and what it is.
    """

    num_dimensions: int
    spike: float
    slab: float
    spike_share: float
    min_objects: int
    batch_size: int | None
    learning_rate: float
    initial_scale: float | None
    max_epochs: int
    burn_in: int
    window: int
    settle: int
    random_state: int

    def __post_init__(self) -> None:
        for name, value in python_numbers(vars(self)).items():
            object.__setattr__(self, name, value)  # as dataclasses do themselves in frozen instances
        positive = ("spike", "slab", "learning_rate")
        counts = {"num_dimensions": 1, "max_epochs": 1, "window": 1, "burn_in": 0, "settle": 0, "random_state": 0}
        rules: list[tuple[str, Any, str]] = [
            *((name, lambda x: _is_number(x) and 0 < x < math.inf, "a positive number") for name in positive),
            *(
                (name, partial(_is_count, least=least), f"an integer from {least} on")
                for name, least in counts.items()
            ),
            ("min_objects", partial(_is_count, least=-1), "an integer from -1 on"),
            ("spike_share", lambda x: _is_number(x) and 0 < x < 1, "a number between 0 and 1"),
            ("batch_size", lambda x: x is None or _is_count(x, 1), "a positive integer, or null"),
            ("initial_scale", lambda x: x is None or (_is_number(x) and x > 0), "a positive number, or null"),
        ]
        for name, is_right, rule in rules:
            value = getattr(self, name)
            if not is_right(value):
                raise InputError(f"the setting {name} of VICE must be {rule}, got {value!r}")

    @classmethod
    def names(cls) -> list[str]:
        return [field.name for field in fields(cls)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
