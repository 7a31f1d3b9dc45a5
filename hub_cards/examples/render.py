"""Renders the example cards beside it, from the facts of real runs in `facts/`:

    python hub_cards/examples/render.py

The model is that of `hf-alignet demo`. The triplets are of its emoji, labelled by that model:

    hf-alignet make-triplets --images hf_alignet/demo/emoji.parquet --teacher outputs/demo-aligned
        --num_triplets 1000 --num_validation_triplets 100 --output_dir outputs/demo-triplets
"""

import json
import shutil
import tempfile
from pathlib import Path

from hf_alignet.hub.cards.model_card import write_model_card
from hf_alignet.hub.cards.triplets_card import write_triplets_card

HERE = Path(__file__).parent
COMMAND = "<!-- python hub_cards/examples/render.py -->\n"


def render() -> dict[str, str]:
    """The text of each example, by the name of its file."""
    cards = {}
    for name in ("model", "triplets"):
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(shutil.copytree(HERE / "facts" / name, folder, dirs_exist_ok=True))
            if name == "model":
                (directory / "modules.json").touch()  # beside the weights, sentence-transformers finds it
                write_model_card(directory, "user/demo-aligned")
            else:
                info = json.loads((directory / "triplets.json").read_text())
                write_triplets_card(directory, info, info.pop("num_triplets"), "user/demo-triplets")
            cards[f"{name}.md"] = COMMAND + (directory / "README.md").read_text()
    return cards


if __name__ == "__main__":
    for name, text in render().items():
        (HERE / name).write_text(text)
