"""The example cards are what the command in their first line makes now, and would be taken by the Hub."""

import runpy
from pathlib import Path

import pytest
from fakehub.checks import card_errors

EXAMPLES = Path(__file__).parents[2] / "hub_cards" / "examples"


@pytest.fixture(scope="module")
def rendered() -> dict[str, str]:
    return runpy.run_path(str(EXAMPLES / "render.py"))["render"]()


def test_examples_are_current(rendered):
    assert {file.name for file in EXAMPLES.glob("*.md")} == set(rendered) == {"model.md", "triplets.md"}
    for name, text in rendered.items():
        assert (EXAMPLES / name).read_text() == text, "run the command in the first line"


@pytest.mark.parametrize("name", ["model.md", "triplets.md"])
def test_examples_are_valid_cards_that_read_well(name, rendered):
    command, _, card = rendered[name].partition("\n")
    assert command == "<!-- python hub_cards/examples/render.py -->"
    assert card.startswith("---\n") and card_errors(card) == []
    assert "\n\n\n" not in card and "None" not in card and "path/to/this" not in card
