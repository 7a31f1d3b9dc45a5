"""Finds out what a path holds that can be published as a dataset: judgments, a similarity matrix or pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, Value
from datasets.exceptions import DatasetGenerationError

from hf_alignet.errors import InputError
from hf_alignet.hub.publish.publication import Publication
from hf_alignet.images.opening import as_encoded_images, load_image_splits, load_images
from hf_alignet.images.picture_files import check_files
from hf_alignet.judgments import aggregate, image_names, load_judgments, load_levels, load_similarity_matrix
from hf_alignet.judgments.judgment_dataset import (
    COUNTS,
    IS_CATCH,
    LEVEL,
    PARTICIPANT,
    align_columns,
    without_catch_trials,
)
from hf_alignet.judgments.rows import ODD, arrow_column
from hf_alignet.judgments.similarity_matrices import PARTICIPANT as NUMBERED
from hf_alignet.judgments.similarity_matrices import PARTICIPANTS, as_rows
from hf_alignet.judgments.stimulus_names import CONFIG as STIMULI
from hf_alignet.judgments.stimulus_names import NAME
from hf_alignet.judgments.things import is_things_file
from hf_alignet.sources import has_config, load_splits
from hf_alignet.storage import CHECKSUMS
from hf_alignet.text_files import load_names

# The splits of each configuration, the default one first; and facts for the card, without any local path
Contents = tuple[dict[str, DatasetDict], dict[str, Any]]


def open_contents(publication: Publication) -> Contents:
    """Opens what is published, in the schema in which it is published.

    Raises an InputError if the path holds nothing known (says what was tried), or pictures may not be shared.
    """
    path, place = publication.path, publication.place
    images = load_images(publication.images) if publication.images is not None else None
    names = image_names(images) if images is not None else None
    if publication.object_names is not None:
        names = load_names(publication.object_names)
    elif names is None and has_config(path, STIMULI):  # published before
        names = load_splits(path, STIMULI)["train"][NAME][:]
    number = len(images) if images is not None else None
    attempts: dict[str, Callable[[], Contents]] = {
        "human judgments": lambda: _judgments(publication, names, number),
        "raw results of Levels": lambda: _levels(place, names),
        "a similarity matrix": lambda: _matrix(publication, names),
    }
    if images is None and names is None and (place.is_dir() or place.suffix == ".parquet"):
        attempts["pictures"] = lambda: ({"images": _pictures(path)}, {})
    if place.suffix == ".json" or any(place.glob("*.json")) and not (place / "state.json").exists():
        attempts = {"raw results of Levels": attempts.pop("raw results of Levels"), **attempts}
    problems = ["a triplet dataset: it has no triplets.json, which `hf-alignet make-triplets` writes"]
    for what, attempt in attempts.items():
        try:
            configs, facts = attempt()
        except (InputError, DatasetGenerationError) as problem:
            indented = str(problem).replace("\n", "\n  ")
            problems.append(f"{what}: {indented}")
            continue
        if images is not None:
            configs["images"] = DatasetDict(train=images)
        if names is not None and "matrix" not in configs:  # a matrix has the names of its rows
            configs[STIMULI] = _stimuli(names)
        if (place / CHECKSUMS).is_file():
            _add_published(publication, configs, facts)
        if "images" in configs:
            publication.check_right_to_images()
        return configs, facts
    raise InputError(f"{path} holds nothing that can be published. It was opened as\n- " + "\n- ".join(problems))


def _judgments(publication: Publication, names: Sequence[str] | None, number: int | None) -> Contents:
    place = publication.place
    table: dict[str, Any] = {name: getattr(publication, name) for name in ("columns", "rt_unit", "max_missing")}
    splits = load_judgments(publication.path, names, publication.object_order, number, **table)
    tables = [file for file in ([place] if place.is_file() else place.iterdir()) if file.suffix in (".csv", ".tsv")]
    is_things = any(map(is_things_file, tables))
    return _of_splits(splits, {"study": "things"} if is_things else {})


def _levels(place: Path, names: Sequence[str] | None) -> Contents:
    """The study as one split, `test`, since it is for measurements only."""
    found = load_levels(place, names)
    study = {"study": "levels", "exclusions": found.exclusions._asdict()}
    configs, facts = _of_splits(DatasetDict(test=found.judgments), study)
    return configs | ({STIMULI: _stimuli(found.names)} if names is None else {}), facts


def _of_splits(splits: DatasetDict, study: dict[str, Any]) -> Contents:
    """Choices, and counts of them if triplets repeat; or counts alone if the splits hold counts."""
    if len({ODD in data.column_names for data in splits.values()}) > 1:
        raise InputError(f"some splits hold choices, others counts of them: {', '.join(splits)}; give counts in all")
    splits, was_named = anonymous(align_columns(splits))
    facts = study | {"was_named": was_named, "judged": {name: _numbers(data) for name, data in splits.items()}}
    if COUNTS in next(iter(splits.values())).column_names:
        return {"aggregated": splits}, facts
    judged = {name: without_catch_trials(data) for name, data in splits.items()}
    counted = {name: aggregate(data) for name, data in judged.items() if len(data)}
    configs = {"judgments": splits}
    if any(len(counted[name]) < len(judged[name]) for name in counted):
        configs["aggregated"] = DatasetDict(counted)
    return configs, facts


def _numbers(judgments: Dataset) -> dict[str, int]:
    """The numbers of choices, of distinct triplets and, if known, of participants and of checks of attention."""
    counted = aggregate(judgments)
    numbers = {"choices": int(np.sum(counted[COUNTS][:])), "triplets": len(counted)}
    if PARTICIPANT in judgments.column_names:
        people = arrow_column(judgments, PARTICIPANT).unique()
        numbers["participants"] = len(people) - people.null_count
    if IS_CATCH in judgments.column_names:
        numbers["checks of attention"] = len(judgments) - len(without_catch_trials(judgments))
    if LEVEL in judgments.column_names:
        for level in arrow_column(counted, LEVEL).value_counts().to_pylist():
            if level["values"] is not None:
                numbers[f"{level['values']} triplets"] = level["counts"]
    return numbers


def _matrix(publication: Publication, names: Sequence[str] | None) -> Contents:
    found = load_similarity_matrix(publication.path, publication.matrix_kind, names, publication.matrix_variable)
    configs = {name: DatasetDict(train=data) for name, data in as_rows(found).items()}
    upper = found.matrix[np.triu_indices(len(found.names), 1)]
    facts = {
        "matrix_kind": found.kind,
        "num_stimuli": len(found.names),
        "num_judged_pairs": int((~np.isnan(upper)).sum()),
        "num_pairs": len(upper),
        "num_participants": len(found.participants) if PARTICIPANTS in configs else None,  # type: ignore[arg-type]
    }
    return configs, facts


def _pictures(path_or_id: str) -> DatasetDict:
    splits = load_image_splits(path_or_id)
    return DatasetDict({split: as_encoded_images(images) for split, images in splits.items()})


def _add_published(publication: Publication, configs: dict[str, DatasetDict], facts: dict[str, Any]) -> None:
    """Adds the other configurations of a copy that was published before.

    Raises an InputError if settings can change the rows, so that these configurations may not fit.
    """
    for config in ("images", PARTICIPANTS):
        if config in configs or not (publication.place / config).is_dir():
            continue
        publication.refuse(("images", "object_names", "matrix_kind"), f"a copy that was published with {config}")
        if config == "images":
            configs[config] = _pictures(publication.path)
        else:
            configs[config] = load_splits(publication.path, config)
            for data in configs[config].values():
                check_files(data, [], f"the {config} hold no pictures, so it is not shared")
            facts["num_participants"] = len(set(configs[config]["train"][NUMBERED]))


def _stimuli(names: Sequence[str]) -> DatasetDict:
    return DatasetDict(train=Dataset.from_dict({NAME: list(names)}, Features({NAME: Value("string")})))


def anonymous(splits: DatasetDict) -> tuple[DatasetDict, bool]:
    """The same judgments, with numbers instead of the names of participants; and whether names were replaced.

    With the id that a platform gave a worker one can find the person. n participants whose names are the numbers from
    0 to n - 1 keep them. Otherwise they get these numbers in their order of appearance in the splits, which have the
    same columns.
    """
    if PARTICIPANT not in next(iter(splits.values())).column_names:
        return splits, False
    everyone = pa.concat_arrays([arrow_column(data, PARTICIPANT) for data in splits.values()]).dictionary_encode()
    numbers = pa.array(np.arange(len(everyone.dictionary)).astype(str))
    if set(everyone.dictionary.to_pylist()) == set(numbers.to_pylist()):
        return splits, False
    coded = pa.DictionaryArray.from_arrays(everyone.indices, numbers).cast(pa.string())
    replaced, start = {}, 0
    for name, data in splits.items():
        table = data.with_format("arrow")[:]
        column = table.schema.get_field_index(PARTICIPANT)
        part = coded.slice(start, len(table))
        replaced[name] = Dataset(table.set_column(column, table.schema.field(column), part), info=data.info.copy())
        start += len(table)
    return DatasetDict(replaced), True
