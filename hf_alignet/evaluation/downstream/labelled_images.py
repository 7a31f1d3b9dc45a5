"""Labelled images to learn from and to test on, by the name of a dataset and of one of its splits."""

import functools
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, LargeList, List, Value

from hf_alignet.errors import InputError
from hf_alignet.evaluation.downstream.labelled import Labelled, only_in, ranks_in_classes
from hf_alignet.images.opening import as_encoded_images, load_image_splits
from hf_alignet.images.picture_record import PictureRecord
from hf_alignet.judgments.stimuli import Stimuli
from hf_alignet.sources import SPLIT, public_name

TRAIN, TESTS = "train", ("test", "validation", "valid", "val")
LABEL = "label"
UNLABELLED = -1  # of a ClassLabel


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Some images of a dataset, and the class of each.

    Attributes:
        stimuli: all images of the dataset, for embedding.
        rows: (n,) rows of these images among them.
        labels: (n,) positions in `classes`; of several classes the first.
        classes: names.
        accepted: for each image the positions of all its classes, if the column of classes holds lists, as in ReaL.
    """

    stimuli: Stimuli
    rows: np.ndarray
    labels: np.ndarray
    classes: list[str]
    accepted: list[list[int]] | None = None

    def embedded(self, embeddings: np.ndarray) -> Labelled:
        """Embeddings of these images, from those of all stimuli."""
        return Labelled(embeddings[self.rows], self.labels, self.classes)

    def of_one_class(self) -> Self:
        """The images themselves. Raises an InputError if the column of classes holds lists."""
        if self.accepted is not None:
            raise InputError(
                f"{self.stimuli.name} has lists of classes: only the tests of shift:TRAIN->TEST can have them; name a "
                "column of single classes in `label_column`"
            )
        return self

    def divided(self, seed: int) -> tuple["LabelledImages", "LabelledImages"]:
        """To learn from and to test on: of each class every second image in random order; see `of_one_class`."""
        self.of_one_class()
        ranks = ranks_in_classes(self.labels, seed)
        parts = (np.flatnonzero(ranks % 2 == half) for half in (0, 1))
        first, second = (replace(self, rows=self.rows[part], labels=self.labels[part]) for part in parts)
        return first, second


def open_split(source: str, image_column: str | None = None, label_column: str | None = None) -> LabelledImages:
    """The images of `dataset#split`; of a dataset with only one split its name is enough.

    Args:
        source: path or Hub id, and the split.
        image_column: column of the pictures. By default `image`, or else the only one.
        label_column: column of the classes. By default `label`, or else the only one of type `ClassLabel`. It may hold
            lists, of all classes that are right; images with empty lists are left out.

    Raises:
        InputError: the dataset, the split or the column does not exist, or an image has no class.
    """
    name, _, split = source.partition(SPLIT)
    return _chosen(load_image_splits(name), name, split, image_column, label_column)


def _chosen(
    splits: DatasetDict, name: str, split: str, image_column: str | None, label_column: str | None
) -> LabelledImages:
    """The split of that name, or the only one."""
    if not split and len(splits) == 1:
        split = next(iter(splits))
    if split not in splits:
        wanted = f"has no split {split!r}" if split else "has several splits"
        raise InputError(
            f"{name!r} {wanted}: name one of {', '.join(splits)}, as in {name}{SPLIT}{next(iter(splits))}"
        )
    return _labelled(splits[split], f"{public_name(name)}{SPLIT}{split}", image_column, label_column)


def open_parts(
    source: str, seed: int, image_column: str | None = None, label_column: str | None = None
) -> tuple[LabelledImages, LabelledImages]:
    """Images to learn from and images to test on: the splits `train` and `test` (or `validation`) of a dataset.

    A dataset with only one split, or one that `source` names, is divided: half of each class is for tests. Classes are
    the same in both. Arguments and errors are those of `open_split`; also InputError for classes that only one has.
    """
    if SPLIT in source:
        return open_split(source, image_column, label_column).divided(seed)
    splits = load_image_splits(source)
    test = next((split for split in TESTS if split in splits and _has_labels(splits[split], label_column)), None)
    if TRAIN not in splits or test is None:
        only = TRAIN if TRAIN in splits else next(iter(splits))
        return _chosen(splits, source, only, image_column, label_column).divided(seed)
    of_train, of_test = (
        _labelled(splits[split], f"{public_name(source)}{SPLIT}{split}", image_column, label_column).of_one_class()
        for split in (TRAIN, test)
    )
    if of_train.classes != of_test.classes:
        both = ((of_train, of_test), (of_test, of_train))
        only_train, only_test = (", ".join(only_in(a.classes, b.classes)) or "none" for a, b in both)
        raise InputError(
            f"the splits {TRAIN} and {test} of {source!r} have different classes: only in {TRAIN}: {only_train}; "
            f"only in {test}: {only_test}"
        )
    return of_train, of_test


def num_common_images(first: LabelledImages, second: LabelledImages) -> int:
    """How many of the second images are also among the first, by their content."""
    if first.stimuli is second.stimuli:
        return 0
    contents = []
    for part in (first, second):
        assert part.stimuli.images is not None
        contents.append(PictureRecord.of(part.stimuli.images).contents[part.rows])
    return int(np.isin(contents[1], contents[0]).sum())


class Library:
    """Opens the labelled images of an evaluation, each dataset once, and compares the pictures of two of them once."""

    def __init__(self, seed: int, image_column: str | None = None, label_column: str | None = None):
        self.seed = seed
        columns: dict[str, Any] = {"image_column": image_column, "label_column": label_column}
        self.open_split = functools.cache(functools.partial(open_split, **columns))
        self.open_parts = functools.cache(functools.partial(open_parts, seed=seed, **columns))
        self.num_common_images = functools.cache(num_common_images)


def _labelled(images: Dataset, name: str, image_column: str | None, label_column: str | None) -> LabelledImages:
    column = find_label_column(images, name, label_column)
    feature, values = images.features[column], images.with_format("arrow")[:].column(column).to_pylist()
    stimuli = Stimuli(name, as_encoded_images(images, image_column))
    if isinstance(feature, List | LargeList):
        return _with_lists(stimuli, feature.feature, values, f"the column {column!r} of {name}")
    is_missing = np.array([_name(value, feature) is None for value in values])
    if is_missing.any():
        raise InputError(
            f"row {is_missing.argmax()} of {name} has no class in the column {column!r} ({is_missing.sum()} of "
            f"{len(values)} have none)"
        )
    classes, labels = np.unique([str(_name(value, feature)) for value in values], return_inverse=True)
    return LabelledImages(stimuli, np.arange(len(images)), labels.astype(np.int64), classes.tolist())


def _with_lists(stimuli: Stimuli, feature: Any, values: list[list[Any] | None], what: str) -> LabelledImages:
    """Images with the classes of each, without those that have none."""
    if not isinstance(feature, ClassLabel | Value):
        raise InputError(f"{what} must hold classes or lists of classes, not lists of {feature}")
    names = [[name for value in cell or [] if (name := _name(value, feature)) is not None] for cell in values]
    classes = sorted({name for of_image in names for name in of_image})
    if not classes:
        raise InputError(f"{what} has only empty lists")
    positions = {name: position for position, name in enumerate(classes)}
    rows = np.array([row for row, of_image in enumerate(names) if of_image])
    accepted = [[positions[name] for name in dict.fromkeys(names[row])] for row in rows]
    return LabelledImages(stimuli, rows, np.array([labels[0] for labels in accepted]), classes, accepted)


def _name(value: Any, feature: Any) -> str | None:
    """The name of a class; None if there is none."""
    if isinstance(feature, ClassLabel):
        return None if value is None or value < 0 else feature.names[value]
    return None if value is None else str(value)


def find_label_column(images: Dataset, name: str, given: str | None) -> str:
    found = [column for column, feature in images.features.items() if isinstance(feature, ClassLabel)]
    column = given or (LABEL if LABEL in images.column_names else found[0] if len(found) == 1 else None)
    if column is None or column not in images.column_names:
        raise InputError(
            f"{name} needs a column of classes: name it in `label_column`; there are {', '.join(images.column_names)}"
        )
    return column


def _has_labels(images: Dataset, given: str | None) -> bool:
    """Whether some image has a class: test splits of competitions have none."""
    column = find_label_column(images, "the split", given)
    values = images.with_format("arrow")[:].column(column).to_pylist()
    return any(value is not None and value != UNLABELLED for value in values)
