"""Opens what is named by a local path or a Hub id, and says clearly why when that fails.

This is the only module that tells a path from a Hub id. A leading `~` in a path is the home directory.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from datasets import Dataset, DatasetDict, get_dataset_config_names, load_dataset, load_from_disk
from datasets.config import HF_DATASETS_CACHE
from datasets.exceptions import DatasetGenerationError
from huggingface_hub import ModelHubMixin, hf_hub_download
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors import SafetensorError

from hf_alignet.errors import DISK_FULL, InputError, RunError
from hf_alignet.storage import MARKER, new_files, output_folder

SHARD = re.compile(r"(?P<split>\w+(?:\.\w+)*)-\d{5}-of-\d{5}\.parquet")


# ---- names


def local_path(path_or_id: str | Path) -> Path | None:
    """The path, with the home directory for a leading `~`; None for what can only be a Hub id."""
    path = Path(path_or_id).expanduser()
    return path if path.exists() or str(path_or_id).startswith("~") else None


def split_revision(path_or_id: str) -> tuple[str, str | None]:
    """`user/name@revision` -> (`user/name`, `revision`); a local path stays whole, without `~`."""
    if local_path(path_or_id) is not None:
        return os.path.expanduser(path_or_id), None
    name, _, revision = path_or_id.partition("@")
    return name, revision or None


def hub_id(name: str | None) -> str | None:
    """The name without its revision if it can be a Hub id (user/name); None for local data and the demo."""
    name = split_revision(name)[0] if name else None
    return name if name and name.count("/") == 1 and not name.startswith((".", "/")) else None


def public_name(path_or_id: str) -> str:
    """A Hub id as it is; of a local path the last part, because the rest may show names of people or projects."""
    if not path_or_id:
        return path_or_id
    may_be_id = path_or_id.count("/") <= 1 and not path_or_id.startswith((".", "/", "~"))
    if may_be_id and local_path(path_or_id) is None:
        return path_or_id
    return Path(os.path.abspath(os.path.expanduser(path_or_id))).name


def in_one_line(error: Exception) -> str:
    """Why something cannot be opened, without the paragraphs and addresses that the libraries of the Hub add."""
    if isinstance(error, RepositoryNotFoundError):
        return "it does not exist, neither here nor on the Hub, or only for users who log in by `hf auth login`"
    return " ".join(str(error).split())


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
        shards = _shards(path) if is_folder else {}
        if shards:
            return load_dataset("parquet", data_files=shards, writer_batch_size=rows_at_once)
        name, revision = (str(path), None) if path.is_dir() else split_revision(path_or_id)
        configs = [] if is_folder else get_dataset_config_names(name, revision=revision)
        config_name = config if config in configs else None
        return load_dataset(name, config_name, revision=revision, writer_batch_size=rows_at_once)


def has_config(path_or_id: str, config: str) -> bool:
    """Whether a dataset, here or on the Hub, has a configuration of that name; InputError if the Hub lacks it."""
    path = local_path(path_or_id)
    if path is not None:
        return (path / config).is_dir()
    name, revision = split_revision(path_or_id)
    with opening(path_or_id):
        return config in get_dataset_config_names(name, revision=revision)


@contextlib.contextmanager
def opening(path_or_id: str) -> Iterator[None]:
    """Turns what goes wrong when a dataset is opened into an InputError; RunError if the disk of caches is full."""
    try:
        yield
    except (OSError, ValueError, DatasetGenerationError) as error:
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) else error
        if isinstance(cause, OSError) and cause.errno in DISK_FULL:
            raise RunError(
                f"cannot open the dataset {path_or_id!r}, because the disk of {HF_DATASETS_CACHE} is full, where its "
                "copy is made: make room there, or set HF_DATASETS_CACHE to a folder on another disk"
            ) from error
        raise InputError(f"cannot open the dataset {path_or_id!r}: {in_one_line(error)}") from error


def _shards(folder: Path) -> dict[str, list[str]]:
    """The files of each split if all are named like `train-00000-of-00002.parquet`; otherwise none.

    `datasets` opens a list of files sooner than a folder, where it looks for dozens of patterns.
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


# ---- what the package fits and shares


class SharedModel(ModelHubMixin):
    """Saves to a directory, loads from it, and shares on the Hub, with clear errors and a card of its own."""

    kind: ClassVar[str] = "a model"  # in messages

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Loads what `save_pretrained` wrote, from a directory or a Hub id, optionally with `@revision`.

        Args:
            pretrained_model_name_or_path: the directory or Hub id.
            **kwargs: as for `huggingface_hub.ModelHubMixin`, such as `revision` and `token`.

        Raises:
            InputError: it does not exist, or is something else.
        """
        name, revision = split_revision(str(pretrained_model_name_or_path))
        if revision is not None:
            kwargs["revision"] = revision
        try:
            return super().from_pretrained(name, **kwargs)
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            raise InputError(
                f"cannot load {cls.kind} from {str(pretrained_model_name_or_path)!r}: {in_one_line(error)}"
            ) from error

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Writes `config.json`, `model.safetensors` and a card; other arguments are those of `ModelHubMixin`.

        Raises an InputError if the directory holds something else, see `hf_alignet.storage.output_folder`.
        """
        with output_folder(save_directory, "save_pretrained", "save_directory") as directory:
            kwargs.setdefault("repo_id", directory.name)
            with new_files(directory) as made:
                return super().save_pretrained(made, **kwargs)

    def push_to_hub(self, repo_id: str, *, model_card_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> str:
        """Uploads `config.json`, `model.safetensors` and a card; other arguments are those of `ModelHubMixin`."""
        card = {"repo_id": repo_id, **(model_card_kwargs or {})}
        ignored = kwargs.get("ignore_patterns") or []
        kwargs["ignore_patterns"] = [f"{MARKER}*", *([ignored] if isinstance(ignored, str) else ignored)]
        return super().push_to_hub(repo_id, model_card_kwargs=card, **kwargs)

    @staticmethod
    def file(model_id: str, name: str, **download: Any) -> Path:
        """A file of a directory, or of a repository on the Hub, which is downloaded if necessary."""
        directory = Path(model_id)
        return directory / name if directory.is_dir() else Path(hf_hub_download(model_id, name, **download))


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
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or not matrix.size:
        raise InputError(f"{path} must hold {what} as one matrix of numbers (n, p)")
    return matrix
