"""The Hub double against the real clients (the stages of `fakehub.clients`), and its checks on their own."""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from fakehub import TOKEN, USER, FakeHub
from fakehub.checks import card_errors, eval_results_errors, file_errors
from fakehub.clients import ADAPTER, FLAKY, FLAKY_WEIGHTS, FOLDER, MODEL, REFUSING, TRIPLETS, WEIGHTS

LOCAL_PATH = "/srv/somebody/outputs"
FLAKY_OID = hashlib.sha256(FLAKY_WEIGHTS).hexdigest()


# ---- what is refused: path, content, message


def card(metadata: str) -> bytes:
    return f"---\n{metadata}\n---\n# A card\n".encode()


def torch_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1], 2))
    return file.getvalue()


def indexed(result: str) -> bytes:
    return card(f"model-index:\n- name: tiny\n  results:\n  - {result}")


RESULT = "{task: {type: a}, dataset: {type: b, name: B}, metrics: [{type: c, value: 0.5}]}"
ENTRY = "- {dataset: {id: things, task_id: test}, value: %s}"
REFUSED = {
    "yaml": ("README.md", card("tags: [a"), "Invalid YAML metadata in README.md"),
    "yaml list": ("README.md", card("- a"), "the metadata must be a mapping, not list"),
    "yaml key twice": ("README.md", card("license: mit\nlicense: mit"), "duplicated mapping key 'license'"),
    "base model path": (
        "README.md",
        card(f"base_model: {LOCAL_PATH}/vit"),
        f'"base_model" with value "{LOCAL_PATH}/vit" is not valid. Use a model id from https://hf.co/models.',
    ),
    "base model empty": ("README.md", card("base_model: ''"), '"base_model" is not allowed to be empty'),
    "base model list": ("README.md", card("base_model: [a/b, ./c]"), '"base_model[1]" with value "./c" is not valid'),
    "base model type": ("README.md", card("base_model: 3"), '"base_model" must be a string'),
    "dataset path": ("README.md", card("datasets: [a, ../b]"), '"datasets[1]" with value "../b" is not valid'),
    "license type": ("README.md", card("license: 2.0"), '"license" must be a string or an array of strings'),
    "license id": ("README.md", card("license: Apache 2.0"), '"license" with value "Apache 2.0" is not valid'),
    "tags type": ("README.md", card("tags: vision"), '"tags" must be an array'),
    "tag type": ("README.md", card("tags: [vision, 1]"), '"tags[1]" must be a string'),
    "index name": ("README.md", card("model-index: [{results: []}]"), '"model-index[0].name" is required'),
    "index results": ("README.md", card("model-index: [{name: a}]"), '"model-index[0].results" must be an array'),
    "index task": (
        "README.md",
        indexed(RESULT.replace("task", "job")),
        '"model-index[0].results[0].task" is required',
    ),
    "index dataset": (
        "README.md",
        indexed(RESULT.replace(", name: B", "")),
        '"model-index[0].results[0].dataset.name" is required',
    ),
    "index metrics": (
        "README.md",
        indexed(RESULT.replace("{type: c, value: 0.5}", "")),
        '"model-index[0].results[0].metrics" is required',
    ),
    "eval yaml": (".eval_results/a.yaml", b"- {", "Invalid YAML in .eval_results/a.yaml"),
    "eval list": (".eval_results/a.yaml", b"value: 1", ".eval_results/a.yaml must be a list of evaluation results"),
    "eval id": (".eval_results/a.yaml", b"- {dataset: {}, value: 1}", '"[0].dataset.id" is required'),
    "eval task": (".eval_results/a.yaml", b"- {dataset: {id: a}, value: 1}", '"[0].dataset.task_id" is required'),
    "eval text": (".eval_results/a.yml", (ENTRY % "high").encode(), "must be a finite number, not 'high'"),
    "eval nan": (".eval_results/a.yaml", (ENTRY % ".nan").encode(), "must be a finite number, not nan"),
    "eval bool": (".eval_results/a.yaml", (ENTRY % "true").encode(), "must be a finite number, not True"),
    "pickle name": ("training_args.bin", b"text", "training_args.bin is a pickle by its name"),
    "pickle protocol": ("state.dat", pickle.dumps([1], 4), "state.dat is a pickle by its content"),
    "pickle zip": ("state.dat", torch_zip(), "state.dat is a pickle by its content"),
    "token": ("notes.txt", f"token: {TOKEN}\n".encode(), f"notes.txt holds the forbidden string {TOKEN!r} at byte 7"),
    "local path": (
        "table.parquet",
        b"\x00\xff" + LOCAL_PATH.encode(),
        f"table.parquet holds the forbidden string {LOCAL_PATH!r} at byte 2",
    ),
}


# ---- fixtures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fakehub")


@pytest.fixture(scope="module")
def hub(folder: Path) -> Any:
    with FakeHub(forbidden=[str(folder), LOCAL_PATH]) as hub:
        yield hub


def run_stage(hub: FakeHub, folder: Path, stage: str) -> dict[str, Any]:
    environment = {**os.environ, **hub.env(folder / f"{stage}-cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    files = {case: [path, b64encode(content).decode()] for case, (path, content, _) in REFUSED.items()}
    (folder / "refused.json").write_text(json.dumps(files))
    command = [sys.executable, "-W", "ignore", "-m", "fakehub.clients", stage]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"stage {stage}:\n{done.stderr[-4000:]}\n{hub.requests[-5:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def pushed(hub: FakeHub, folder: Path) -> dict[str, Any]:
    return run_stage(hub, folder, "push")


@pytest.fixture(scope="module")
def pulled(hub: FakeHub, folder: Path, pushed: dict[str, Any]) -> dict[str, Any]:
    return run_stage(hub, folder, "pull")


@pytest.fixture(scope="module")
def asked_failures(hub: FakeHub) -> dict[str, Any]:
    api = f"/api/models/{FLAKY}"
    return {
        "preupload": hub.fail_next("POST", f"{api}/preupload/main", 500),
        "batch": hub.fail_next("POST", f"/{FLAKY}.git/info/lfs", 429),
        "put": hub.fail_next("PUT", f"/_lfs/{FLAKY_OID}", None),
        "commit": hub.fail_next("POST", f"{api}/commit/main", 500),
        "get": hub.fail_next("GET", f"/{FLAKY}/resolve/", None),
        "refs 403": hub.fail_next("GET", f"{api}/refs", 403),
        "refs 401": hub.fail_next("GET", f"{api}/refs", 401),
    }


@pytest.fixture(scope="module")
def managed(hub: FakeHub, folder: Path, asked_failures: dict[str, Any]) -> dict[str, Any]:
    return run_stage(hub, folder, "manage")


# ---- models and datasets


def test_model_comes_back_bit_equal(hub: FakeHub, pushed: dict[str, Any], pulled: dict[str, Any]) -> None:
    assert pulled["class"] == "ViTModel"
    assert pulled["keys_match"] and pulled["weights_differ"] == []
    assert pulled["model"] == pushed["model"]
    assert pulled["image_mean"] == [0.1, 0.2, 0.3]
    files = [".eval_results/things.yaml", "README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    assert hub.ls("model", MODEL) == files


def test_card_and_eval_results_are_read_back(hub: FakeHub, pulled: dict[str, Any]) -> None:
    assert pulled["card_results"] == [["THINGS", "test", 0.61]]
    assert pulled["eval_entry"] == [TRIPLETS, "odd_one_out", 0.61]
    assert {"hf_alignet", "license:apache-2.0", f"dataset:{TRIPLETS}"} <= set(pulled["tags"])
    assert b"base_model: google/vit-base" in hub.read("model", MODEL, "README.md")


def test_adapter_opens_with_auto_model(hub: FakeHub, pushed: dict[str, Any], pulled: dict[str, Any]) -> None:
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(hub.ls("model", ADAPTER))
    assert pulled["lora_tensors"] > 0
    assert pulled["adapter"] == pytest.approx(pushed["adapter"], abs=1e-6)
    assert pulled["adapter"] != pytest.approx(pushed["model"], abs=1e-2)


def test_dataset_with_two_configs(hub: FakeHub, pushed: dict[str, Any], pulled: dict[str, Any]) -> None:
    assert pulled["configs"] == ["images", "triplets"]
    assert pulled["rows"] == {"train": 12, "validation": 6}
    assert pulled["last_triplet"] == {"triplet": [17, 18, 19], "odd": 2}
    assert "int32" in pulled["triplet_type"]
    shards = [path for path in hub.ls("dataset", TRIPLETS) if path.startswith("images/train-")]
    assert len(shards) == 2


def test_dataset_streams_over_ranges(hub: FakeHub, pushed: dict[str, Any], pulled: dict[str, Any]) -> None:
    assert pulled["stream_ids"] == list(range(20))
    assert pulled["pixel_sum"] == pushed["pixel_sum"]
    partial = [record.path for record in hub.requests if record.status == 206]
    assert any(f"/datasets/{TRIPLETS}/resolve/" in path for path in partial)


def test_nothing_uploaded_holds_a_secret(hub: FakeHub, folder: Path, pulled: dict[str, Any]) -> None:
    uploaded = list(hub.uploaded_bytes())
    assert {MODEL, ADAPTER, TRIPLETS} <= {repo_id for repo_id, _, _ in uploaded}
    # The generated card of the first push is still found behind the one that replaced it.
    assert len({content for repo_id, path, content in uploaded if (repo_id, path) == (MODEL, "README.md")}) == 2
    assert not [path for _, path, content in uploaded if TOKEN.encode() in content or str(folder).encode() in content]


# ---- repositories


def test_private_repo_tag_branch_and_no_op_commit(hub: FakeHub, managed: dict[str, Any]) -> None:
    seen = managed["folder"]
    assert seen["private"] is True and seen["anonymous"] == "RepositoryNotFoundError"
    assert seen["oids"][0] == seen["oids"][1]
    assert hub.commit_titles("model", FOLDER) == ["first", "initial commit"]
    assert seen["tagged"] == {"config.json": b"{}".hex(), "sub/weights.npz": WEIGHTS.hex()}
    assert seen["next"] == ["config.json"]
    assert hub.read("model", FOLDER, "config.json", "next") == b"[1]"
    assert hub.read("model", FOLDER, "config.json", "v1") == b"{}"


def test_errors_are_those_that_clients_branch_on(managed: dict[str, Any]) -> None:
    missing = ["RepositoryNotFoundError", "RevisionNotFoundError", "RemoteEntryNotFoundError", "HfHubHTTPError"]
    assert managed["folder"]["missing"] == missing


# ---- strictness


@pytest.mark.parametrize("case", REFUSED)
def test_client_is_refused_with_the_message(hub: FakeHub, managed: dict[str, Any], case: str) -> None:
    error, message = managed["refused"][case]
    assert error == ("ValueError" if REFUSED[case][0] == "README.md" else "BadRequestError")
    assert REFUSED[case][2] in message
    assert hub.ls("model", REFUSING) == [] and hub.commit_titles("model", REFUSING) == ["initial commit"]


@pytest.mark.parametrize("case", REFUSED)
def test_commit_is_refused_whole(case: str) -> None:
    """Also for cards, whose client asks validate-yaml first and never gets to the commit."""
    path, content, message = REFUSED[case]
    with FakeHub(forbidden=[LOCAL_PATH]) as hub:
        create(hub, "strict")
        status, answer = commit(hub, "strict", {"good.txt": b"good", path: content})
        assert status == 400 and message in answer["error"]
        assert hub.ls("model", f"{USER}/strict") == []
        assert list(hub.uploaded_bytes()) == []
        assert commit(hub, "strict", {"good.txt": b"good"})[0] == 200
        assert hub.read("model", f"{USER}/strict", "good.txt") == b"good"


@pytest.mark.parametrize(
    "metadata",
    [
        "base_model: google/siglip-base-patch16-224\nlicense: apache-2.0\ntags: [vision]",
        "base_model: [vit, a_b/c.d-e]\ndatasets: things\nlicense: [mit, other]",
        "model-index: [{name: a, results: []}]",
        f"model-index: [{{name: a, results: [{RESULT}]}}]",
        "",
    ],
)
def test_good_cards_pass(metadata: str) -> None:
    assert card_errors(card(metadata).decode()) == []


def test_every_error_of_a_card_is_named() -> None:
    assert card_errors(card("tags: a\nlicense: 1\nbase_model: /a").decode()) == [
        '"base_model" with value "/a" is not valid. Use a model id from https://hf.co/models.',
        '"license" must be a string or an array of strings',
        '"tags" must be an array',
    ]


def test_text_without_metadata_and_good_eval_results_pass() -> None:
    assert card_errors("# Title\n\n---\n\nbase_model: /a\n") == []
    assert eval_results_errors("a.yaml", ENTRY % "0.5") == []


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth", "pkl", "pickle", "ckpt", "joblib", "PT"])
def test_pickles_by_name(suffix: str) -> None:
    assert len(file_errors(f"sub/a.{suffix}", b"text")) == 1


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_by_content(protocol: int) -> None:
    assert len(file_errors("a.json", pickle.dumps({"a": 1}, protocol))) == 1


def test_state_of_a_checkpoint_is_allowed_there_only() -> None:
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_1.pth"):
        for checkpoint in ("last-checkpoint", "checkpoint-20", "run/checkpoint-20"):
            assert file_errors(f"{checkpoint}/{name}", torch_zip()) == []
        assert len(file_errors(name, torch_zip())) == 1
    assert len(file_errors("last-checkpoint/training_args.bin", torch_zip())) == 1


@pytest.mark.parametrize("length", [640, 896, 1152, 1408])
def test_safetensors_whose_header_length_reads_like_a_pickle_pass(length: int) -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}}).ljust(length).encode()
    content = length.to_bytes(8, "little") + header
    assert content[0] == 0x80 and content[1] in (2, 3, 4, 5)
    assert file_errors("model.safetensors", content) == []


def test_an_empty_forbidden_string_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty string"):
        FakeHub(forbidden=[""])


# ---- failures


def test_failures_happened_and_clients_got_over_them(
    hub: FakeHub, managed: dict[str, Any], asked_failures: dict[str, Any]
) -> None:
    assert {name: failure.remaining for name, failure in asked_failures.items()} == dict.fromkeys(asked_failures, 0)
    seen = managed["flaky"]
    assert seen["commit"][0] == "HfHubHTTPError" and "500" in seen["commit"][1]
    assert hub.read("model", FLAKY, "weights.npz") == FLAKY_WEIGHTS
    assert seen["download"] == ["returned", "True"]
    assert seen["forbidden"][0] == "HfHubHTTPError" and "403 Forbidden" in seen["forbidden"][1]
    assert seen["unauthorized"][0] == "RepositoryNotFoundError"


def test_log_shows_each_failure_and_the_retry(hub: FakeHub, managed: dict[str, Any]) -> None:
    def statuses(method: str, path: str) -> list[int | None]:
        return [record.status for record in hub.requests if record.method == method and path in record.path]

    assert statuses("POST", f"{FLAKY}/preupload/main") == [500, 200, 200]
    assert statuses("POST", f"{FLAKY}.git/info/lfs/objects/batch") == [429, 200, 200]
    assert statuses("POST", f"{FLAKY}/commit/main") == [500, 200]
    assert statuses("PUT", FLAKY_OID) == [None, 200]  # the second upload finds the content there
    # Not 206: what arrives before a drop is kept in steps of 10 MB only.
    assert statuses("GET", f"{FLAKY}/resolve/") == [None, 200]


def test_dropped_commit_is_not_carried_out() -> None:
    with FakeHub() as hub:
        create(hub, "dropped")
        failure = hub.fail_next("POST", "/commit/", None, times=2)
        for remaining in (1, 0):
            with pytest.raises((urllib.error.URLError, ConnectionError)):
                commit(hub, "dropped", {"a.txt": b"a"})
            assert failure.remaining == remaining
        assert hub.commit_titles("model", f"{USER}/dropped") == ["initial commit"]
        assert commit(hub, "dropped", {"a.txt": b"a"})[0] == 200


# ---- the server


def test_commits_from_many_threads_are_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    # A pause between reading the head of the branch and moving it: without the lock, commits get lost.
    def slow_check(*arguments: object) -> list:
        time.sleep(0.002)
        return []

    monkeypatch.setattr("fakehub.api.file_errors", slow_check)
    with FakeHub() as hub:
        create(hub, "busy")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(commit, hub, "busy", {f"{i:02}.txt": b"%d" % i}) for i in range(40)]
        assert [job.result()[0] for job in jobs] == [200] * 40
        assert hub.ls("model", f"{USER}/busy") == [f"{i:02}.txt" for i in range(40)]
        assert len(hub.commit_titles("model", f"{USER}/busy")) == 41


def test_writing_needs_the_token() -> None:
    body = json.dumps({"name": "mine"}).encode()
    with FakeHub() as hub:
        assert call(hub, "POST", "/api/repos/create", body, token=None)[0] == 401
        assert call(hub, "POST", "/api/repos/create", body, token="hf_wrong")[0] == 401
        assert call(hub, "POST", "/api/repos/create", body)[0] == 200
        assert call(hub, "POST", "/api/repos/create", body)[0] == 409


def call(hub: FakeHub, method: str, path: str, body: bytes, token: str | None = TOKEN) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(hub.url + path, body, headers, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def create(hub: FakeHub, name: str) -> None:
    assert call(hub, "POST", "/api/repos/create", json.dumps({"name": name}).encode())[0] == 200


def commit(hub: FakeHub, name: str, files: dict[str, bytes]) -> tuple[int, dict[str, Any]]:
    lines: list[dict[str, Any]] = [{"key": "header", "value": {"summary": "by hand"}}]
    for path, content in files.items():
        lines.append({"key": "file", "value": {"path": path, "content": b64encode(content).decode()}})
    body = "\n".join(json.dumps(line) for line in lines).encode()
    return call(hub, "POST", f"/api/models/{USER}/{name}/commit/main", body)
