"""Reads a folder of pictures: which files are rows, in which order, in which splits, with which labels.

* A picture is a regular file with the suffix of one (`formats.SUFFIXES`, in any case), in the folder or below it.
  Hidden files and folders are left out, and other files; the log says so.
* The order is that of the paths in the folder, as text: `a.png`, `b/a.png`, `c.png`. With metadata it is theirs.
* If all pictures are in folders such as `train` and `test`, these are the splits; otherwise all are `train`.
* `label` is the folder of a picture (not that of a split), if there are several and all pictures are equally deep.
* Metadata are those of `datasets`: see `folder_metadata`. They take the place of labels, and choose the pictures.

Links are not followed, because they could lead to any file of this machine, which would then be shared.
"""

import logging
import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetDict, DatasetInfo, Features
from datasets import Image as ImageFeature

from hf_alignet.errors import InputError
from hf_alignet.images.folder_metadata import METADATA_NAMES, read_metadata
from hf_alignet.images.formats import is_picture_name
from hf_alignet.images.picture_files import IMAGE_COLUMN, as_cells
from hf_alignet.sources import SHARD, opening

logger = logging.getLogger(__name__)

LABEL = "label"
TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing", "eval"), TEST),
}
OF_DATASETS = (".parquet", ".arrow", ".tar")  # files of a dataset, which says itself what it holds
STATE_FILES = ("state.json", "dataset_dict.json")
CONFIGURED = re.compile(r"\A---\n.*?^(configs|dataset_info):.*?^---$", re.MULTILINE | re.DOTALL)  # a card with data
SHOWN = 3  # names in a message


@dataclass
class FolderFiles:
    """What is in a folder and below it: paths in it, with `/`.

    Attributes:
        pictures: regular files with the suffix of a picture.
        metadata: metadata files.
        others: other regular files.
        passed_over: hidden files and folders, and links and devices: nothing of them is opened.
        refused: what looks like a picture but is none, and why.
    """

    pictures: list[str] = field(default_factory=list)
    metadata: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: str) -> "FolderFiles":
        """Lists a folder; InputError if it cannot be read, or a name is no text."""
        found, todo, root = cls(), [""], os.path.realpath(folder)
        while todo:
            parent = todo.pop()
            try:
                with os.scandir(os.path.join(folder, parent) if parent else folder) as entries:
                    todo += [path for entry in entries if (path := found._sort_in(entry, parent, root)) is not None]
            except OSError as error:
                raise InputError(f"cannot read the folder {os.path.join(folder, parent)}: {error}") from error
        for names in (found.pictures, found.metadata, found.others, found.passed_over):
            names.sort()
        return found

    def _sort_in(self, entry: os.DirEntry[str], parent: str, root: str) -> str | None:
        """Puts an entry into its list; of a folder to look into, its path."""
        path = f"{parent}/{entry.name}" if parent else entry.name
        is_folder, is_picture = entry.is_dir(follow_symlinks=False), is_picture_name(entry.name)
        if _is_no_text(entry.name):
            raise InputError(f"the name {entry.name!r} in {os.path.dirname(entry.path)} is no UTF-8: rename it")
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            self.passed_over.append(path)
        elif is_folder and not is_picture:
            return path
        elif (trouble := _trouble(entry, root)) is None:
            chosen = self.metadata if entry.name in METADATA_NAMES else self.pictures if is_picture else self.others
            chosen.append(path)
        elif is_picture or entry.is_dir() or entry.name in METADATA_NAMES:
            self.refused[path] = trouble
        else:
            self.passed_over.append(path)
        return None

    @property
    def is_dataset(self) -> bool:
        """Whether they are those of a dataset with files of its own, and pictures at most beside them."""
        files = (*self.others, *self.passed_over)
        names = list(map(posixpath.basename, files))
        if any(path in STATE_FILES for path in files) or any(map(SHARD.fullmatch, names)):
            return True
        pictures = len(self.pictures) + sum(map(is_picture_name, self.refused))
        return sum(name.lower().endswith(OF_DATASETS) for name in names) >= pictures


def read_picture_folder(folder: Path, name: str) -> DatasetDict | None:
    """The pictures of a folder by split, each as the path of its file; None if the folder holds none, or a dataset.

    Args:
        folder: its path.
        name: what the user gave, for messages.

    Raises:
        InputError: a picture is a link that leads elsewhere, or no regular file; or metadata cannot be used.
    """
    root = os.path.abspath(folder)
    with opening(name):
        if _is_configured(folder):
            return None
    files = FolderFiles.of(root)
    if files.is_dataset:
        return None
    if files.refused:
        path, trouble = min(files.refused.items())
        raise InputError(f"{path!r} in {name} {trouble}{_more(files.refused)}: put a copy in its place, or remove it")
    tables = _with_metadata(root, files) if files.metadata else _with_labels(root, files.pictures)
    _say_what_is_used(name, files, sum(map(len, tables.values())))
    return DatasetDict({split: tables[split] for split in (TRAIN, VALIDATION, TEST) if split in tables})


def _is_no_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _trouble(entry: os.DirEntry[str], root: str) -> str | None:
    """Why a file is not opened; None for a regular file, or a link to one in the folder."""
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if not os.path.exists(target):
            return "is a link to nothing"
        if os.path.commonpath((target, root)) != root:
            return "is a link out of the folder"
    return None if entry.is_file() else "is no regular file"


def _is_configured(folder: Path) -> bool:
    """Whether a folder has a card that says which files are data."""
    card = folder / "README.md"
    return card.is_file() and CONFIGURED.search(card.read_text(encoding="utf-8", errors="replace")) is not None


def _split_of(path: str) -> str | None:
    """The split that the first folder of a path is called after."""
    folder, _, below = path.partition("/")
    return SPLIT_FOLDERS.get(folder.lower()) if below else None


def _by_split(paths: Sequence[str]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    if not all(map(_split_of, paths)):
        return {TRAIN: list(paths)}
    for path in paths:
        splits.setdefault(str(_split_of(path)), []).append(path)
    return splits


def _with_labels(root: str, pictures: list[str]) -> dict[str, Dataset]:
    """One table a split; the folder of a split is no class."""
    is_divided = all(map(_split_of, pictures))
    below = [path.partition("/")[2] for path in pictures] if is_divided else pictures
    parents = [posixpath.basename(posixpath.dirname(path)) for path in below]
    names = sorted(set(parents))
    features = Features({IMAGE_COLUMN: ImageFeature()})
    if len(names) > 1 and len({path.count("/") for path in below}) == 1:
        features[LABEL] = ClassLabel(names=names)
    number = {parent: i for i, parent in enumerate(names)}
    of_picture = dict(zip(pictures, map(number.__getitem__, parents), strict=True))
    tables = {}
    for split, paths in _by_split(pictures).items():
        columns = {
            IMAGE_COLUMN: as_cells(root, paths),
            LABEL: pa.array([of_picture[path] for path in paths], pa.int64()),
        }
        tables[split] = _dataset(pa.table({column: columns[column] for column in features}), features)
    return tables


def _with_metadata(root: str, files: FolderFiles) -> dict[str, Dataset]:
    """One table a split, of which each row is one of a metadata file. Pictures without a row go to the others."""
    splits = _by_split(files.pictures) if all("/" in path for path in files.metadata) else {TRAIN: files.pictures}
    of_split = {TRAIN: files.metadata} if set(splits) == {TRAIN} else _by_split(files.metadata)
    without = [split for split in splits if split not in of_split]
    if without:
        raise InputError(f"{root} has metadata of the split {next(iter(of_split))}, but none of {without[0]}")
    known, listed, tables = {*files.pictures, *files.others}, set(), {}
    for split, paths in of_split.items():
        table, features, named = read_metadata(root, paths, known)
        tables[split] = _dataset(table, features)
        listed |= named
    files.others = sorted({*files.pictures, *files.others} - listed)
    return tables


def _dataset(table: pa.Table, features: Features) -> Dataset:
    return Dataset(table.cast(features.arrow_schema), info=DatasetInfo(features=features))


def _say_what_is_used(name: str, files: FolderFiles, used: int) -> None:
    facts = [f"{used} pictures"]
    if files.metadata:
        facts.append(f"metadata from {_listed(files.metadata)}")
    for what, paths in (("other files", files.others), ("that are hidden or no files", files.passed_over)):
        if paths:
            facts.append(f"left out {len(paths)} {what}: {_listed(paths)}")
    logger.log(logging.WARNING if files.others else logging.INFO, "%s: %s", name, "; ".join(facts))


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(map(repr, paths[:SHOWN])) + _more(paths, SHOWN)


def _more(paths: Sequence[str] | dict[str, str], shown: int = 1) -> str:
    return f" ({len(paths) - shown} more)" if len(paths) > shown else ""
