"""The endpoints of the Hub double: one method each, from a Request to a JSON value or a Response.

Answers and error codes are those that huggingface_hub 2.4 reads. `server` routes to these methods, under its lock.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from .checks import CARD_PATH, EVAL_RESULTS_PATH, card_errors, card_metadata, file_errors
from .repository import (
    Commit,
    Entry,
    HubError,
    Repository,
    belongs_in_lfs,
    file_item,
    files_without,
    folder_item,
    folders_below,
    last_commit_item,
)

USER = "tester"
TOKEN = "hf_fake_token_for_tests"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # lower-case names
    body: bytes

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization", "").removeprefix("Bearer ") or None

    def json(self) -> Any:
        return json.loads(self.body)

    def flag(self, name: str) -> bool:
        return self.query.get(name, ["false"])[0].lower() in ("true", "1")


@dataclass(frozen=True)
class Response:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        return cls(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode())


class Api:
    """State of the Hub and its endpoints.

    Args:
        url: Where the server listens, for the URLs in answers.
        forbidden: Strings that no committed file may hold.
    """

    def __init__(self, url: str, forbidden: tuple[str, ...]) -> None:
        self.url = url
        self.forbidden = forbidden
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, bytes] = {}

    def repository(self, repo_type: str, repo_id: str) -> Repository:
        if (repo_type, repo_id) not in self.repositories:
            raise HubError(404, "Repository not found", "RepoNotFound")
        return self.repositories[repo_type, repo_id]

    def visible_repository(self, request: Request, repo_type: str, repo_id: str) -> Repository:
        repository = self.repository(repo_type, repo_id)
        if repository.is_private and request.token is None:
            raise HubError(401, "Invalid username or password.")
        return repository

    def repo_url(self, repo_type: str, repo_id: str) -> str:
        return f"{self.url}/{'' if repo_type == 'model' else repo_type + 's/'}{repo_id}"

    # ---- the user, and repositories as a whole

    def whoami(self, request: Request) -> Any:
        auth = {"type": "access_token", "accessToken": {"displayName": "fake", "role": "write"}}
        user = {"type": "user", "id": "0" * 24, "name": USER, "fullname": USER, "email": None}
        return {**user, "orgs": [], "auth": auth}

    def create_repo(self, request: Request) -> Any:
        body = request.json()
        repo_type, repo_id = named_repo(body)
        url = self.repo_url(repo_type, repo_id)
        if (repo_type, repo_id) in self.repositories:
            message = f"You already created this {repo_type} repo: {repo_id}"
            raise HubError(409, message, body={"error": message, "url": url})
        self.repositories[repo_type, repo_id] = Repository(repo_type, repo_id, asks_private(body))
        return {"url": url, "name": repo_id, "id": repo_id}

    def delete_repo(self, request: Request) -> Any:
        repo_type, repo_id = named_repo(request.json())
        self.repository(repo_type, repo_id)
        del self.repositories[repo_type, repo_id]
        return {}

    def update_settings(self, request: Request, repo_type: str, repo_id: str) -> Any:
        repository = self.repository(repo_type, repo_id)
        body = request.json()
        if "visibility" in body or "private" in body:
            repository.is_private = asks_private(body)
        return {"private": repository.is_private}

    def list_repos(self, request: Request, repo_type: str) -> Any:
        search, author = (request.query.get(name, [""])[0] for name in ("search", "author"))
        found = [
            repository
            for repository in self.repositories.values()
            if repository.repo_type == repo_type
            and search.lower() in repository.repo_id.lower()
            and repository.repo_id.startswith(f"{author}/" if author else "")
            and not (repository.is_private and request.token is None)
        ]
        return [self.info(request, repo_type, repository.repo_id) for repository in found]

    def info(self, request: Request, repo_type: str, repo_id: str, revision: str = "main") -> Any:
        repository = self.visible_repository(request, repo_type, repo_id)
        commit = repository.at(revision)
        card = self.card(commit)
        info = {
            "_id": "0" * 24, "id": repo_id, "author": repo_id.split("/")[0], "sha": commit.oid,
            "private": repository.is_private, "gated": False, "disabled": False, "downloads": 0, "likes": 0,
            "createdAt": repository.created, "lastModified": commit.date, "cardData": card,
            "tags": searchable_tags(card), "siblings": siblings(commit, with_blobs="blobs" in request.query),
        }  # fmt: skip
        if repo_type == "model":
            info |= {"modelId": repo_id, "evalResults": list(self.eval_results(commit))}
            info |= {key: card.get(key) for key in ("library_name", "pipeline_tag", "model-index")}
            if "config.json" in commit.files:
                info["config"] = json.loads(self.content(commit.files["config.json"]))
        expand = {*request.query.get("expand", []), *request.query.get("expand[]", [])}
        return {key: value for key, value in info.items() if not expand or key in expand | {"_id", "id", "modelId"}}

    def content(self, entry: Entry) -> bytes:
        return self.blobs[entry.blob]

    def card(self, commit: Commit) -> dict[str, Any]:
        return card_metadata(self.content(commit.files[CARD_PATH]).decode()) if CARD_PATH in commit.files else {}

    def eval_results(self, commit: Commit) -> Iterator[dict[str, Any]]:
        for path, entry in sorted(commit.files.items()):
            if EVAL_RESULTS_PATH.fullmatch(path):
                for data in yaml.safe_load(self.content(entry)):
                    yield {"filename": path, "data": data}

    # ---- reading a repository

    def tree(self, request: Request, repo_type: str, repo_id: str, revision: str, path: str | None = None) -> Any:
        commit = self.visible_repository(request, repo_type, repo_id).at(revision)
        prefix = f"{path.strip('/')}/" if path else ""
        files = {name: entry for name, entry in sorted(commit.files.items()) if name.startswith(prefix)}
        if prefix and not files:
            raise HubError(404, f"{path} does not exist on {revision}", "EntryNotFound")
        items = [folder_item(folder) for folder in sorted(folders_below(prefix, files))]
        items += [file_item(name, entry) for name, entry in files.items()]
        if not request.flag("recursive"):
            items = [item for item in items if "/" not in item["path"][len(prefix) :]]
        return [item | last_commit_item(commit) for item in items] if request.flag("expand") else items

    def paths_info(self, request: Request, repo_type: str, repo_id: str, revision: str) -> Any:
        commit = self.visible_repository(request, repo_type, repo_id).at(revision)
        is_json = "json" in request.headers.get("content-type", "")
        body = request.json() if is_json else urllib.parse.parse_qs(request.body.decode())
        items = []
        for path in body.get("paths", []):
            if path in commit.files:
                items.append(file_item(path, commit.files[path]) | last_commit_item(commit))
            elif any(name.startswith(f"{path.rstrip('/')}/") for name in commit.files):
                items.append(folder_item(path) | last_commit_item(commit))
        return items

    def refs(self, request: Request, repo_type: str, repo_id: str) -> Any:
        repository = self.visible_repository(request, repo_type, repo_id)

        def listed(prefix: str, refs: dict[str, str]) -> list[dict[str, str]]:
            return [{"name": name, "ref": f"{prefix}/{name}", "targetCommit": oid} for name, oid in refs.items()]

        branches, tags = listed("refs/heads", repository.branches), listed("refs/tags", repository.tags)
        return {"branches": branches, "tags": tags, "converts": []}

    def history(self, request: Request, repo_type: str, repo_id: str, revision: str) -> Any:
        commits = self.visible_repository(request, repo_type, repo_id).history(revision)
        return [
            {"id": c.oid, "title": c.title, "message": c.description, "date": c.date, "authors": [{"user": USER}]}
            for c in commits
        ]

    def resolve(self, request: Request, repo_type: str, repo_id: str, revision: str, path: str) -> Response:
        commit = self.visible_repository(request, repo_type, repo_id).at(revision)
        if path not in commit.files:
            raise HubError(404, "Entry not found", "EntryNotFound")
        entry = commit.files[path]
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{entry.blob}"', "Accept-Ranges": "bytes"}
        headers["Content-Type"] = "application/octet-stream"
        if entry.is_lfs:
            headers |= {"X-Linked-Etag": f'"{entry.blob}"', "X-Linked-Size": str(entry.size)}
        content = self.content(entry)
        if request.method == "GET" and "range" in request.headers:
            start, end = parse_range(request.headers["range"], len(content))
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
            return Response(206, headers, content[start:end])
        return Response(200, headers, content)

    # ---- writing to a repository

    def create_ref(self, request: Request, repo_type: str, repo_id: str, kind: str, name: str) -> Any:
        """POST branch/{new branch} {startingPoint}, or POST tag/{revision} {tag: new tag}."""
        body = request.json() if request.body else {}
        new, revision = (body["tag"], name) if kind == "tag" else (name, body.get("startingPoint") or "main")
        self.repository(repo_type, repo_id).add_ref(kind, new, revision)
        return {}

    def delete_ref(self, request: Request, repo_type: str, repo_id: str, kind: str, name: str) -> Any:
        self.repository(repo_type, repo_id).delete_ref(kind, name)
        return {}

    def validate_yaml(self, request: Request) -> Any:
        content = request.json()["content"]
        if errors := card_errors(content):
            body = {"error": "\n".join(errors), "errors": [{"message": error} for error in errors], "warnings": []}
            raise HubError(400, "\n".join(errors), body=body)
        warnings = [] if card_metadata(content) else [{"message": "empty or missing yaml metadata in repo card"}]
        return {"errors": [], "warnings": warnings}

    def preupload(self, request: Request, repo_type: str, repo_id: str, revision: str) -> Any:
        """How to upload each file, and the id of what is there now: the client skips files that did not change."""
        present = self.repository(repo_type, repo_id).at(revision).files

        def upload(path: str, size: int) -> dict[str, Any]:
            oid = present[path].blob if path in present else None
            mode = "lfs" if belongs_in_lfs(path, size) else "regular"
            return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid}

        return {"files": [upload(file["path"], file["size"]) for file in request.json()["files"]]}

    def lfs_batch(self, request: Request, repo_type: str, repo_id: str) -> Any:
        self.repository(repo_type, repo_id)

        def transfer(wanted: dict[str, Any]) -> dict[str, Any]:
            upload = {"upload": {"href": f"{self.url}/_lfs/{wanted['oid']}", "header": {}}}
            is_missing = wanted["oid"] not in self.blobs
            return {"oid": wanted["oid"], "size": wanted["size"], **({"actions": upload} if is_missing else {})}

        return {"transfer": "basic", "objects": [transfer(wanted) for wanted in request.json()["objects"]]}

    def lfs_put(self, request: Request, oid: str) -> Any:
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise HubError(400, "sha256 mismatch")
        self.blobs[oid] = request.body
        return {}

    def commit(self, request: Request, repo_type: str, repo_id: str, revision: str) -> Any:
        """Apply newline-separated JSON operations to the head of a branch, all or nothing."""
        repository = self.repository(repo_type, repo_id)
        head = repository.head(revision)
        header, *operations = [json.loads(line) for line in request.body.splitlines()]
        parent = header["value"].get("parentCommit")
        if parent and not head.oid.startswith(parent):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files, errors = dict(head.files), []
        for operation in operations:
            path = operation["value"]["path"]
            if operation["key"] in ("deletedFile", "deletedFolder"):
                files = files_without(files, path, is_folder=operation["key"] == "deletedFolder")
            else:
                files[path] = self.stored(operation)
                errors += file_errors(path, self.content(files[path]), self.forbidden)
        if errors:
            raise HubError(400, "\n".join(errors))
        title, description = header["value"]["summary"], header["value"].get("description", "")
        new = repository.add_commit(revision, files, title, description)
        url = f"{self.repo_url(repo_type, repo_id)}/commit/{new.oid}"
        return {"success": True, "commitOid": new.oid, "commitUrl": url, "hookOutput": ""}

    def stored(self, operation: dict[str, Any]) -> Entry:
        value = operation["value"]
        if operation["key"] == "file":
            content = base64.b64decode(value["content"])
            entry = Entry.regular(content)
            self.blobs[entry.blob] = content
            return entry
        if operation["key"] == "lfsFile":
            if value["oid"] not in self.blobs:
                raise HubError(400, f"LFS object {value['oid']} of {value['path']} was never uploaded")
            return Entry.lfs(value["oid"], len(self.blobs[value["oid"]]))
        raise HubError(400, f"fakehub: unknown operation {operation['key']}")


# ---- pieces of answers


def named_repo(body: dict[str, Any]) -> tuple[str, str]:
    return body.get("type") or "model", f"{body.get('organization') or USER}/{body['name']}"


def asks_private(body: dict[str, Any]) -> bool:
    return body.get("visibility") == "private" or bool(body.get("private"))


def searchable_tags(card: dict[str, Any]) -> list[str]:
    """The card's own tags, then those that the Hub derives from its other fields."""
    tags = [*(card.get("tags") or []), *(card[key] for key in ("library_name", "pipeline_tag") if card.get(key))]
    for key, prefix in {"base_model": "base_model", "datasets": "dataset", "license": "license"}.items():
        values = card.get(key) or []
        tags += [f"{prefix}:{value}" for value in ([values] if isinstance(values, str) else values)]
    return list(dict.fromkeys(tags))


def siblings(commit: Commit, with_blobs: bool) -> list[dict[str, Any]]:
    blobs = {path: {"size": entry.size, "blobId": entry.oid} for path, entry in commit.files.items() if with_blobs}
    return [{"rfilename": path, **blobs.get(path, {})} for path in sorted(commit.files)]


def parse_range(header: str, size: int) -> tuple[int, int]:
    """`bytes=5-9`, `bytes=5-` or `bytes=-5` as a half-open interval."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if match is None or header == "bytes=-":
        raise HubError(416, f"Range not understood: {header}")
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(int(match[2] or size) + 1, size)
    if start >= end:
        raise HubError(416, "Range not satisfiable")
    return start, end
