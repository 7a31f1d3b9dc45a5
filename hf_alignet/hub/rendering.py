"""Renders cards from the templates in `hub_cards/`: facts as Markdown, with metadata that the Hub reads."""

import re
from pathlib import Path
from typing import Any, overload

from huggingface_hub import DatasetCard, DatasetCardData, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hf_alignet.sources import hub_id

TEMPLATES = [Path(__file__).parent / "templates", Path(__file__).parents[2] / "hub_cards"]  # installed, in a clone
# The terms of images that are known, by a pattern of the name of the dataset
TERMS = {
    "imagenet|ilsvrc": "The images of ImageNet are for non-commercial research and education. Everyone who gets them "
    "accepts these terms (https://image-net.org/download). They may not be passed on.",
    "(^|/)things([-_@.]|$)|triplets_large_final_correctednc": "The images of THINGS are for research. Everyone who "
    "gets them accepts these terms (https://things-initiative.org). They may not be passed on.",
}
TAGS = ["hf_alignet", "alignet", "human-alignment", "odd-one-out"]


@overload
def render_card(template: str, data: ModelCardData, **facts: Any) -> ModelCard: ...


@overload
def render_card(template: str, data: DatasetCardData, **facts: Any) -> DatasetCard: ...


def render_card(template: str, data: ModelCardData | DatasetCardData, **facts: Any) -> ModelCard | DatasetCard:
    """The card that a template makes from facts. A fact that the template needs and does not get is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["terms_of"] = terms_of
    body = environment.get_template(template).render(**facts)
    kind = ModelCard if isinstance(data, ModelCardData) else DatasetCard
    body = re.sub(r"\n{3,}", "\n\n", body).strip()  # a part that a template leaves out leaves empty lines
    return kind(f"---\n{data.to_yaml()}\n---\n\n{body}\n")


def card_links(info: dict[str, Any]) -> dict[str, Any]:
    """The model and the datasets on the Hub that something was made from, as metadata of its card.

    `info` may name them under `base_model`, `judgments` and `stimuli`. Local ones are left out.
    """
    datasets = [name for key in ("judgments", "stimuli") if (name := hub_id(info.get(key)))]
    return {"base_model": hub_id(info.get("base_model")), "datasets": datasets or None}


def terms_of(*names: str | None) -> list[str]:
    """The known terms of use of images from datasets of these names."""
    return [text for name, text in TERMS.items() if any(re.search(name, given.lower()) for given in names if given)]
