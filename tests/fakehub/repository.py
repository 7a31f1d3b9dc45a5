"""One repository of the Hub double: commits are full snapshots, branches and tags are names for commits.

In memory, without HTTP and without checks. File contents live in one store shared by all repositories, keyed as git
and Git-LFS do: by the sha1 of the git blob for a regular file, by the sha256 of the content for an LFS file.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import Any

# As in the .gitattributes of a new repository: always LFS, whatever the size.
LFS_SUFFIXES = tuple(
    ".arrow .bin .ckpt .db .gguf .gz .h5 .jpeg .jpg .joblib .msgpack .npy .npz .onnx .parquet .pickle .pkl .png .pt"
    " .pth .safetensors .tar .webp .zip".split()
)
LFS_MIN_SIZE = 10 * 2**20  # bytes


class HubError(Exception):
    """An error answer of the Hub.

    Args:
        status: HTTP status.
        message: Sent as `X-Error-Message` and as `{"error": message}`.
        code: `X-Error-Code`, on which clients branch: RepoNotFound, RevisionNotFound or EntryNotFound.
        body: JSON body to send instead of `{"error": message}`.
    """

    def __init__(self, status: int, message: str, code: str | None = None, body: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.body = body if body is not None else {"error": message}


@dataclass(frozen=True)
class Entry:
    """A file of a snapshot: its git object id, the key of its content in the store, its size, whether it is LFS."""

    oid: str
    blob: str
    size: int
    is_lfs: bool

    @classmethod
    def regular(cls, content: bytes) -> Entry:
        oid = git_oid(content)
        return cls(oid, oid, len(content), is_lfs=False)

    @classmethod
    def lfs(cls, sha256: str, size: int) -> Entry:
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        return cls(git_oid(pointer.encode()), sha256, size, is_lfs=True)


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    description: str
    date: str
    files: dict[str, Entry]


@dataclass
class Repository:
    repo_type: str
    repo_id: str
    is_private: bool = False
    created: str = field(default_factory=lambda: now())
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.add_commit("main", {}, "initial commit")

    def add_commit(self, branch: str, files: dict[str, Entry], title: str, description: str = "") -> Commit:
        parent = self.branches.get(branch)
        identity = f"{self.repo_type} {self.repo_id} {len(self.commits)} {parent} {title} {now()}"
        oid = hashlib.sha1(identity.encode()).hexdigest()
        self.commits[oid] = Commit(oid, parent, title, description, now(), files)
        self.branches[branch] = oid
        return self.commits[oid]

    def at(self, revision: str) -> Commit:
        """The commit that a branch, a tag or a (shortened) commit id names."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        for commit in self.commits.values():
            if commit.oid == oid or (len(oid) >= 7 and commit.oid.startswith(oid)):
                return commit
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def head(self, branch: str) -> Commit:
        """The last commit of a branch; a tag or a commit id cannot be committed to."""
        if branch not in self.branches:
            raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        return self.at(branch)

    def history(self, revision: str) -> list[Commit]:
        """Commits from `revision` back to the first one."""
        commits = [self.at(revision)]
        while (parent := commits[-1].parent) is not None:
            commits.append(self.commits[parent])
        return commits

    def add_ref(self, kind: str, name: str, revision: str) -> None:
        refs = self.branches if kind == "branch" else self.tags
        if name in refs:
            raise HubError(409, f"Reference already exists: {name}")
        refs[name] = self.at(revision).oid

    def delete_ref(self, kind: str, name: str) -> None:
        refs = self.branches if kind == "branch" else self.tags
        if refs.pop(name, None) is None:
            raise HubError(404, f"Invalid rev id: {name}", "RevisionNotFound")


def belongs_in_lfs(path: str, size: int) -> bool:
    return size > LFS_MIN_SIZE or path.lower().endswith(LFS_SUFFIXES)


def files_without(files: dict[str, Entry], path: str, is_folder: bool) -> dict[str, Entry]:
    """A snapshot less one file, or less everything in one folder."""
    prefix = f"{path.rstrip('/')}/"
    gone = {name for name in files if (name.startswith(prefix) if is_folder else name == path)}
    if not gone:
        raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
    return {name: entry for name, entry in files.items() if name not in gone}


def folders_below(prefix: str, files: dict[str, Entry]) -> set[str]:
    """Every folder on the way from `prefix` ("" or ending in "/") to the files in it."""
    folders = set()
    for path in files:
        parts = path[len(prefix) :].split("/")
        folders |= {prefix + "/".join(parts[:depth]) for depth in range(1, len(parts))}
    return folders


def file_item(path: str, entry: Entry) -> dict[str, Any]:
    """A file as the tree and paths-info endpoints list it."""
    lfs = {"lfs": {"oid": entry.blob, "size": entry.size, "pointerSize": 134}} if entry.is_lfs else {}
    return {"type": "file", "oid": entry.oid, "size": entry.size, "path": path, **lfs}


def folder_item(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}


def last_commit_item(commit: Commit) -> dict[str, Any]:
    return {"lastCommit": {"id": commit.oid, "title": commit.title, "date": commit.date}}


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
