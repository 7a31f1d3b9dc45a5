"""Requests to the Hub: none waits for ever, those that may succeed later are repeated, and errors become one line.

When this module is imported, this holds for all requests of `huggingface_hub` in the process, also those that
transformers, datasets and peft make. They are repeated as `huggingface_hub.utils.http_backoff` repeats some of them:
after a dropped connection or the status 408, 429, 500, 502, 503 or 504, up to five times, with a log line and a pause
of 1 to 8 seconds, or up to a minute if the Hub asks for it.
"""

import contextlib
import re
import sys
from collections.abc import Iterator
from functools import partial
from json import JSONDecodeError
from typing import Any

from datasets.exceptions import DatasetGenerationError
from huggingface_hub import constants, set_client_factory
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import _http, http_backoff

from hf_alignet.errors import DISK_FULL, InputError, RunError

# Errors of a request to the Hub, or of an answer that is not one of the Hub; callers also catch OSError, which can
# also be about the disk
HUB_ERRORS = (
    *(HTTPError, ConnectionError, TimeoutError, LocalEntryNotFoundError),
    *(ValueError, KeyError, TypeError, AttributeError),
)
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
MAY_NOT_READ = "you may not read it: ask for access on its page, and log in by `hf auth login` with a token that may"
TROUBLE = "the Hub is in trouble: try again in some minutes"
NOT_THE_HUB = "the answer is not one of the Hub: try again in a minute, or check your proxy and HF_ENDPOINT"

READS = ("GET", "HEAD")
SILENCE = 3 * constants.HF_HUB_DOWNLOAD_TIMEOUT  # seconds without a byte, of requests that have no shorter time-out
LONGEST_PAUSE = 60  # seconds; five of them are the window in which the Hub counts requests
_httpx = sys.modules[HTTPError.__module__]  # huggingface_hub uses httpx or, from 2.0 on, httpx2
# What is read may be in the cache: without a network, nothing is gained by asking again
DROPPED = (_httpx.ReadError, _httpx.WriteError, _httpx.CloseError, _httpx.RemoteProtocolError)

_failed: dict[str, Exception] = {}  # the requests that failed and were not repeated with success, by address


class NotTheHubError(HTTPError):
    """A page where the Hub gives data, as a proxy or the network of a hotel answers."""


def _patient(make_client: Any) -> Any:
    """A client as `make_client` makes them, with time-outs and repetitions."""
    client = make_client()
    send = client.send

    def send_in_time(request: Any, **options: Any) -> Any:
        limit = SILENCE if request.method in READS else 2 * SILENCE  # a commit can take the Hub a while
        waits = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {part: min(seconds or limit, limit) for part, seconds in waits.items()}
        address = str(request.url)
        try:
            response = send(request, **options)
        except HTTPError as error:
            _failed[address] = error
            if request.method == "HEAD" and isinstance(error, DROPPED):
                raise _no_connection(error, request) from error
            raise
        for header in {"retry-after", "ratelimit"} & set(response.headers):
            response.headers[header] = re.sub(r"^\d+|(?<=;t=)\d+", _shortened, response.headers[header])
        _failed.pop(address, None)
        if response.status_code >= 400 and response.status_code != 404:  # libraries ask for files that may be missing
            said = response.headers.get("x-error-message")
            _failed[address] = HfHubHTTPError(f"{response.status_code}", response=response, server_message=said)
            if response.status_code >= 500 and options.get("stream"):
                response.close()
                raise _no_connection(_failed[address], request) from _failed[address]
        elif (
            response.headers.get("content-type", "").startswith("text/html")
            and "x-repo-commit" not in response.headers
        ):
            _failed[address] = NotTheHubError(NOT_THE_HUB)
        return response

    client.send = send_in_time
    client.get = partial(http_backoff, "GET", retry_on_exceptions=DROPPED)
    client.post, client.put = (
        partial(http_backoff, method, retry_on_exceptions=(_httpx.NetworkError, _httpx.RemoteProtocolError))
        for method in ("POST", "PUT")
    )
    return client


def _no_connection(error: Exception, request: Any) -> Exception:
    """Of a download, the only error after which huggingface_hub asks again, or takes what is in its cache."""
    return _httpx.ConnectError(str(error), request=request)


def _shortened(seconds: re.Match[str]) -> str:
    return str(min(int(seconds[0]), LONGEST_PAUSE))


set_client_factory(partial(_patient, _http._GLOBAL_CLIENT_FACTORY))  # which keeps a factory that the user has set


@contextlib.contextmanager
def noting_failures() -> Iterator[None]:
    """Gives an error that comes out of it the request that failed as its cause, if a library left that out.

    transformers says that a repository lacks a file which the Hub only refused to send.
    """
    _failed.clear()
    try:
        yield
    except Exception as error:
        if hub_error(error) is None and _failed:
            raise error from list(_failed.values())[-1]
        raise


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turns whatever goes wrong inside into an InputError that says that `what` cannot be opened, and why.

    Only calls of libraries go inside. They do not check what a file or a configuration holds, so that a broken one
    raises nearly any error. RunError if the disk of the caches is full.
    """
    try:
        with noting_failures():
            yield
    except InputError as error:
        if what in str(error):
            raise
        raise InputError(f"cannot open {what}: {error}") from error
    except Exception as error:
        cause = error.__cause__ if isinstance(error, DatasetGenerationError) else error
        if isinstance(cause, OSError) and cause.errno in DISK_FULL:
            raise RunError(
                f"cannot open {what}, because the disk of the caches, where a copy of it is made, is full: make room "
                "there, or set HF_HOME to a folder on another disk"
            ) from error
        hint = " (or, if you trust its code, add `trust_remote_code=True`)" if "remote_code" in str(error) else ""
        raise InputError(f"cannot open {what}{hint}: {in_one_line(error)}") from error


def hub_error(error: BaseException | None) -> BaseException | None:
    """The request to the Hub that failed and so caused an error, or None. A file that is missing there is no cause."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    chain = [e for e in chain if not isinstance(e, RemoteEntryNotFoundError)]
    answers = [e for e in chain if isinstance(e, HfHubHTTPError)]  # which say more
    others = [e for e in chain if isinstance(e, HTTPError | OfflineModeIsEnabled | FileMetadataError)]
    return next(iter([*answers, *others]), None)


def reason(error: BaseException) -> str:
    """The reason of an error of the Hub and what to do about it, in one line without any token."""
    error = hub_error(error) or error
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, which forbids all requests to the Hub: unset it"
    if isinstance(error, HfHubHTTPError):
        status, said = error.response.status_code, error.server_message or ""
        advice = ADVICE.get(status, TROUBLE if status >= 500 else "the Hub refuses that")
        if isinstance(error, GatedRepoError) or (status == 403 and error.response.request.method in READS):
            advice = MAY_NOT_READ
        return f"{advice} ({' '.join([str(status), *said.split()])})"
    if isinstance(error, KeyError | TypeError | AttributeError | JSONDecodeError | FileMetadataError | NotTheHubError):
        return NOT_THE_HUB
    text = " ".join(str(error).split()) or type(error).__name__
    return f"the connection to the Hub is broken: try again ({text})" if isinstance(error, HTTPError) else text


def in_one_line(error: Exception) -> str:
    """Why something cannot be opened, without the paragraphs and addresses that the libraries of the Hub add."""
    found = hub_error(error)
    if isinstance(error, HFValidationError):
        return "it does not exist here, and is no name on the Hub, user/name"
    if found is None:
        if isinstance(error, DatasetGenerationError) and isinstance(error.__cause__, Exception):
            return in_one_line(error.__cause__)  # it says itself only that there was an error
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        return f"{kind}{' '.join(str(error).split())}"
    if isinstance(found, RepositoryNotFoundError) and not isinstance(found, GatedRepoError):
        return "it does not exist, neither here nor on the Hub, or only for users who log in by `hf auth login`"
    return f"it is not here, and {reason(found)}"
