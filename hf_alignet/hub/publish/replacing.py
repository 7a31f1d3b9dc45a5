"""The files on the Hub that an upload replaces: earlier files of the same parts, and nothing else."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.utils import filter_repo_objects

from hf_alignet.errors import InputError, RunError
from hf_alignet.hub.publish.publication import Publication
from hf_alignet.hub.transport.repository import HUB_ERRORS, WEIGHT_FILES, reason

DATA = [f"*.{suffix}" for suffix in ("parquet", "arrow", "csv", "tsv", "jsonl", "zip", "tar", "gz")]
NO_DATA = ["elbow.*"]  # describes the clusters beside triplets


def replaced_files(folder: Path, publication: Publication) -> list[str]:
    """Patterns of files that are deleted unless the folder has them: earlier shards, or weights of another model."""
    if publication.kind == "dataset":
        return [f"{config.name}/*.parquet" for config in sorted(folder.iterdir()) if config.is_dir()]
    return WEIGHT_FILES if publication.kind == "model" else []


def check_nothing_lost(folder: Path, publication: Publication) -> None:
    """Refuses to replace the card of another dataset, whose data nobody would find then, and a model by a transform.

    Raises an InputError that names the data, or a RunError if the Hub does not answer.
    """
    name, kind = publication.repo_id, publication.kind
    if kind not in ("dataset", "transform"):
        return
    try:
        there = HfApi().list_repo_files(name, repo_type=publication.repo_type, revision=publication.revision)
    except (*HUB_ERRORS, OSError) as error:
        raise RunError(
            f"cannot see what {name} holds: {reason(error)}. {folder} is complete: do the same again to share it"
        ) from error
    if kind == "transform":
        if {"preprocessor_config.json", "adapter_config.json"} & set(there):
            raise InputError(f"{name} holds a model, which a transform would replace: give another name")
        return
    data = filter_repo_objects(there, allow_patterns=DATA, ignore_patterns=NO_DATA)
    others = {file.split("/")[0] for file in data} - {part.name for part in folder.iterdir()}
    if others:
        raise InputError(
            f"{name} holds other data, {', '.join(sorted(others))}, which the new card would not mention: publish "
            "under another name, or delete those data first"
        )
