"""The demo: pictures, a small encoder and simulated raters, without a download.

The pictures are emoji in six drawing styles (licences in NOTICE.md). `recipes/demo` trained the encoder. The raters
are simulated: no result of the demo is about people.
"""

from pathlib import Path

from datasets import Dataset

from hf_alignet.demo.demo_triplets import HELD_OUT_STYLE, demo_triplets
from hf_alignet.demo.raters import SimulatedRaters

DIRECTORY = Path(__file__).parent
ENCODER_DIRECTORY = DIRECTORY / "encoder"

__all__ = ["ENCODER_DIRECTORY", "HELD_OUT_STYLE", "SimulatedRaters", "demo_images", "demo_triplets"]


def demo_images() -> Dataset:
    """The pictures, with the three levels of a hierarchy (`concept`, `subgroup` and `group`) and their `style`."""
    return Dataset.from_parquet(str(DIRECTORY / "emoji.parquet"))
