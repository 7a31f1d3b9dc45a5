"""What a path holds that can be published as a dataset: judgments, a similarity matrix or pictures, told by itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, Features, Value
from datasets.exceptions import DatasetGenerationError

from hf_alignet.cli.arguments.publishing import PublishArguments
from hf_alignet.errors import InputError
from hf_alignet.hub.publish.participants import anonymous
from hf_alignet.images.opening import as_encoded_images, load_images
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
from hf_alignet.judgments.text_table import read_header
from hf_alignet.judgments.things import is_things_table
from hf_alignet.sources import has_config, load_names, load_splits
from hf_alignet.storage import CHECKSUMS


@dataclass
class Contents:
    """Parts of a dataset.

    Attributes:
        configs: the splits of each configuration, the default one first.
        facts: about them, for the card; no local path is in it.
    """

    configs: dict[str, DatasetDict]
    facts: dict[str, Any] = field(default_factory=dict)


def open_contents(arguments: PublishArguments) -> Contents:
    """Opens what the arguments name, in the schema in which it is published.

    Raises:
        InputError: there is nothing that is understood (says what was tried), or pictures may not be shared.
    """
    path = Path(arguments.path).expanduser()
    images = load_images(arguments.images) if arguments.images is not None else None
    names = image_names(images) if images is not None else None
    if arguments.object_names is not None:
        names = load_names(arguments.object_names)
    elif names is None and has_config(arguments.path, STIMULI):  # published before
        names = load_splits(arguments.path, STIMULI)["train"][NAME][:]
    number = len(images) if images is not None else None
    attempts: dict[str, Callable[[], Contents]] = {
        "human judgments": lambda: _judgments(arguments, names, number),
        "raw results of Levels": lambda: _levels(path, names),
        "a similarity matrix": lambda: _matrix(arguments, names),
    }
    if images is None and names is None and (path.is_dir() or path.suffix == ".parquet"):
        attempts["pictures"] = lambda: _images(arguments)
    if path.suffix == ".json" or any(path.glob("*.json")) and not (path / "state.json").exists():
        attempts = {"raw results of Levels": attempts.pop("raw results of Levels"), **attempts}
    problems = ["a triplet dataset: there is no triplets.json, as recipes/make_triplets.py writes it"]
    for what, attempt in attempts.items():
        try:
            contents = attempt()
        except (InputError, DatasetGenerationError) as problem:
            indented = str(problem).replace("\n", "\n  ")
            problems.append(f"{what}: {indented}")
            continue
        if images is not None:
            contents.configs["images"] = DatasetDict(train=images)
        if names is not None and "matrix" not in contents.configs:  # a matrix names its rows itself
            contents.configs[STIMULI] = _stimuli(names)
        if (path / CHECKSUMS).is_file():
            _carry(arguments, contents)
        if "images" in contents.configs:
            arguments.check_right_to_images()
        return contents
    raise InputError(f"{arguments.path} is nothing that can be published. As\n- " + "\n- ".join(problems))


def _judgments(arguments: PublishArguments, names: Sequence[str] | None, number: int | None) -> Contents:
    path = Path(arguments.path).expanduser()
    splits = load_judgments(arguments.path, names, arguments.object_order, number)
    tables = [file for file in ([path] if path.is_file() else path.iterdir()) if file.suffix in (".csv", ".tsv")]
    is_things = any(is_things_table(read_header(table)[0]) for table in tables)
    return _of_splits(splits, {"study": "things"} if is_things else {})


def _levels(path: Path, names: Sequence[str] | None) -> Contents:
    """The whole study is for measuring: its split is `test`."""
    found = load_levels(path, names)
    contents = _of_splits(
        DatasetDict(test=found.judgments), {"study": "levels", "exclusions": found.exclusions._asdict()}
    )
    if names is None:
        contents.configs[STIMULI] = _stimuli(found.names)
    return contents


def _of_splits(splits: DatasetDict, facts: dict[str, Any]) -> Contents:
    """Choices, and counts of them where triplets come more than once; or counts alone, where that is what there is."""
    if len({ODD in data.column_names for data in splits.values()}) > 1:
        raise InputError(f"some splits hold choices, others counts of them: {', '.join(splits)}; aggregate all")
    splits, was_named = anonymous(align_columns(splits))
    facts = facts | {"was_named": was_named, "judged": {name: _numbers(data) for name, data in splits.items()}}
    if COUNTS in next(iter(splits.values())).column_names:
        return Contents({"aggregated": splits}, facts)
    judged = {name: without_catch_trials(data) for name, data in splits.items()}
    counted = {name: aggregate(data) for name, data in judged.items() if len(data)}
    configs = {"judgments": splits}
    if any(len(counted[name]) < len(judged[name]) for name in counted):
        configs["aggregated"] = DatasetDict(counted)
    return Contents(configs, facts)


def _numbers(judgments: Dataset) -> dict[str, int]:
    """How many choices, distinct triplets and, where known, participants and checks of attention."""
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


def _matrix(arguments: PublishArguments, names: Sequence[str] | None) -> Contents:
    found = load_similarity_matrix(arguments.path, arguments.matrix_kind, names)
    configs = {name: DatasetDict(train=data) for name, data in as_rows(found).items()}
    upper = found.matrix[np.triu_indices(len(found.names), 1)]
    facts = {
        "matrix_kind": found.kind,
        "num_stimuli": len(found.names),
        "num_judged_pairs": int((~np.isnan(upper)).sum()),
        "num_pairs": len(upper),
        "num_participants": len(found.participants) if PARTICIPANTS in configs else None,  # type: ignore[arg-type]
    }
    return Contents(configs, facts)


def _images(arguments: PublishArguments) -> Contents:
    return Contents({"images": _pictures(arguments.path)}, {})


def _pictures(path_or_id: str) -> DatasetDict:
    splits = load_splits(path_or_id, config="images")
    return DatasetDict({split: as_encoded_images(images) for split, images in splits.items()})


def _carry(arguments: PublishArguments, contents: Contents) -> None:
    """Adds what a copy that was published before has beside its judgments or its matrix.

    Raises:
        InputError: its rows are asked to be others.
    """
    path = Path(arguments.path).expanduser()
    for config in ("images", PARTICIPANTS):
        if config in contents.configs or not (path / config).is_dir():
            continue
        for name in ("images", "object_names", "matrix_kind"):
            if getattr(arguments, name) is not None:
                raise InputError(
                    f"{arguments.path} was published before, with {config} that --{name} may not fit: publish from "
                    "what it was made from"
                )
        contents.configs[config] = _pictures(str(path)) if config == "images" else load_splits(str(path), config)
        if config == PARTICIPANTS:
            contents.facts["num_participants"] = len(set(contents.configs[config]["train"][NUMBERED]))


def _stimuli(names: Sequence[str]) -> DatasetDict:
    return DatasetDict(train=Dataset.from_dict({NAME: list(names)}, Features({NAME: Value("string")})))
