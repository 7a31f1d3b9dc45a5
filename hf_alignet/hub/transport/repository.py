"""Repositories on the Hub and uploads to them. A problem shows before a long run, and after it nothing is lost."""

import logging
import shlex
from collections.abc import Sequence
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import filter_repo_objects

from hf_alignet.errors import InputError, RunError
from hf_alignet.storage import MARKER

logger = logging.getLogger(__name__)

# A repository holds an adapter or a whole model, never both: AutoModel would put the adapter on the model
WEIGHT_FILES = [
    *("config.json", "model*.safetensors", "model.safetensors.index.json"),
    *("adapter_config.json", "adapter_model.safetensors"),
]
# What is uploaded from the directory of a model; checkpoints, logs and other files stay on the disk
MODEL_FILES = [
    *WEIGHT_FILES,
    *("preprocessor_config.json", "alignment.json", "results.json", "before_after.png"),
    *("README.md", ".eval_results/*.yaml"),
]
# Errors of a request to the Hub; callers also catch OSError, which can also be about the disk
HUB_ERRORS = (HTTPError, ConnectionError, TimeoutError, LocalEntryNotFoundError, ValueError, KeyError)
CHANGED = "another process changed the repository at the same time: try again in a minute"
ADVICE = {
    401: "the Hub does not accept your token, or you have none: log in by `hf auth login`, or set HF_TOKEN",
    403: "your token does not allow that: it needs the permission to write, and the part before the / must be your "
    "user name or your organisation",
    404: "there is no such user, organisation, repository or revision, or you may not see it",
    409: CHANGED,
    412: CHANGED,
    429: "you have asked the Hub for more than it allows: try again in some minutes",
}
TROUBLE = "the Hub is in trouble: try again in some minutes"


def make_repository(
    repository: str,
    private: bool | None,
    repo_type: str = "model",
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Makes a repository and its branch if they do not exist, and gives its user/name. Call it before anything long.

    Args:
        repository: user/name, or the name alone, which means a repository of the user who is logged in.
        private: whether a new repository is private; None takes the default of its owner. True refuses a repository
            that exists and is public.
        repo_type: `model`, `dataset` or `space`.
        revision: a branch, or the ref of an open pull request; None for the main branch.
        token: by default the one of HF_TOKEN, or of `hf auth login`.

    Raises:
        InputError: the Hub refuses or cannot be reached, or the repository should be private and is public.
    """
    api = HfApi(token=token)
    try:
        sdk = "gradio" if repo_type == "space" else None
        name = api.create_repo(repository, repo_type=repo_type, private=private, exist_ok=True, space_sdk=sdk).repo_id
        is_public = bool(private) and api.repo_info(name, repo_type=repo_type).private is False
        if revision is not None and not is_public and not revision.startswith("refs/"):
            api.create_branch(name, branch=revision, repo_type=repo_type, exist_ok=True)
    except (*HUB_ERRORS, OSError) as error:
        raise InputError(f"cannot share under {repository!r}: {reason(error)}") from error
    if is_public:  # everybody would see what should be private
        raise InputError(f"{name} exists and is public: make it private in its settings first, or give another name")
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
    """Uploads the files of a folder that match patterns, and no other files.

    Replaced files are deleted after the upload. An upload can be several commits: if it stops, nothing is lost.

    Args:
        directory: the folder.
        repository: user/name, which exists.
        patterns: of the paths in the folder.
        repo_type: see `make_repository`, as for `revision` and `token`.
        replaced: patterns of files that are deleted from the repository unless the folder has them, such as the
            shards of an earlier upload with another number of shards.
        again: the command that tries again, for the message of an error; by default `hf upload`.
        message: of the commit.

    Raises:
        RunError: the upload failed; says why, and how to try again.
    """
    api = HfApi(token=token)
    place: dict[str, Any] = {"repo_id": repository, "repo_type": repo_type, "revision": revision}
    try:
        commit = api.upload_folder(
            folder_path=directory,
            allow_patterns=list(patterns),
            ignore_patterns=[f"{MARKER}*"],
            commit_message=message,
            **place,
        )
        here = [p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()]
        kept = set(filter_repo_objects(here, allow_patterns=list(patterns)))
        there = api.list_repo_files(**place) if replaced else []
        gone = [name for name in filter_repo_objects(there, allow_patterns=list(replaced or [])) if name not in kept]
        if gone:
            deletions = [CommitOperationDelete(name, is_folder=False) for name in gone]
            commit = api.create_commit(operations=deletions, commit_message="Remove what was replaced", **place)
    except Exception as error:  # of any kind: the user must learn that the result of hours is on the disk
        upload = ["hf", "upload", repository, str(directory), "--repo-type", repo_type]
        upload += ["--revision", revision] if revision else []
        for flag, values in (("--include", patterns), ("--exclude", [f"{MARKER}*"]), ("--delete", replaced or [])):
            upload += [word for value in values for word in (flag, value)]
        raise RunError(
            f"{directory} is complete, but not shared as {repository}: {reason(error)}. Share it by "
            f"`{again or shlex.join(upload)}`; files that the Hub has are not uploaded again"
        ) from error
    logger.info("%s is shared at %s", directory, commit.repo_url)
    return commit


def replace_folder(
    directory: Path, repository: str, path_in_repo: str, revision: str | None, message: str, token: str | None
) -> None:
    """Makes a folder in the repository of a model equal to a local folder, in one commit.

    Nobody ever sees a part of the new folder, as after one of the several commits that `upload_folder` can make.
    """
    api = HfApi(token=token)
    files = {f"{path_in_repo}/{p.relative_to(directory).as_posix()}": p for p in directory.rglob("*") if p.is_file()}
    there = api.list_repo_files(repository, revision=revision)
    gone = [name for name in there if name.startswith(f"{path_in_repo}/") and name not in files]
    deletions = [CommitOperationDelete(name, is_folder=False) for name in gone]
    additions = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
    api.create_commit(repository, [*deletions, *additions], commit_message=message, revision=revision)


def reason(error: BaseException) -> str:
    """The reason of an error of the Hub and what to do about it, in one line without any token."""
    while isinstance(error, RuntimeError | LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, which forbids all requests to the Hub: unset it"
    if isinstance(error, HfHubHTTPError):
        status, said = error.response.status_code, error.server_message or ""
        advice = ADVICE.get(status, TROUBLE if status >= 500 else "the Hub refuses that")
        return f"{advice} ({' '.join([str(status), *said.split()])})"
    if isinstance(error, KeyError | JSONDecodeError):
        return "the answer is not one of the Hub: try again in a minute, or check your proxy and HF_ENDPOINT"
    text = " ".join(str(error).split()) or type(error).__name__
    return f"the connection to the Hub is broken: try again ({text})" if isinstance(error, HTTPError) else text
