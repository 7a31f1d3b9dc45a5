"""Folders to the Hub: what cannot be uploaded is said before a run, and after one nothing is lost."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import create_branch, create_repo, upload_folder
from huggingface_hub.errors import HfHubHTTPError

from hf_alignet.errors import InputError, RunError


def make_repository(
    repository: str, private: bool | None, repo_type: str = "model", revision: str | None = None
) -> None:
    """Makes a repository, and a branch of it, if they are not there, before anything long begins.

    Args:
        repository: user/name.
        private: whether a new one is; None for what its owner has as the default.
        repo_type: `model`, `dataset` or `space`.
        revision: a branch; None for the main one.

    Raises:
        InputError: the Hub does not allow it, or is not to be reached.
    """
    try:
        create_repo(
            repository,
            repo_type=repo_type,
            private=private,
            exist_ok=True,
            space_sdk="gradio" if repo_type == "space" else None,
        )
        if revision is not None:
            create_branch(repository, branch=revision, repo_type=repo_type, exist_ok=True)
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise InputError(f"cannot share under {repository!r}: {error}") from error


def share_folder(
    directory: Path,
    repository: str,
    patterns: Sequence[str],
    repo_type: str = "model",
    revision: str | None = None,
) -> None:
    """Uploads the files of a folder that match patterns, and nothing else that may lie there.

    Raises:
        RunError: it failed; says how to try again.
    """
    try:
        upload_folder(
            repo_id=repository,
            repo_type=repo_type,
            folder_path=directory,
            allow_patterns=list(patterns),
            revision=revision,
        )
    except (HfHubHTTPError, OSError) as error:
        kind = ("" if repo_type == "model" else f" --repo-type {repo_type}") + (
            f" --revision {revision}" if revision else ""
        )
        raise RunError(
            f"{directory} is complete, but could not be shared: {error}. Try again with `hf upload {repository} "
            f"{directory}{kind} --include {' '.join(patterns)}`"
        ) from error
