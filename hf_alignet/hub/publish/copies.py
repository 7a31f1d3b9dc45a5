"""Copies for the Hub of what the package made: datasets, transforms, metrics and models, under the name they get."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.utils import filter_repo_objects

from hf_alignet.cli.arguments.publishing import PublishArguments, PublishedKind
from hf_alignet.encoder import AffineTransform
from hf_alignet.encoder.export import check_sharing
from hf_alignet.encoder.model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.hub.cards.measured_card import CARD, check_model_directory, show_evaluation
from hf_alignet.hub.cards.model_card import write_model_card
from hf_alignet.hub.cards.triplets_card import write_triplets_card
from hf_alignet.hub.publish.contents import open_contents
from hf_alignet.hub.publish.dataset_card import write_dataset_card
from hf_alignet.hub.transport.license import FIELDS, stated_license
from hf_alignet.hub.transport.repository import MODEL_FILES
from hf_alignet.sources import hub_id
from hf_alignet.storage import take_files, write_checksums, write_dataset
from hf_alignet.teacher import Vice

TRIPLET_FILES = ["triplets.json", "elbow.*", "clusters/*.parquet", "images/*.parquet", "triplets/*.parquet"]
TRANSFORM_FILES = [CARD, "config.json", "model.safetensors", "results.json", "selection.csv", "calibration.*"]
UNNAMED = "path/to/this/directory"  # in the card of what has no name on the Hub yet


def write_copy(arguments: PublishArguments, folder: Path) -> None:
    """Writes what is uploaded into an empty folder, its card last.

    Raises:
        InputError: the path does not hold what it should (says what was looked for).
    """
    path = Path(arguments.path).expanduser()
    if not path.exists():
        raise InputError(f"there is no {arguments.path}")
    if arguments.kind != "dataset" and not path.is_dir():
        raise InputError(f"a {arguments.kind} is published from a directory, and {arguments.path} is none")
    writers: dict[PublishedKind, Callable[[PublishArguments, Path, Path], None]] = {
        "dataset": _write_dataset,
        "transform": _write_transform,
        "metric": _write_metric,
        "model": _write_model,
    }
    writers[arguments.kind](arguments, path, folder)
    if arguments.license is not None:
        _state_license(folder / CARD, {"license": arguments.license})


def _state_license(file: Path, stated: Mapping[str, Any]) -> None:
    """Of another licence before, the name and the link go too."""
    card = ModelCard.load(file, ignore_metadata_errors=False)
    if card.data.get("license") != stated["license"]:
        for field in FIELDS:
            card.data.pop(field, None)
    for field, value in stated.items():
        card.data[field] = value
    card.save(file)


def _write_dataset(arguments: PublishArguments, path: Path, folder: Path) -> None:
    if (path / "triplets.json").is_file():
        _write_triplets(arguments, path, folder)
        return
    stated = stated_license(arguments.path, ask_hub=False).get("license")
    if arguments.license is None and isinstance(stated, str):  # of a copy that was published before
        arguments = replace(arguments, license=stated)
    contents = open_contents(arguments)
    for config, splits in contents.configs.items():
        for split, data in splits.items():
            write_dataset(data, folder / config, split, not arguments.disable_tqdm)
    write_checksums(folder)
    write_dataset_card(folder, contents, arguments)


def _write_triplets(arguments: PublishArguments, path: Path, folder: Path) -> None:
    """What `recipes/make_triplets.py` wrote, as it is, with the card of its new name."""
    for name in ("images", "object_names", "object_order", "matrix_kind", "source"):
        if getattr(arguments, name) is not None:
            raise InputError(f"{arguments.path} holds triplets, to which --{name} does not belong")
    if (path / "unfinished").exists():
        raise InputError(f"{arguments.path} is not complete: run recipes/make_triplets.py again, and it goes on")
    if (path / "images").exists():
        arguments.check_right_to_images()
    info, num_rows = _read_triplets_info(path)
    take_files(path, _files(path, TRIPLET_FILES), folder)
    write_checksums(folder)
    write_triplets_card(folder, info, num_rows, arguments.repo_id)
    if stated := stated_license(str(path), ask_hub=False):
        _state_license(folder / CARD, stated)


def _read_triplets_info(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """What a triplet dataset says of itself, and the number of triplets in each of its splits that has some."""
    file = path / "triplets.json"
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        num_rows = {str(split): int(number) for split, number in info.pop("num_triplets").items() if int(number)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"cannot read {file}, which must be as recipes/make_triplets.py writes it: {error}"
        ) from error
    missing = [split for split in num_rows if not _files(path, [f"triplets/{split}-*-of-*.parquet"])]
    if missing or not num_rows:
        raise InputError(f"{path} has no triplets{f' of the split {missing[0]}' if missing else ''}: make them again")
    return info, num_rows


def _write_transform(arguments: PublishArguments, path: Path, folder: Path) -> None:
    made: AffineTransform | Vice
    try:
        made = AffineTransform.from_pretrained(path)
    except InputError as no_transform:
        try:
            made = Vice.from_pretrained(path)
        except InputError as no_vice:
            raise InputError(f"{arguments.path} holds neither: {no_transform}; {no_vice}") from no_vice
    take_files(path, _files(path, TRANSFORM_FILES), folder)
    if (folder / CARD).exists():
        _rename_card(folder / CARD, arguments.repo_id)
    else:
        made.generate_model_card(repo_id=arguments.repo_id).save(folder / CARD)


def _write_metric(arguments: PublishArguments, path: Path, folder: Path) -> None:
    """A Space, of which `evaluate.load` takes the script that has its name."""
    name = path.resolve().name
    needed = [CARD, "app.py", "requirements.txt", f"{name}.py"]
    missing = [file for file in needed if not (path / file).is_file()]
    if missing:
        raise InputError(f"{arguments.path} is no metric, such as those in hub_cards/metrics: no {', '.join(missing)}")
    if arguments.repo_id.split("/")[1] != name:
        raise InputError(
            f"the metric must be called {arguments.repo_id.split('/')[0]}/{name}: evaluate.load looks for the script "
            "by the name of the Space"
        )
    take_files(path, needed, folder)
    for file in (folder / CARD, folder / "app.py"):
        text = file.read_text(encoding="utf-8").replace(f'load("{name}")', f'load("{arguments.repo_id}")')
        file.write_text(text, encoding="utf-8")


def _write_model(arguments: PublishArguments, path: Path, folder: Path) -> None:
    check_model_directory(path)
    if not ((path / "adapter_config.json").is_file() or "model_type" in _read_config(path)):
        raise InputError(
            f"{path} holds no model of transformers: its config.json names no model_type; a transform or VICE is "
            "published by `publish.py transform`"
        )
    files = _files(path, MODEL_FILES)
    if not any(name.endswith(".safetensors") for name in files):
        raise InputError(f"{arguments.path} has no weights in safetensors; other formats are not uploaded")
    if (path / "adapter_config.json").is_file() and not arguments.dry_run:
        check_sharing(VisionEncoder.from_pretrained(str(path)))
    take_files(path, files, folder)
    if (folder / "alignment.json").is_file():
        _render_model_card(path, folder, arguments.repo_id)
    elif (folder / CARD).is_file():
        _rename_card(folder / CARD, arguments.repo_id)
    else:
        _plain_model_card(folder, arguments.repo_id).save(folder / CARD)


def _plain_model_card(folder: Path, repo_id: str) -> ModelCard:
    """Of a model of which nothing is known but how it is opened."""
    library, base, adapter = "transformers", None, folder / "adapter_config.json"
    if adapter.is_file():
        library, base = "peft", hub_id(json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path"))
    data = ModelCardData(library_name=library, base_model=base, pipeline_tag="image-feature-extraction")
    code = f'from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("{repo_id}")'
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n# {repo_id}\n\n```python\n{code}\n```\n")


def _render_model_card(path: Path, folder: Path, repo_id: str) -> None:
    """The card with the new name; the licence and what `evaluate.py --update_card` added stay."""
    before = ModelCard.load(path / CARD).data if (path / CARD).is_file() else ModelCard("---\n{}\n---\n").data
    write_model_card(folder, repo_id, **{field: before.get(field) for field in FIELDS})
    card = ModelCard.load(folder / CARD)
    known = {result.metric_name for result in card.data.eval_results or []}
    added = [result for result in before.get("eval_results") or [] if result.metric_name not in known]
    if added:
        card.data["eval_results"] = [*(card.data.get("eval_results") or []), *added]
        show_evaluation(card)
        card.save(folder / CARD)
    take_files(path, _files(path, [".eval_results/*"]), folder)  # with those that were added


def _rename_card(file: Path, repo_id: str) -> None:
    """The same card under another name: in its title and in the code."""
    text = file.read_text(encoding="utf-8")
    title = re.search(r"^# (.+)$", ModelCard.load(file).text, re.M)  # no comment of the metadata
    if title is not None:
        text = text.replace(title[0], f"# {repo_id}", 1).replace(f'"{title[1]}"', f'"{repo_id}"')
    file.write_text(text.replace(f'"{UNNAMED}"', f'"{repo_id}"'), encoding="utf-8")
    card = ModelCard.load(file)
    if card.data.get("model_name"):
        card.data["model_name"] = repo_id
        card.save(file)


def _files(path: Path, patterns: list[str]) -> list[str]:
    """The files that match, by their names inside the folder."""
    every = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    return list(filter_repo_objects(every, allow_patterns=patterns))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((path / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"cannot read {path / 'config.json'}: {error}") from error
