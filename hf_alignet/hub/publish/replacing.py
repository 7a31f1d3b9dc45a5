"""What an upload takes the place of on the Hub: earlier files of the same parts, and nothing else."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.utils import filter_repo_objects

from hf_alignet.cli.arguments.publishing import PublishArguments
from hf_alignet.errors import InputError, RunError
from hf_alignet.hub.transport.repository import HUB_ERRORS, WEIGHT_FILES, reason

DATA = [f"*.{suffix}" for suffix in ("parquet", "arrow", "csv", "tsv", "jsonl", "zip", "tar", "gz")]
NO_DATA = ["elbow.*"]  # describes the clusters beside triplets


def replaced_files(folder: Path, arguments: PublishArguments) -> list[str]:
    """Patterns of the files that go unless the folder has them: shards of another number, an adapter by a model."""
    if arguments.kind == "dataset":
        return [f"{config.name}/*.parquet" for config in sorted(folder.iterdir()) if config.is_dir()]
    return WEIGHT_FILES if arguments.kind == "model" else []


def check_nothing_lost(folder: Path, arguments: PublishArguments) -> None:
    """Refuses to give a dataset the card of another, by which nobody would find its data any more, and a transform the
    place of a model.

    Raises:
        InputError: the repository has data that the folder has not (names them), or a model.
        RunError: the Hub does not tell.
    """
    if arguments.kind not in ("dataset", "transform"):
        return
    try:
        there = HfApi().list_repo_files(arguments.repo_id, repo_type=arguments.repo_type, revision=arguments.revision)
    except (*HUB_ERRORS, OSError) as error:
        raise RunError(
            f"cannot see what {arguments.repo_id} holds: {reason(error)}. {folder} is complete: the same command "
            "tries again"
        ) from error
    if arguments.kind == "transform":
        if {"preprocessor_config.json", "adapter_config.json"} & set(there):
            raise InputError(f"{arguments.repo_id} holds a model, which a transform would replace: give another name")
        return
    data = filter_repo_objects(there, allow_patterns=DATA, ignore_patterns=NO_DATA)
    others = {name.split("/")[0] for name in data} - {part.name for part in folder.iterdir()}
    if others:
        raise InputError(
            f"{arguments.repo_id} holds {', '.join(sorted(others))}, of which its new card would not tell: publish "
            "under another name, or delete that there first"
        )
