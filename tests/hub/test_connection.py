"""Requests to the Hub: time-outs, repetitions, and what their errors say, against the Hub double in this process."""

import json
import time

import huggingface_hub.constants
import huggingface_hub.file_download
import pytest
from fakehub import TOKEN, USER, FakeHub
from huggingface_hub import HfApi, get_session
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from hf_alignet.hub import connection
from hf_alignet.hub.connection import in_one_line, noting_failures, reason

REPOSITORY = f"{USER}/there"
FAULTS = [429, 500, 503, None]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub with a repository, and no waiting between requests; `pauses` are those that it saved."""
    with FakeHub() as made:
        made.pauses = []
        monkeypatch.setattr(time, "sleep", made.pauses.append)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.15)
        monkeypatch.setattr(huggingface_hub.file_download, "_ETAG_RETRY_TIMEOUT", 0.15)
        monkeypatch.setattr(connection, "SILENCE", 0.15)
        made.client = HfApi(endpoint=made.url, token=TOKEN)
        made.client.create_repo(REPOSITORY)
        made.client.upload_file(path_or_fileobj=b"content", path_in_repo="a.txt", repo_id=REPOSITORY)
        made.requests_of = {
            "create": ("POST /api/repos/create", lambda: made.client.create_repo(f"{USER}/new", exist_ok=True)),
            "branch": ("POST /branch/", lambda: made.client.create_branch(REPOSITORY, branch="next", exist_ok=True)),
            "information": ("GET /api/models/", lambda: made.client.repo_info(REPOSITORY)),
            "list": ("GET /tree/", lambda: made.client.list_repo_files(REPOSITORY)),
            "commit": (
                "POST /commit/",
                lambda: made.client.upload_file(path_or_fileobj=b"b", path_in_repo="b", repo_id=REPOSITORY),
            ),
            "head": ("HEAD /resolve/", lambda: made.client.hf_hub_download(REPOSITORY, "a.txt", cache_dir=tmp_path)),
            "file": ("GET /resolve/", lambda: made.client.hf_hub_download(REPOSITORY, "a.txt", cache_dir=tmp_path)),
        }
        yield made


REQUESTS = ["create", "branch", "information", "list", "commit", "head", "file"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("request_of", REQUESTS)
def test_what_fails_twice_is_tried_again(hub, request_of, fault):
    target, call = hub.requests_of[request_of]
    failure = hub.fail_next(*target.split(), fault, times=2)
    call()
    assert failure.remaining == 0 and 1 <= len(hub.pauses) <= 3 and max(hub.pauses) <= 8


@pytest.mark.parametrize("fault", [401, 403, 503, None, "silence", "garbage"])
@pytest.mark.parametrize("request_of", REQUESTS)
def test_what_fails_for_ever_ends_with_its_cause(hub, request_of, fault):
    target, call = hub.requests_of[request_of]
    hub.fail_next(*target.split(), fault, times=1000)
    expected = {None: "connection to the Hub is broken", "silence": "timed out", "garbage": "not one of the Hub"}
    start = time.perf_counter()
    if (request_of, fault) == ("branch", "garbage"):
        call()  # huggingface_hub does not read the answer
        return
    if (request_of, fault) == ("file", "garbage"):
        with pytest.raises(OSError, match="Consistency check failed"):  # before anything is in the cache
            call()
        return
    with pytest.raises(Exception) as caught, noting_failures():
        call()
    said = reason(caught.value)
    assert expected.get(fault, f"({fault} ") in said and "\n" not in said and TOKEN not in said
    assert time.perf_counter() - start < 10 and sum(hub.pauses) < 60


def test_a_pause_is_never_longer_than_a_minute(monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(connection.http_backoff.__globals__["constants"], "HF_HUB_OFFLINE", False)
    httpx = connection._httpx
    headers = iter([{"Retry-After": "100000"}, {"RateLimit": '"api";r=0;t=7200'}, {"Retry-After": "3"}])

    def answer(request):
        found = next(headers, None)
        return httpx.Response(200) if found is None else httpx.Response(429, headers=found)

    client = connection._patient(lambda: httpx.Client(transport=httpx.MockTransport(answer)))
    monkeypatch.setattr(connection._http, "get_session", lambda: client)
    assert client.post("https://hub.test/api/x", json={}).status_code == 200
    assert pauses == [61, 61, 4]  # huggingface_hub adds a second


def test_every_request_has_a_time_out_and_a_shorter_one_stays(monkeypatch):
    seen = []
    httpx = connection._httpx

    def answer(request):
        seen.append(request.extensions["timeout"])
        return httpx.Response(200)

    make = lambda: httpx.Client(transport=httpx.MockTransport(answer), timeout=None)  # noqa: E731
    client = connection._patient(make)
    for method, timeout in (("GET", None), ("PUT", None), ("GET", 1000), ("HEAD", 3)):
        client.request(method, "https://hub.test/x", timeout=timeout)
    limit = connection.SILENCE
    assert [waits["read"] for waits in seen] == [limit, 2 * limit, limit, 3]


def test_the_cause_that_a_library_leaves_out_is_the_cause(hub):
    hub.fail_next("GET", "/api/models/", 403)
    with pytest.raises(OSError) as caught, noting_failures():
        try:
            hub.client.repo_info(REPOSITORY)
        except HTTPError:
            pass
        error = OSError("there is no file named pytorch_model.bin")
        error.__context__ = None
        raise error
    assert "you may not read it" in in_one_line(caught.value) and "(403 " in in_one_line(caught.value)
    with pytest.raises(OSError) as caught, noting_failures():
        hub.client.repo_info(REPOSITORY)
        raise OSError("the disk is full")
    assert in_one_line(caught.value) == "the disk is full"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OfflineModeIsEnabled("x"), "HF_HUB_OFFLINE is set"),
        (LocalEntryNotFoundError("not in the cache"), "not in the cache"),
        (json.JSONDecodeError("x", "y", 0), "not one of the Hub"),
        (KeyError("url"), "not one of the Hub"),
        (OSError("two\n  lines"), "two lines"),
    ],
)
def test_reasons(error, said):
    assert said in reason(error)


def test_the_session_of_the_process_is_patient():
    assert get_session().send.__name__ == "send_in_time"
