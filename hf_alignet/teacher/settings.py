"""Settings of a fit of VICE, as Python numbers, which can be compared and saved as JSON."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from hf_alignet.ranges import Count, Positive, ProperShare, Range, Seed, Whole, check_fields


@dataclass(eq=False)
class ViceSettings:
    """The arguments of `hf_alignet.teacher.Vice`, which describes them."""

    num_dimensions: Count = 100
    spike: Positive = 0.25
    slab: Positive = 1.0
    spike_share: ProperShare = 0.5
    min_objects: Annotated[int, Range(-1)] = 5
    batch_size: Count | None = None
    learning_rate: Positive = 0.1
    initial_scale: Positive | None = 0.2
    max_epochs: Count = 2000
    burn_in: Whole = 500
    window: Count = 200
    settle: Whole = 400
    random_state: Seed = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, as Python numbers. Raises an InputError if one is out of range."""
        check_fields(self)  # they may have been set since
        return asdict(self)
