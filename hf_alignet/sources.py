"""Opens data that is named by a local path or a Hub id, and says clearly why when that fails."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from datasets import Dataset, DatasetDict, get_dataset_config_names, load_dataset, load_from_disk
from datasets.exceptions import DatasetGenerationError
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors import SafetensorError

from hf_alignet.errors import InputError

Shared = TypeVar("Shared")
SHARD = re.compile(r"(?P<split>\w+(?:\.\w+)*)-\d{5}-of-\d{5}\.parquet")


def load_splits(path_or_id: str, config: str, rows_at_once: int | None = None) -> DatasetDict:
    """All splits of a dataset.

    Args:
        path_or_id: a directory written by `save_to_disk`, or with a folder of the name of `config` that was; a
            `.parquet` file; any directory that `load_dataset` opens; or a Hub dataset id, optionally with `@revision`.
        config: the configuration to take where the dataset has one of that name; otherwise its only (default) one.
        rows_at_once: that `datasets` writes into its cache, 1,000 by default. Of small rows more make millions of them
            open sooner, ever after.

    Returns:
        The splits by name; a dataset without splits becomes `train`.

    Raises:
        InputError: nothing can be opened there.
    """
    path = Path(path_or_id).expanduser()
    is_folder = (path / config).is_dir()
    if is_folder:
        path = path / config
    try:
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            dataset = load_from_disk(str(path))
            return DatasetDict(train=dataset) if isinstance(dataset, Dataset) else dataset
        if path.is_file():
            return load_dataset("parquet", data_files=str(path), writer_batch_size=rows_at_once)
        shards = _shards(path) if is_folder else {}
        if shards:
            return load_dataset("parquet", data_files=shards, writer_batch_size=rows_at_once)
        name, revision = (str(path), None) if path.is_dir() else split_revision(path_or_id)
        configs = [] if is_folder else get_dataset_config_names(name, revision=revision)
        config_name = config if config in configs else None
        return load_dataset(name, config_name, revision=revision, writer_batch_size=rows_at_once)
    except (OSError, ValueError, DatasetGenerationError) as error:
        raise InputError(f"cannot open the dataset {path_or_id!r}: {in_one_line(error)}") from error


def has_config(path_or_id: str, config: str) -> bool:
    """Whether a directory of parquet files, or a dataset of the Hub, has a configuration of that name.

    Raises:
        InputError: the Hub has no such dataset.
    """
    path = Path(path_or_id).expanduser()
    if path.exists():
        return (path / config).is_dir()
    name, revision = split_revision(path_or_id)
    try:
        return config in get_dataset_config_names(name, revision=revision)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot open the dataset {path_or_id!r}: {in_one_line(error)}") from error


def _shards(folder: Path) -> dict[str, list[str]]:
    """The files of each split, where all are named like `train-00000-of-00002.parquet`; else none.

    With them given, `datasets` need not look for dozens of patterns.

    Raises:
        InputError: some of a split are missing.
    """
    matches = [SHARD.fullmatch(file.name) for file in sorted(folder.iterdir())]
    splits: dict[str, list[str]] = {}
    for match in matches:
        if match is None:
            return {}
        splits.setdefault(match["split"], []).append(str(folder / match[0]))
    for split, files in splits.items():
        number = int(files[0].removesuffix(".parquet").rpartition("-")[2])
        if len(files) != number:
            raise InputError(f"{folder} has {len(files)} of the {number} files of the split {split}; get the others")
    return splits


def split_revision(path_or_id: str) -> tuple[str, str | None]:
    """`user/name@revision` -> (`user/name`, `revision`); a path that exists is left whole."""
    if Path(path_or_id).expanduser().exists():
        return path_or_id, None
    name, _, revision = path_or_id.partition("@")
    return name, revision or None


def hub_id(name: str | None) -> str | None:
    """The name without its revision if it can be a Hub id (user/name), None for local data and the demo."""
    name = split_revision(name)[0] if name else None
    return name if name and name.count("/") == 1 else None


def public_name(path_or_id: str) -> str:
    """A Hub id as it is; a local path by its last part alone: nobody else has the rest, and it may tell names."""
    if not path_or_id:
        return path_or_id
    path = Path(path_or_id).expanduser()
    may_be_id = path_or_id.count("/") <= 1 and not path_or_id.startswith((".", "/", "~"))
    return path_or_id if may_be_id and not path.exists() else Path(os.path.abspath(path)).name


def load_shared(load: Callable[..., Shared], path_or_id: str | Path, what: str, **options: Any) -> Shared:
    """What a `from_pretrained` of huggingface_hub's mixin loads, with a clear error where it cannot.

    Args:
        load: the mixin's method.
        path_or_id: a directory, or a Hub id, optionally with `@revision`.
        what: is loaded, for the message.
        **options: of the method.

    Raises:
        InputError: it is not there, or is something else.
    """
    name, revision = split_revision(str(path_or_id))
    if revision is not None:
        options["revision"] = revision
    try:
        return load(name, **options)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise InputError(f"cannot load {what} from {str(path_or_id)!r}: {in_one_line(error)}") from error


def in_one_line(error: Exception) -> str:
    """Why something cannot be opened, without the paragraphs and addresses that the Hub's libraries add."""
    if isinstance(error, RepositoryNotFoundError):
        return "it is not there, neither here nor on the Hub, or only for those who log in by `hf auth login`"
    return " ".join(str(error).split())


def shared_file(path_or_id: str, file: str, **download: Any) -> Path:
    """A file of a directory, or of a repository of the Hub, downloaded if need be."""
    directory = Path(path_or_id)
    return directory / file if directory.is_dir() else Path(hf_hub_download(path_or_id, file, **download))


def packaged(folder: str) -> list[Path]:
    """The files that come with the package in a folder, such as `configs`; in a clone they lie in `recipes`.

    Example:
        >>> [file.name for file in packaged("configs")]
        ['demo.yaml', 'make_triplets.yaml']
    """
    package = Path(__file__).parent
    installed = package / "cli" / folder
    return sorted((installed if installed.is_dir() else package.parent / "recipes" / folder).glob("*.yaml"))


def load_matrix(path: str, what: str) -> np.ndarray:
    """The matrix of numbers (n, p) in a `.npy` file, memory-mapped.

    Args:
        path: of the file; a leading `~` is the home directory.
        what: it holds, for the message.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        matrix = np.load(Path(path).expanduser(), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read {what} {path}, which must be a .npy file of numbers: {error}") from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise InputError(f"{path} must hold {what} as one matrix of numbers (n, p)")
    return matrix


def load_names(file: str) -> list[str]:
    """The lines of a text file, each the name of a stimulus.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the names {file}: {error}") from error
