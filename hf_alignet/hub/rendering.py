"""Cards from the templates in `hub_cards/`: facts only, with metadata that the Hub reads."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Any, overload

from huggingface_hub import DatasetCard, DatasetCardData, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hf_alignet.sources import hub_id

# What is known of the terms of images, by their names
TERMS = {
    "imagenet|ilsvrc": "ImageNet's images are for non-commercial research and education, under terms that everyone "
    "accepts who gets them (https://image-net.org/download); they may not be passed on.",
    "(^|/)things([-_@.]|$)|triplets_large_final_correctednc": "The images of THINGS are for research, under terms "
    "that everyone accepts who gets them (https://things-initiative.org); they may not be passed on.",
}
TAGS = ["hf_alignet", "alignet", "human-alignment", "odd-one-out"]


@overload
def render_card(template: str, data: ModelCardData, **facts: Any) -> ModelCard: ...


@overload
def render_card(template: str, data: DatasetCardData, **facts: Any) -> DatasetCard: ...


def render_card(template: str, data: ModelCardData | DatasetCardData, **facts: Any) -> ModelCard | DatasetCard:
    """The card that a template makes of facts; one that it needs and lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(template_directory()), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["terms_of"] = terms_of
    body = environment.get_template(template).render(**facts)
    kind = ModelCard if isinstance(data, ModelCardData) else DatasetCard
    body = re.sub(r"\n{3,}", "\n\n", body).strip()  # where a template left something out
    return kind(f"---\n{data.to_yaml()}\n---\n\n{body}\n")


def card_links(info: dict[str, Any]) -> dict[str, Any]:
    """The model and the datasets of the Hub that something was made from, as metadata of its card.

    Args:
        info: may name them under `base_model`, `judgments` and `stimuli`; what is local is left out.
    """
    datasets = [name for key in ("judgments", "stimuli") if (name := hub_id(info.get(key)))]
    return {"base_model": hub_id(info.get("base_model")), "datasets": datasets or None}


def terms_of(*names: str | None) -> list[str]:
    """What may not be done with images of these names, as far as it is known."""
    return [text for name, text in TERMS.items() if any(re.search(name, given.lower()) for given in names if given)]


def template_directory() -> Path:
    """The cards' templates: inside an installed package, or at the top of a clone."""
    installed = Path(str(files("hf_alignet"))) / "hub" / "templates"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "hub_cards"
