"""Opens what is named by a local path or a Hub id, and says clearly why when that fails.

This is the only module that tells a path from a Hub id. A leading `~` in a path is the home directory.
"""

import contextlib
import errno
import os
import re
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, get_dataset_config_names, load_dataset, load_dataset_builder, load_from_disk
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hf_alignet.errors import InputError
from hf_alignet.hub.connection import refusing
from hf_alignet.similarity import check_vectors

SHARD = re.compile(r"(?P<split>\w+(?:\.\w+)*)-\d{5}-of-\d{5}\.parquet")
SPLIT = "#"  # between a dataset and one of its splits


# ---- names


def local_path(path_or_id: str | Path) -> Path | None:
    """The path, with the home directory for a leading `~`; None for what can only be a Hub id."""
    path = Path(path_or_id).expanduser()
    try:
        is_there = path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        is_there = False
    return path if is_there or str(path_or_id).startswith("~") else None


def split_revision(path_or_id: str) -> tuple[str, str | None]:
    """`user/name@revision` -> (`user/name`, `revision`); a local path stays whole, without `~`."""
    if local_path(path_or_id) is not None:
        return os.path.expanduser(path_or_id), None
    name, _, revision = path_or_id.partition("@")
    return name, revision or None


def hub_id(name: str | None) -> str | None:
    """The name without its revision if it can be a Hub id (user/name); None for local data and the demo."""
    name = split_revision(name)[0] if name else None
    if not name or name.count("/") != 1:
        return None
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name


def public_name(path_or_id: str) -> str:
    """A Hub id as it is; of a local path the last part, because the rest may show names of people or projects."""
    if not path_or_id:
        return path_or_id
    may_be_id = path_or_id.count("/") <= 1 and not path_or_id.startswith((".", "/", "~"))
    if may_be_id and local_path(path_or_id) is None:
        return path_or_id
    return Path(os.path.abspath(os.path.expanduser(path_or_id))).name


# ---- datasets


def load_splits(path_or_id: str, config: str, rows_at_once: int | None = None) -> DatasetDict:
    """All splits of a dataset.

    Args:
        path_or_id: a directory that `save_to_disk` wrote, or one with such a folder named like `config`; a `.parquet`
            file; any directory that `load_dataset` opens; or a Hub dataset id, optionally with `@revision`.
        config: the configuration to take if the dataset has one of that name; otherwise its only (default) one.
        rows_at_once: number of rows that `datasets` writes to its cache at once, 1,000 by default. Millions of small
            rows open sooner with more.

    Returns:
        The splits by name; a dataset without splits becomes `train`.

    Raises:
        InputError: no dataset can be opened.
    """
    path = Path(path_or_id).expanduser()
    is_folder = (path / config).is_dir()
    if is_folder:
        path = path / config
    with opening(path_or_id):
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            dataset = load_from_disk(str(path))
            return DatasetDict(train=dataset) if isinstance(dataset, Dataset) else dataset
        if path.is_file():
            return load_dataset("parquet", data_files=str(path), writer_batch_size=rows_at_once)
        shards = complete_shards(path) if is_folder else {}
        if shards:
            return load_dataset("parquet", data_files=shards, writer_batch_size=rows_at_once)
        name, revision = (str(path), None) if path.is_dir() else split_revision(path_or_id)
        configs = [] if is_folder else get_dataset_config_names(name, revision=revision)
        config_name = config if config in configs else None
        if (path / "README.md").is_file():
            _refuse_files_elsewhere(path, config_name)
        return load_dataset(name, config_name, revision=revision, writer_batch_size=rows_at_once)


def has_config(path_or_id: str, config: str) -> bool:
    """Whether a dataset, here or on the Hub, has a configuration of that name; InputError if the Hub lacks it."""
    path = local_path(path_or_id)
    if path is not None:
        return (path / config).is_dir()
    name, revision = split_revision(path_or_id)
    with opening(path_or_id):
        return config in get_dataset_config_names(name, revision=revision)


def _refuse_files_elsewhere(folder: Path, config_name: str | None) -> None:
    """Raises an InputError if the card of a folder says that its data are in other folders, or on a server."""
    root = os.path.abspath(folder)
    for files in (load_dataset_builder(str(folder), config_name).config.data_files or {}).values():
        for file in files:
            if not Path(os.path.abspath(file)).is_relative_to(root):
                raise InputError(f"the card of {folder} names the file {file!r}, which is not in that folder")


def opening(path_or_id: str) -> contextlib.AbstractContextManager[None]:
    """Turns what goes wrong when a dataset is opened into an InputError."""
    return refusing(f"the dataset {path_or_id!r}")


def complete_shards(folder: Path) -> dict[str, list[str]]:
    """The files of each split if all are named like `train-00000-of-00002.parquet`; otherwise none.

    `datasets` opens a list of files sooner than a folder, where it looks for dozens of patterns. InputError if some of
    the files are missing.
    """
    splits: dict[str, list[str]] = {}
    for file in sorted(file for file in folder.iterdir() if not file.name.startswith(".")):
        match = SHARD.fullmatch(file.name)
        if match is None:
            return {}
        splits.setdefault(match["split"], []).append(str(folder / match[0]))
    for split, files in splits.items():
        number = int(files[0].removesuffix(".parquet").rpartition("-")[2])
        if len(files) != number:
            raise InputError(f"{folder} has {len(files)} of the {number} files of the split {split}; get the others")
    return splits


# ---- files


def packaged(folder: str) -> list[Path]:
    """The files that come with the package in a folder, such as `configs`; in a clone they lie in `recipes`.

    Example:
        >>> [file.name for file in packaged("configs")]
        ['demo.yaml', 'make_triplets.yaml']
    """
    package = Path(__file__).parent
    installed = package / "cli" / folder
    return sorted((installed if installed.is_dir() else package.parent / "recipes" / folder).glob("*.yaml"))


def packaged_or_path(folder: str, name: str) -> Path:
    """The file of that path, or else the packaged one that has the name without its ending."""
    path = Path(name).expanduser()
    return path if path.exists() else next((file for file in packaged(folder) if file.stem == name), path)


def load_matrix(path: str, what: str) -> np.ndarray:
    """The matrix of numbers (n, p) in a `.npy` file, memory-mapped; `what` names it in messages.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        matrix = np.load(Path(path).expanduser(), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read {what} {path}, which must be a .npy file of numbers: {error}") from error
    if not isinstance(matrix, np.ndarray):
        raise InputError(f"{path} must hold {what} as one matrix of numbers (n, p)")
    check_vectors(matrix, f"{what} in {path}")
    return matrix
