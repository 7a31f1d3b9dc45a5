"""The HTTP side of the Hub double: routes, authentication, injected failures, and FakeHub, the object tests hold."""

from __future__ import annotations

import http
import logging
import re
import sys
import threading
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, NamedTuple

from .api import TOKEN, Api, Request, Response
from .repository import HubError

logger = logging.getLogger(__name__)

_TYPE = "(?P<repo_type>model|dataset|space)s"
_REPO = r"(?P<repo_id>[\w.-]+(?:/[\w.-]+)?)"
_API = f"/api/{_TYPE}/{_REPO}"
_WEB = f"/(?:{_TYPE}/)?{_REPO}"
_REVISION = "(?P<revision>[^/]+)"

# Method, path and name of the Api method; the first match counts.
ROUTES: list[tuple[str, str, str]] = [
    ("GET", "/api/whoami-v2", "whoami"),
    ("POST", "/api/repos/create", "create_repo"),
    ("DELETE", "/api/repos/delete", "delete_repo"),
    ("POST", "/api/validate-yaml", "validate_yaml"),
    ("GET", f"/api/{_TYPE}", "list_repos"),
    ("GET", f"{_API}/tree/{_REVISION}(?:/(?P<path>.*))?", "tree"),
    ("POST", f"{_API}/paths-info/{_REVISION}", "paths_info"),
    ("POST", f"{_API}/preupload/{_REVISION}", "preupload"),
    ("POST", f"{_API}/commit/{_REVISION}", "commit"),
    ("GET", f"{_API}/commits/{_REVISION}", "history"),
    ("GET", f"{_API}/revision/{_REVISION}", "info"),
    ("GET", f"{_API}/refs", "refs"),
    ("PUT", f"{_API}/settings", "update_settings"),
    ("POST", f"{_API}/(?P<kind>branch|tag)/(?P<name>[^/]+)", "create_ref"),
    ("DELETE", f"{_API}/(?P<kind>branch|tag)/(?P<name>[^/]+)", "delete_ref"),
    ("GET", _API, "info"),
    ("POST", rf"{_WEB}\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", "/_lfs/(?P<oid>[0-9a-f]{64})", "lfs_put"),
    ("GET|HEAD", f"{_WEB}/(?:resolve|raw)/{_REVISION}/(?P<path>.+)", "resolve"),
]
# Endpoints that take a POST or PUT without a token; an LFS upload link is signed instead.
TOKEN_FREE = {"validate_yaml", "paths_info", "lfs_put"}
REPO_PATH = re.compile("/api/(?:models|datasets|spaces)/.|/.+/resolve/.")
BAD_TOKEN = "Invalid credentials in Authorization header"


class RequestRecord(NamedTuple):
    """One line of the server's log; `status` is None where the connection was dropped."""

    method: str
    path: str
    status: int | None


@dataclass
class Failure:
    """What the next `remaining` matching requests get instead of the true answer: see `FakeHub.fail_next`."""

    method: str
    path: re.Pattern[str]
    status: int | Literal["silence", "garbage"] | None
    remaining: int


class FakeHub:
    """The Hub, as a context manager.

    Args:
        forbidden: Strings that no committed file may hold, beside the access token: a temporary directory, the home
            directory, the user's name.

    Attributes:
        url: For HF_ENDPOINT.
        requests: Every request so far, with its status.
    """

    def __init__(self, forbidden: Iterable[str] = ()) -> None:
        forbidden = (TOKEN, *forbidden)
        if not all(forbidden):
            raise ValueError("an empty string in `forbidden` would refuse every file")
        self._lock = threading.RLock()
        self._failures: list[Failure] = []
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.requests: list[RequestRecord] = []
        self.closing = threading.Event()
        self.api = Api(self.url, forbidden)

    def __enter__(self) -> FakeHub:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def env(self, cache: str | Path) -> dict[str, str]:
        """Environment of a client process: this Hub, a token, and every Hugging Face cache below `cache`."""
        folders = {"HF_HUB_CACHE": "hub", "HF_ASSETS_CACHE": "assets", "HF_DATASETS_CACHE": "datasets"}
        switches = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
        switches |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(cache),
            "NO_PROXY": "127.0.0.1",
            **{name: str(Path(cache) / folder) for name, folder in folders.items()},
            **switches,
        }

    # ---- for assertions

    def read(self, repo_type: str, repo_id: str, path: str, revision: str = "main") -> bytes:
        with self._lock:
            return self.api.content(self.api.repository(repo_type, repo_id).at(revision).files[path])

    def ls(self, repo_type: str, repo_id: str, revision: str = "main") -> list[str]:
        with self._lock:
            return sorted(self.api.repository(repo_type, repo_id).at(revision).files)

    def commit_titles(self, repo_type: str, repo_id: str, revision: str = "main") -> list[str]:
        """Newest first."""
        with self._lock:
            return [commit.title for commit in self.api.repository(repo_type, repo_id).history(revision)]

    def uploaded_bytes(self) -> Iterator[tuple[str, str, bytes]]:
        """(repo id, path, content) of every file of every commit; one that later commits keep unchanged comes once."""
        with self._lock:
            places = {
                (repository.repo_type, repository.repo_id, path, entry.blob)
                for repository in self.api.repositories.values()
                for commit in repository.commits.values()
                for path, entry in commit.files.items()
            }
            contents = [(repo_id, path, self.api.blobs[blob]) for _, repo_id, path, blob in sorted(places)]
        yield from contents

    # ---- failures

    def fail_next(
        self, method: str, path_regex: str, status: int | Literal["silence", "garbage"] | None, times: int = 1
    ) -> Failure:
        """Fail the next requests whose path, query included, `re.search` finds.

        The request is not carried out. With `status=None` the connection drops in the middle: of the answer for GET,
        of the request for other methods. `silence` never answers, and `garbage` answers 200 with a page that is not
        one of the Hub, as a hotel's network does. The failure returned counts down: a test can see that it happened.
        """
        failure = Failure(method, re.compile(path_regex), status, times)
        with self._lock:
            self._failures.append(failure)
        return failure

    def stop_failing(self) -> None:
        with self._lock:
            self._failures.clear()

    def take_failure(self, method: str, path: str) -> Failure | None:
        with self._lock:
            for failure in self._failures:
                if failure.remaining > 0 and failure.method == method and failure.path.search(path):
                    failure.remaining -= 1
                    return failure
        return None

    # ---- requests

    def answer(self, request: Request) -> Response:
        """Route a request; every error, a bug of this double included, becomes an error answer."""
        try:
            endpoint, arguments = _route(request)
            _authenticate(request, endpoint)
            with self._lock:
                answer = getattr(self.api, endpoint)(request, **arguments)
        except HubError as error:
            return _error_response(error, request.path)
        except Exception as error:  # 501: clients would retry a 500 and hide the bug
            logger.exception("bug in fakehub: %s %s", request.method, request.path)
            return _error_response(HubError(501, f"bug in fakehub: {error!r}"), request.path)
        return answer if isinstance(answer, Response) else Response.json(answer)

    def record(self, method: str, path: str, status: int | None) -> None:
        with self._lock:
            self.requests.append(RequestRecord(method, path, status))


def _route(request: Request) -> tuple[str, dict[str, Any]]:
    for methods, pattern, endpoint in ROUTES:
        match = re.fullmatch(f"{pattern}/?", request.path)
        if match and request.method in methods.split("|"):
            arguments = {name: urllib.parse.unquote(value) for name, value in match.groupdict().items() if value}
            if "repo_id" in arguments:
                arguments.setdefault("repo_type", "model")
            return endpoint, arguments
    raise HubError(404, f"fakehub: no route for {request.method} {request.path}")


def _authenticate(request: Request, endpoint: str) -> None:
    if request.token not in (None, TOKEN):
        raise HubError(401, BAD_TOKEN)
    is_write = request.method not in ("GET", "HEAD") and endpoint not in TOKEN_FREE
    if request.token is None and (is_write or endpoint == "whoami"):
        raise HubError(401, "Invalid username or password.")


def _error_response(error: HubError, path: str) -> Response:
    message = " ".join(error.message.split()).encode("latin-1", "replace").decode("latin-1")  # one line of header
    code = error.code
    if error.status == 401 and message != BAD_TOKEN and REPO_PATH.match(path):
        code = "RepoNotFound"  # what clients make of a 401 by themselves, but for https only
    headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return Response.json(error.body, error.status, headers)


def _failure_response(status: int | str, path: str) -> Response:
    if isinstance(status, str):
        return Response(200, {"Content-Type": "text/html"}, b"<html>Log in to this network first.</html>")
    message = f"{http.HTTPStatus(status).phrase} (failure asked for by the test)"
    response = _error_response(HubError(status, message), path)
    # 429: the limit is reached and ends now, so that a client which obeys the header waits its minimum, a second.
    return Response(status, {**response.headers, "RateLimit": '"api";r=0;t=0'}, response.body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # clients keep connections alive
    disable_nagle_algorithm = True  # else 40 ms for each answer that is written in two parts
    server: _Server

    def handle_request(self) -> None:
        failure = self.server.hub.take_failure(self.command, self.path)
        if failure is not None and failure.status is None and self.command != "GET":
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            self.drop()
            return
        request = self.read_request()
        if failure is not None and failure.status == "silence":
            self.server.hub.closing.wait()
            self.drop()
            return
        if failure is not None and failure.status is not None:
            response = _failure_response(failure.status, request.path)
        else:
            response = self.server.hub.answer(request)
        is_cut = failure is not None and failure.status is None
        self.server.hub.record(self.command, self.path, None if is_cut else response.status)
        self.send(response, is_cut)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request

    def read_request(self) -> Request:
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.command, url.path, query, headers, self.read_body())

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def send(self, response: Response, is_cut: bool) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body[: len(response.body) // 2] if is_cut else response.body)
        self.close_connection |= is_cut

    def drop(self) -> None:
        self.server.hub.record(self.command, self.path, None)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Silent: `FakeHub.requests` is the log."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # upload_folder opens many connections at once

    def __init__(self, hub: FakeHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            logger.exception("error in fakehub's HTTP handler")
