"""Folders to the Hub: what cannot be uploaded is said before a run, and after one nothing is lost."""

import shlex
from collections.abc import Sequence
from json import JSONDecodeError
from pathlib import Path

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    create_branch,
    create_repo,
    upload_folder,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)

from hf_alignet.errors import InputError, RunError

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
        private: whether a new one is; None for what its owner has as the default.
        repo_type: `model`, `dataset` or `space`.
        revision: a branch; None for the main one.
        token: by default that of HF_TOKEN, or of `hf auth login`.

    Returns:
        user/name

    Raises:
        InputError: the Hub does not allow it, or is not to be reached.
    """
    try:
        made = create_repo(
            repository,
            token=token,
            repo_type=repo_type,
            private=private,
            exist_ok=True,
            space_sdk="gradio" if repo_type == "space" else None,
        )
        if revision is not None:
            create_branch(made.repo_id, branch=revision, repo_type=repo_type, exist_ok=True, token=token)
    except (*HUB_ERRORS, OSError) as error:
        raise InputError(f"cannot share under {repository!r}: {reason(error)}") from error
    return made.repo_id


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
    try:
        return upload_folder(
            repo_id=repository,
            repo_type=repo_type,
            folder_path=directory,
            allow_patterns=list(patterns),
            delete_patterns=list(replaced) if replaced is not None else None,
            revision=revision,
            commit_message=message,
            token=token,
        )
    except Exception as error:  # whatever it was, what cost hours is on the disk
        upload = ["hf", "upload", repository, str(directory), "--repo-type", repo_type]
        upload += ["--revision", revision] if revision else []
        raise RunError(
            f"{directory} is complete, but not shared as {repository}: {reason(error)}. Share it by "
            f"`{again or shlex.join([*upload, '--include', *patterns])}`; what has been uploaded is not uploaded again"
        ) from error


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
