"""Renders cards from the templates in `hub_cards/`: facts as Markdown, with metadata that the Hub reads."""

import re
from pathlib import Path
from typing import Any, overload

from huggingface_hub import DatasetCard, DatasetCardData, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError
from jinja2.filters import do_mark_safe as safe

from hf_alignet.errors import InputError
from hf_alignet.markdown import code, plain, quoted
from hf_alignet.sources import hub_id

TEMPLATES = [Path(__file__).parent / "templates", Path(__file__).parents[2] / "hub_cards"]  # installed, in a clone
# The terms of images that are known, by a pattern of the name of the dataset
TERMS = {
    "imagenet|ilsvrc": "The images of ImageNet are for non-commercial research and education. Everyone who gets them "
    "accepts these terms (https://image-net.org/download). They may not be passed on.",
    "(^|/)things([-_@.]|$)|triplets_large_final_correctednc": "The images of THINGS are for research. Everyone who "
    "gets them accepts these terms (https://things-initiative.org). They may not be passed on.",
}
# What is shown as a command to repeat; anything else that stands where a command should is shown as text
COMMAND = re.compile(r"(hf-alignet|accelerate launch) [^\x00-\x1f`<]*")
TAGS = ["hf_alignet", "alignet", "human-alignment", "odd-one-out"]


@overload
def render_card(template: str, data: ModelCardData, **facts: Any) -> ModelCard: ...


@overload
def render_card(template: str, data: DatasetCardData, **facts: Any) -> DatasetCard: ...


def render_card(template: str, data: ModelCardData | DatasetCardData, **facts: Any) -> ModelCard | DatasetCard:
    """The card that a template makes from facts. A fact that the template needs and does not get is an error.

    Facts are shown as text, whatever Markdown or HTML they hold: other people choose names. In code, a template writes
    `fact | code` or `fact | quoted`; only for Markdown of our own it writes `fact | safe`.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,  # so that what macros and filters return is not taken for a fact
        finalize=lambda fact: fact if hasattr(fact, "__html__") else safe(plain(str(fact))),
    )
    environment.filters["code"] = lambda fact: safe(code(str(fact)))
    environment.filters["quoted"] = lambda fact: safe(quoted(str(fact)))
    environment.tests["command"] = lambda fact: COMMAND.fullmatch(str(fact)) is not None
    environment.globals["terms_of"] = terms_of
    try:
        body = environment.get_template(template).render(**facts)
    except UndefinedError as error:
        raise InputError(f"a fact for the card is missing: {error}") from error
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
    return [
        text for name, text in TERMS.items() if any(re.search(name, str(given).lower()) for given in names if given)
    ]
