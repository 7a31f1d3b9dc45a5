"""Repositories on the Hub and uploads to them. A problem shows before a long run, and after it nothing is lost."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.utils import filter_repo_objects

from hf_alignet.errors import InputError, RunError
from hf_alignet.hub.connection import HUB_ERRORS, reason
from hf_alignet.hub.transport.inspection import check_shareable, regular_files
from hf_alignet.storage import MARKER

logger = logging.getLogger(__name__)

# By which sentence-transformers opens a model
SENTENCE_FILES = [
    *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
    *("1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"),
]
# A repository holds an adapter or a whole model, never both: AutoModel would put the adapter on the model
WEIGHT_FILES = [
    *("config.json", "model*.safetensors", "model.safetensors.index.json"),
    *("adapter_config.json", "adapter_model.safetensors"),
    *SENTENCE_FILES,
]
# What is uploaded from the directory of a model; checkpoints, logs and other files stay on the disk
MODEL_FILES = [
    *WEIGHT_FILES,
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt"),
    *("preprocessor_config.json", "alignment.json", "results.json", "before_after.png"),
    *("README.md", ".eval_results/*.yaml"),
]


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
    """Uploads the files of a folder that match patterns, and no other files, after `check_shareable`.

    Replaced files are deleted after the upload. An upload can be several commits: if it stops, nothing is lost.

    Args:
        directory: the folder.
        repository: user/name, which exists.
        patterns: of the paths in the folder.
        repo_type: see `make_repository`, as for `revision` and `token`.
        replaced: patterns of files that are deleted from the repository unless the folder has them, such as the
            shards of an earlier upload with another number of shards.
        again: the command that tries again, for the message of an error; by default `hf upload`, or `publish`, which
            inspects the files, if one of them must not be shared.
        message: of the commit.

    Raises:
        RunError: a file must not be shared, or the upload failed; says why, and how to try again.
    """
    api = HfApi(token=token)
    place: dict[str, Any] = {"repo_id": repository, "repo_type": repo_type, "revision": revision}
    try:
        kept = regular_files(directory, patterns)
        check_shareable(directory, names=kept)
        commit = api.upload_folder(
            folder_path=directory,
            allow_patterns=list(patterns),
            ignore_patterns=[f"{MARKER}*"],
            commit_message=message,
            **place,
        )
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
        if isinstance(error, InputError):  # nobody should upload by hand what is refused
            kind = "dataset" if repo_type == "dataset" else "transform"
            upload = ["hf-alignet", "publish", kind, str(directory), repository]
        raise RunError(
            f"{directory} is complete, but not shared as {repository}: {reason(error)}. Share it by "
            f"`{again or shlex.join(upload)}`; files that the Hub has are not uploaded again"
        ) from error
    logger.info("%s is shared at %s", directory, commit.repo_url)
    return commit


def replace_folder(
    directory: Path,
    repository: str,
    path_in_repo: str,
    revision: str | None,
    message: str,
    token: str | None,
    states: Sequence[str] = (),
) -> None:
    """Makes a folder in the repository of a model equal to a local folder, in one commit, after `check_shareable`.

    Nobody ever sees a part of the new folder, as after one of the several commits that `upload_folder` can make.
    """
    api = HfApi(token=token)
    names = regular_files(directory, ["*"])
    check_shareable(directory, names=names, states=states)
    files = {f"{path_in_repo}/{name}": directory / name for name in names}
    there = api.list_repo_files(repository, revision=revision)
    gone = [name for name in there if name.startswith(f"{path_in_repo}/") and name not in files]
    deletions = [CommitOperationDelete(name, is_folder=False) for name in gone]
    additions = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
    api.create_commit(repository, [*deletions, *additions], commit_message=message, revision=revision)
