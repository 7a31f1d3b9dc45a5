"""Renders the example cards beside it, from the facts of real runs in `facts/`:

    python hub_cards/examples/render.py

The model is that of `make demo`. The triplets are its emoji, labelled by that model:

    python recipes/make_triplets.py --images hf_alignet/demo/emoji.parquet --teacher outputs/demo-aligned
        --num_triplets 1000 --num_validation_triplets 100 --output_dir outputs/demo-triplets
"""

import json
import shutil
import tempfile
from pathlib import Path

from hf_alignet.hub.cards.model_card import model_card
from hf_alignet.hub.cards.triplets_card import write_triplets_card

HERE = Path(__file__).parent
COMMAND = "<!-- python hub_cards/examples/render.py -->\n"


def triplets_card(facts: Path) -> str:
    info = json.loads((facts / "triplets.json").read_text())
    num_rows = info.pop("num_triplets")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(shutil.copytree(facts, folder, dirs_exist_ok=True))
        write_triplets_card(directory, info, num_rows, "user/demo-triplets")
        return (directory / "README.md").read_text()


def render() -> dict[str, str]:
    """The text of each example, by the name of its file."""
    cards = {
        "model.md": str(model_card(HERE / "facts" / "model", "user/demo-aligned")),
        "triplets.md": triplets_card(HERE / "facts" / "triplets"),
    }
    return {name: COMMAND + text for name, text in cards.items()}


if __name__ == "__main__":
    for name, text in render().items():
        (HERE / name).write_text(text)
