"""Folders to the Hub: what cannot be uploaded is said before a run, and after one nothing is lost."""

import logging
import shlex
from collections.abc import Sequence
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from huggingface_hub.utils import filter_repo_objects

from hf_alignet.errors import InputError, RunError

logger = logging.getLogger(__name__)

# An adapter and a whole model cannot be in one place: AutoModel would put the one on the other.
WEIGHT_FILES = [
    *("config.json", "model*.safetensors", "model.safetensors.index.json"),
    *("adapter_config.json", "adapter_model.safetensors"),
]
# Of the directory of a model: checkpoints, logs and whatever else lies there stay where they are.
MODEL_FILES = [
    *WEIGHT_FILES,
    *("preprocessor_config.json", "alignment.json", "results.json", "before_after.png"),
    *("README.md", ".eval_results/*.yaml"),
]
# What a request to the Hub may raise; OSError besides, of which some are about the disk
HUB_ERRORS = (HTTPError, ConnectionError, TimeoutError, LocalEntryNotFoundError, ValueError, KeyError)
ADVICE = {
    401: "the Hub does not accept your token, or there is none: log in by `hf auth login`, or set HF_TOKEN",
    403: "your token may not do that: to share, it needs the permission to write, and what is before the / must be "
    "your user name or an organisation of yours",
    404: "there is no such user, organisation, repository or revision, or you may not see it",
    409: "something else has changed or is changing it: try again in a minute",
    412: "something else has changed or is changing it: try again in a minute",
    429: "you have asked the Hub for more than it allows in a time: try again in some minutes",
}
TROUBLE = "the Hub is in trouble: try again in some minutes"


def make_repository(
    repository: str,
    private: bool | None,
    repo_type: str = "model",
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Makes a repository, and a branch of it, if they are not there, before anything long begins.

    Args:
        repository: user/name, or the name alone for one of the user who is logged in.
        private: whether a new one is; None for what its owner has as the default. True refuses one that is public.
        repo_type: `model`, `dataset` or `space`.
        revision: a branch, or the ref of a pull request that is open; None for the main branch.
        token: by default that of HF_TOKEN, or of `hf auth login`.

    Returns:
        user/name

    Raises:
        InputError: the Hub does not allow it, or is not to be reached, or what should be private is public.
    """
    api = HfApi(token=token)
    try:
        name = api.create_repo(
            repository,
            repo_type=repo_type,
            private=private,
            exist_ok=True,
            space_sdk="gradio" if repo_type == "space" else None,
        ).repo_id
        is_public = bool(private) and api.repo_info(name, repo_type=repo_type).private is False
        if revision is not None and not is_public and not revision.startswith("refs/"):
            api.create_branch(name, branch=revision, repo_type=repo_type, exist_ok=True)
    except (*HUB_ERRORS, OSError) as error:
        raise InputError(f"cannot share under {repository!r}: {reason(error)}") from error
    if is_public:  # it was there, and everybody would see what should be private
        raise InputError(
            f"{name} is there already and is public: make it private in its settings first, or give another name"
        )
    return name


def share_folder(
    directory: Path,
    repository: str,
    patterns: Sequence[str],
    repo_type: str = "model",
    revision: str | None = None,
    replaced: Sequence[str] | None = None,
    again: str | None = None,
    message: str | None = None,
    token: str | None = None,
) -> CommitInfo:
    """Uploads the files of a folder that match patterns, and nothing else that may lie there.

    What they replace is deleted afterwards: an upload may be several commits, and where it breaks off nothing is gone.

    Args:
        directory: the folder.
        repository: user/name, which is there.
        patterns: of paths in the folder.
        repo_type: `model`, `dataset` or `space`.
        revision: a branch; None for the main one.
        replaced: patterns of what goes from the repository, unless the folder has it, as shards of another number.
        again: the command that does the same, for the message of an error; by default `hf upload`.
        message: of the commit.
        token: by default that of HF_TOKEN, or of `hf auth login`.

    Raises:
        RunError: it failed; says why, and how to try again.
    """
    api = HfApi(token=token)
    place: dict[str, Any] = {"repo_id": repository, "repo_type": repo_type, "revision": revision}
    try:
        commit = api.upload_folder(
            folder_path=directory, allow_patterns=list(patterns), commit_message=message, **place
        )
        here = [p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()]
        kept = set(filter_repo_objects(here, allow_patterns=list(patterns)))
        there = api.list_repo_files(**place) if replaced else []
        gone = [name for name in filter_repo_objects(there, allow_patterns=list(replaced or [])) if name not in kept]
        if gone:
            deletions = [CommitOperationDelete(name, is_folder=False) for name in gone]
            commit = api.create_commit(operations=deletions, commit_message="Remove what was replaced", **place)
    except Exception as error:  # whatever it was, what cost hours is on the disk
        upload = ["hf", "upload", repository, str(directory), "--repo-type", repo_type]
        upload += ["--revision", revision] if revision else []
        raise RunError(
            f"{directory} is complete, but not shared as {repository}: {reason(error)}. Share it by "
            f"`{again or shlex.join([*upload, '--include', *patterns])}`; what has been uploaded is not uploaded again"
        ) from error
    logger.info("%s is shared at %s", directory, commit.repo_url)
    return commit


def replace_folder(
    directory: Path, repository: str, path_in_repo: str, revision: str | None, message: str, token: str | None
) -> None:
    """Makes a folder of a model's repository what a local one is, in one commit: nobody ever sees half of it.

    `upload_folder` may make several.
    """
    api = HfApi(token=token)
    files = {f"{path_in_repo}/{p.relative_to(directory).as_posix()}": p for p in directory.rglob("*") if p.is_file()}
    there = api.list_repo_files(repository, revision=revision)
    gone = [name for name in there if name.startswith(f"{path_in_repo}/") and name not in files]
    api.create_commit(
        repository,
        [
            *(CommitOperationDelete(name, is_folder=False) for name in gone),
            *(CommitOperationAdd(name, str(path)) for name, path in files.items()),
        ],
        commit_message=message,
        revision=revision,
    )


def reason(error: BaseException) -> str:
    """Why the Hub did not do what it should, and what to do about it, in one line; a token is never in it."""
    while isinstance(error, RuntimeError | LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so that nothing may ask the Hub: unset it"
    if isinstance(error, HfHubHTTPError):
        status, said = error.response.status_code, error.server_message or ""
        advice = ADVICE.get(status, TROUBLE if status >= 500 else "the Hub refuses it")
        return f"{advice} ({' '.join([str(status), *said.split()])})"
    if isinstance(error, KeyError | JSONDecodeError):
        return "the Hub's answer makes no sense: try again in a minute, or look at your proxy and HF_ENDPOINT"
    text = " ".join(str(error).split()) or type(error).__name__
    return f"the connection to the Hub is broken: try again ({text})" if isinstance(error, HTTPError) else text
