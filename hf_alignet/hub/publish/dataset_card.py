"""The card of judgments, of a similarity matrix or of pictures, from `hub_cards/dataset.md.jinja`."""

import shlex
from pathlib import Path

import datasets

import hf_alignet
from hf_alignet.cli.arguments.publishing import PublishArguments
from hf_alignet.hub.cards.dataset_metadata import dataset_metadata
from hf_alignet.hub.publish.contents import Contents
from hf_alignet.hub.rendering import render_card
from hf_alignet.sources import public_name

TAG = {"judgments": "odd-one-out", "aggregated": "odd-one-out", "matrix": "similarity", "images": "images"}
FACTS = ("study", "was_named", "judged", "exclusions", "matrix_kind", "num_stimuli", "num_judged_pairs", "num_pairs")


def write_dataset_card(directory: Path, contents: Contents, arguments: PublishArguments) -> None:
    """Writes `README.md` beside the folders of parquet files.

    Args:
        directory: of the dataset.
        contents: what was written there.
        arguments: where it goes, and what the user says of it.
    """
    splits = {config: list(parts) for config, parts in contents.configs.items()}
    first = {config: next(iter(parts.values())) for config, parts in contents.configs.items()}
    judged = contents.facts.get("judged")
    data = dataset_metadata(directory, splits, [TAG[next(iter(splits))]], license=arguments.license)
    card = render_card(
        "dataset.md.jinja",
        data,
        **{name: contents.facts.get(name) for name in (*FACTS, "num_participants")},
        repo_id=arguments.repo_id,
        splits=splits,
        features={config: {name: _kind(f) for name, f in part.features.items()} for config, part in first.items()},
        columns=list(dict.fromkeys(name for numbers in judged.values() for name in numbers)) if judged else [],
        num_images=sum(map(len, contents.configs["images"].values())) if "images" in splits else None,
        images_name=arguments.repo_id if "images" in splits else "path/to/the/images",
        source=arguments.source,
        license=arguments.license,
        command=_command(arguments),
        version=hf_alignet.__version__,
        datasets_version=datasets.__version__,
    )
    card.save(directory / "README.md")


def _kind(feature: object) -> str:
    if isinstance(feature, datasets.ClassLabel):
        return f"one of {len(feature.names)} classes"
    return "a picture" if isinstance(feature, datasets.Image) else str(getattr(feature, "dtype", "a list"))


def _command(arguments: PublishArguments) -> str:
    """What made it, as others may repeat it: of local paths the last part alone."""
    words = ["python", "recipes/publish.py", arguments.kind, public_name(arguments.path), arguments.repo_id]
    for name in ("images", "object_names"):
        if (path := getattr(arguments, name)) is not None:
            words += [f"--{name}", public_name(path)]
    for name in ("object_order", "matrix_kind", "license", "revision"):
        if (value := getattr(arguments, name)) is not None:
            words += [f"--{name}", value]
    if arguments.i_have_the_right_to_share_images:
        words.append("--i_have_the_right_to_share_images")
    return shlex.join(words)
