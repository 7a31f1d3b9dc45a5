"""Settings of a fit, as Python numbers, which can be compared and saved as JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hf_alignet.errors import InputError

# The least value of each setting that is an integer. The other settings are above 0 and below a limit
LEAST = {"num_dimensions": 1, "batch_size": 1, "max_epochs": 1, "window": 1, "burn_in": 0, "settle": 0}
LEAST |= {"random_state": 0, "min_objects": -1}
LIMITS = {"spike_share": 1.0}  # otherwise infinite
OPTIONAL = ("batch_size", "initial_scale")


def python_numbers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings, with Python numbers instead of NumPy numbers."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in settings.items()}


@dataclass(eq=False)
class ViceSettings:
    """The arguments of `hf_alignet.teacher.Vice`, which describes them."""

    num_dimensions: int = 100
    spike: float = 0.25
    slab: float = 1.0
    spike_share: float = 0.5
    min_objects: int = 5
    batch_size: int | None = None
    learning_rate: float = 0.1
    initial_scale: float | None = 0.2
    max_epochs: int = 2000
    burn_in: int = 500
    window: int = 200
    settle: int = 400
    random_state: int = 0

    def __post_init__(self) -> None:
        self.settings()

    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, as Python numbers. Raises an InputError if one is out of range."""
        settings = python_numbers(asdict(self))
        for name, value in settings.items():
            if name in LEAST:
                rule = f"an integer of {LEAST[name]} or more"
                is_right = isinstance(value, int) and value >= LEAST[name]
            else:
                rule = "a number between 0 and 1" if name in LIMITS else "a positive number"
                is_right = isinstance(value, int | float) and 0 < value < LIMITS.get(name, math.inf)
            if name in OPTIONAL:
                rule, is_right = f"{rule}, or None", is_right or value is None
            if not is_right or isinstance(value, bool):
                raise InputError(f"the setting `{name}` of VICE must be {rule}, got {value!r}")
        return settings
