"""Copies for the Hub of datasets, transforms, metrics, models and Spaces, with cards that show the name on the Hub."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import ModelCard, ModelCardData

from hf_alignet.encoder import (
    AffineTransform,
    ContextTransform,
    Encoder,
    check_sharing,
    open_encoder,
    open_transform,
    read_alignment,
)
from hf_alignet.encoder.encoder_opening import is_text_model
from hf_alignet.errors import InputError
from hf_alignet.hub.cards.dataset_card import write_dataset_card
from hf_alignet.hub.cards.measured_card import check_model_directory, load_card, show_evaluation
from hf_alignet.hub.cards.model_card import CARD, COMPARED, OF_TEXTS, write_model_card
from hf_alignet.hub.cards.triplets_card import write_triplets_card
from hf_alignet.hub.publish.contents import open_contents
from hf_alignet.hub.publish.publication import OF_JUDGMENTS, Publication
from hf_alignet.hub.transport.inspection import regular_files
from hf_alignet.hub.transport.license import FIELDS, stated_license
from hf_alignet.hub.transport.repository import MODEL_FILES, SENTENCE_FILES, WEIGHT_FILES
from hf_alignet.images.picture_record import RECORD_FILE
from hf_alignet.sources import complete_shards, hub_id
from hf_alignet.storage import take_files, unfinished, write_checksums, write_dataset
from hf_alignet.teacher import Vice
from hf_alignet.text_files import load_json

INFO_FILE = "triplets.json"
TRIPLET_FILES = [INFO_FILE, RECORD_FILE, "elbow.*", "clusters/*.parquet", "images/*.parquet", "triplets/*.parquet"]
TRANSFORM_FILES = [CARD, "config.json", "model.safetensors", "results.json", "selection.csv", "calibration.*"]
SPACE_FILES = [CARD, "app.py", "requirements.txt"]
UNNAMED = "path/to/this/directory"  # in the card of something that has no name on the Hub yet


def write_copy(publication: Publication, folder: Path, progress: bool = True) -> None:
    """Writes all files of the upload into an empty folder, the card last.

    Raises an InputError if the path does not hold what is published (says what is missing).
    """
    place, kind = publication.place, publication.kind
    if not place.exists():
        raise InputError(f"{publication.path} does not exist")
    if kind != "dataset":
        if not place.is_dir():
            raise InputError(f"a {kind} is published from a directory, and {publication.path} is a file")
        write = {"transform": _write_transform, "metric": _write_metric, "model": _write_model, "space": _write_space}
        write[kind](publication, folder)
    elif (place / INFO_FILE).is_file():
        _write_triplets(publication, folder)
    else:
        _write_dataset(publication, folder, progress)
    if publication.license is not None:
        _state_license(folder / CARD, {"license": publication.license})


def _state_license(file: Path, stated: Mapping[str, Any]) -> None:
    """States a licence in a card. The name and the link of another licence are deleted."""
    card = ModelCard.load(file, ignore_metadata_errors=False)
    if card.data.get("license") != stated["license"]:
        for field in FIELDS:
            card.data.pop(field, None)
    for field, value in stated.items():
        card.data[field] = value
    card.save(file)


def _write_dataset(publication: Publication, folder: Path, progress: bool) -> None:
    stated = stated_license(publication.path, ask_hub=False).get("license")  # of a copy that was published before
    license = publication.license or (stated if isinstance(stated, str) else None)
    configs, facts = open_contents(publication)
    for config, splits in configs.items():
        for split, data in splits.items():
            write_dataset(data, folder / config, split, progress)
    write_checksums(folder)
    terms = (license, publication.source, publication.command)
    write_dataset_card(folder, configs, facts, publication.repo_id, *terms)


def _write_triplets(publication: Publication, folder: Path) -> None:
    """The files that `hf-alignet make-triplets` wrote, with a card that shows the new name."""
    place = publication.place
    publication.refuse(("images", "object_names", *OF_JUDGMENTS, "source"), "triplets")
    if (place / "unfinished").exists():
        raise InputError(f"{publication.path} is not complete: run `hf-alignet make-triplets` again, which continues")
    if (place / "images").exists():
        publication.check_right_to_images()
    info = load_json(place / INFO_FILE, "the facts about the triplets")
    try:
        num_rows = {split: int(number) for split, number in info.pop("num_triplets").items() if int(number)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"cannot read {place / INFO_FILE}, of `hf-alignet make-triplets`: {error}") from error
    if not num_rows:
        raise InputError(f"{place} has no triplets: make them again")
    files = regular_files(place, TRIPLET_FILES)
    _check_numbers(place, num_rows, info)
    take_files(place, files, folder)
    write_checksums(folder)
    write_triplets_card(folder, info, num_rows, publication.repo_id)
    if stated := stated_license(str(place), ask_hub=False):
        _state_license(folder / CARD, stated)


def _check_numbers(place: Path, num_rows: Mapping[str, int], info: Mapping[str, Any]) -> None:
    """InputError if the files lack a shard, or do not hold the numbers of rows and images of `triplets.json`."""
    found, largest = _rows(place / "triplets")
    missing = [split for split in num_rows if split not in found]
    if missing:
        raise InputError(f"{place} has no triplets of the split {missing[0]}: make them again")
    num_images = info.get("num_images")
    if not isinstance(num_images, int) or largest >= num_images:
        raise InputError(
            f"{INFO_FILE} in {place} says {num_images!r} for num_images, and a triplet has image {largest}: make the "
            "triplets again"
        )
    pairs = [(f"{split} triplets", num_rows.get(split, 0), number) for split, number in found.items()]
    for name in ("clusters", "images"):
        if (place / name).is_dir():
            pairs.append((name, num_images, sum(_rows(place / name)[0].values())))
    for what, said, number in pairs:
        if said != number:
            raise InputError(
                f"{INFO_FILE} in {place} speaks of {said} {what}, and the files hold {number}: make the triplets again"
            )


def _rows(folder: Path) -> tuple[dict[str, int], int]:
    """The number of rows of each split, and the largest number in the first column if the files tell it, or -1."""
    numbers, largest = {}, -1
    for split, files in (complete_shards(folder) if folder.is_dir() else {}).items():
        try:
            metadata = [pq.read_metadata(file) for file in files]
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot read the {split} files in {folder}: {error}; make the triplets again") from error
        numbers[split] = sum(file.num_rows for file in metadata)
        columns = [file.row_group(i).column(0).statistics for file in metadata for i in range(file.num_row_groups)]
        largest = max([largest, *(column.max for column in columns if column is not None and column.has_min_max)])
    return numbers, largest


def _write_transform(publication: Publication, folder: Path) -> None:
    place = publication.place
    files = regular_files(place, TRANSFORM_FILES)  # first: to open a pipe would wait for ever
    made: AffineTransform | ContextTransform | Vice
    try:
        made = open_transform(str(place))
    except InputError as no_transform:
        try:
            made = Vice.from_pretrained(place)
        except InputError as no_vice:
            raise InputError(f"{publication.path} holds neither: {no_transform}; {no_vice}") from no_vice
    take_files(place, files, folder)
    if (folder / CARD).exists():
        _rename_card(folder / CARD, publication.repo_id)
    else:
        made.generate_model_card(repo_id=publication.repo_id).save(folder / CARD)


def _write_metric(publication: Publication, folder: Path) -> None:
    """A Space. `evaluate.load` opens the script in it that has the name of the Space."""
    place, (user, new_name) = publication.place, publication.repo_id.split("/")
    name = place.resolve().name
    needed = [*SPACE_FILES, f"{name}.py"]
    missing = [file for file in needed if not (place / file).is_file()]
    if missing:
        raise InputError(f"{publication.path} is no metric like those in hub_cards/metrics: no {', '.join(missing)}")
    if new_name != name:
        raise InputError(
            f"the metric must be called {user}/{name}: `evaluate.load` opens the script with the name of the Space"
        )
    take_files(place, regular_files(place, needed), folder)
    for file in (folder / CARD, folder / "app.py"):
        text = file.read_text(encoding="utf-8").replace(f'load("{name}")', f'load("{publication.repo_id}")')
        file.write_text(text, encoding="utf-8")


def _write_space(publication: Publication, folder: Path) -> None:
    """The application and its card, and no other file: what it shows is on the Hub."""
    place = publication.place
    missing = [file for file in SPACE_FILES if not (place / file).is_file()]
    if missing:
        raise InputError(f"{publication.path} is no Space like that in hub_cards/space: no {', '.join(missing)}")
    take_files(place, regular_files(place, SPACE_FILES), folder)
    if ModelCard.load(folder / CARD, ignore_metadata_errors=False).data.get("sdk") != "gradio":
        raise InputError(
            f"the {CARD} in {publication.path} must say `sdk: gradio`: repositories of Spaces are made so"
        )


def _write_model(publication: Publication, folder: Path) -> None:
    place, merge_lora = publication.place, publication.merge_lora
    files = regular_files(place, MODEL_FILES)  # first: to open a pipe would wait for ever
    check_model_directory(place)
    is_adapter = (place / "adapter_config.json").is_file()
    if merge_lora and not is_adapter:
        raise InputError(f"`merge_lora` is for an adapter, and {publication.path} holds a whole model: leave it out")
    if not (is_adapter or "model_type" in load_json(place / "config.json", "the configuration")):
        raise InputError(
            f"{place} holds no model of transformers: its config.json names no model_type. A transform or VICE is "
            'published with `kind="transform"`'
        )
    if not any(name.endswith(".safetensors") for name in files):
        raise InputError(f"{publication.path} has no weights in safetensors, and other formats are not uploaded")
    encoder = open_encoder(str(place))
    if not merge_lora:
        check_sharing(encoder)
        _copy_model(publication, encoder, place, folder)
        return
    with unfinished(folder.parent, ".merged") as merged:
        encoder.merge_adapter()
        encoder.save_pretrained(merged)
        kept = set(files) - set(regular_files(place, WEIGHT_FILES))
        take_files(place, kept - set(regular_files(merged, ["*"])), merged)
        _copy_model(publication, encoder, merged, folder)


def _copy_model(publication: Publication, encoder: Encoder, place: Path, folder: Path) -> None:
    repo_id = publication.repo_id
    is_adapter = (place / "adapter_config.json").is_file()
    # Others may use modules of sentence-transformers that are not copied
    take_files(place, set(regular_files(place, MODEL_FILES)) - set(regular_files(place, SENTENCE_FILES)), folder)
    if (folder / "alignment.json").is_file():
        encoder.write_sentence_files(folder, read_alignment(str(folder)).get("similarity"))
        _write_aligned_card(place, folder, repo_id)
    elif (folder / CARD).is_file():
        _rename_card(folder / CARD, repo_id, "transformers" if publication.merge_lora else None)
    else:
        _write_plain_card(folder, repo_id, is_adapter)


def _write_plain_card(folder: Path, repo_id: str, is_adapter: bool) -> None:
    """The card of a model about which nothing is known except how it is opened."""
    library, base = "transformers", None
    if is_adapter:
        settings = load_json(folder / "adapter_config.json", "the configuration")
        library, base = "peft", hub_id(settings.get("base_model_name_or_path"))
    task = OF_TEXTS if is_text_model(str(folder)) else COMPARED
    data = ModelCardData(library_name=library, base_model=base, pipeline_tag=task)
    code = f'from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("{repo_id}")'
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n# {repo_id}\n\n```python\n{code}\n```\n")
    card.save(folder / CARD)


def _write_aligned_card(place: Path, folder: Path, repo_id: str) -> None:
    """The card with the new name. Licence, tags, languages and the numbers of later evaluations stay."""
    before = load_card(place).data
    write_model_card(folder, repo_id, **{field: before.get(field) for field in (*FIELDS, "tags", "language")})
    card = ModelCard.load(folder / CARD)
    known = {result.metric_name for result in card.data.eval_results or []}
    added = [result for result in before.get("eval_results") or [] if result.metric_name not in known]
    if added:
        card.data["eval_results"] = [*(card.data.get("eval_results") or []), *added]
        show_evaluation(card)
        card.save(folder / CARD)
    take_files(place, regular_files(place, [".eval_results/*"]), folder)  # with those of later evaluations


def _rename_card(file: Path, repo_id: str, library: str | None = None) -> None:
    """Puts another name into the title and the code of a card, and maybe another library that opens it."""
    text = file.read_text(encoding="utf-8")
    title = re.search(r"^# (.+)$", ModelCard.load(file).text, re.M)  # not a comment in the metadata
    if title is not None:
        text = text.replace(title[0], f"# {repo_id}", 1).replace(f'"{title[1]}"', f'"{repo_id}"')
    file.write_text(text.replace(f'"{UNNAMED}"', f'"{repo_id}"'), encoding="utf-8")
    card = ModelCard.load(file)
    changed = {"model_name": repo_id} if card.data.get("model_name") else {}
    changed |= {"library_name": library} if library is not None else {}
    for field, value in changed.items():
        card.data[field] = value
    if changed:
        card.save(file)
