"""What users are told when the Hub does not do what it should: a process against the Hub double and its trouble."""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakehub import TOKEN, FakeHub
from safetensors.numpy import save, save_file

from hf_alignet.errors import InputError
from hf_alignet.hub.transport.repository import make_repository

TROUBLE = {
    401: "log in by `hf auth login`, or set HF_TOKEN (401 Unauthorized",
    403: "your token does not allow that: it needs the permission to write, and the part before the / must be your",
    404: "there is no such user, organisation, repository or revision, or you may not see it (404 Not Found",
    409: "another process changed the repository at the same time: try again in a minute (409 Conflict",
    429: "you have asked the Hub for more than it allows: try again in some minutes (429 Too Many Requests",
    500: "the Hub is in trouble: try again in some minutes (500 Internal Server Error",
    None: "the connection to the Hub is broken: try again (",
}
REPEATED = (429, 500, None)
TIMES = 6  # as often as a request is made before it is given up
CLIENT = """
import json, sys, time
from pathlib import Path
from safetensors.numpy import save_file
import numpy as np
from huggingface_hub import HfApi
from hf_alignet.hub.transport.repository import make_repository, share_folder

sleep = time.sleep
time.sleep = lambda seconds: sleep(seconds / 1000)

def said(share):
    try:
        share()
    except Exception as error:
        return [type(error).__name__, str(error)]

directory, kinds = Path(sys.argv[1]), sys.argv[2].split()
patterns = ["README.md", "model*.safetensors"]
told = {}
for kind in kinds:
    told[f"make {kind}"] = said(lambda: make_repository(f"tester/{kind}", None))
for kind in kinds:
    assert make_repository(f"tester/{kind}", True, "dataset", "next") == f"tester/{kind}"
    for run in ("first", "second"):
        told[f"{run} {kind}"] = said(lambda: share_folder(directory, f"tester/{kind}", patterns, "dataset", "next"))
make_repository("by-hand", None, "dataset")
HfApi().upload_file(path_or_fileobj=b"1", path_in_repo="old.txt", repo_id="tester/by-hand", repo_type="dataset")
make_repository("by-hand", None, "dataset", "next")
told["by hand"] = said(
    lambda: share_folder(directory, "tester/by-hand", patterns, "dataset", "next", replaced=["*.txt"])
)
save_file({"w": np.ones(3)}, directory / "model.safetensors")
make_repository("broken", None)
for run in ("first", "second"):
    told[f"{run} broken"] = said(lambda: share_folder(directory, "tester/broken", patterns))
make_repository("card", None)
(directory / "README.md").write_text("---\\nlicense: 3\\n---\\n")
told["card"] = said(lambda: share_folder(directory, "tester/card", patterns, again="me again"))

make_repository("open", False)
told["open"] = said(lambda: make_repository("open", True, revision="next"))
assert make_repository("open", None) == "tester/open"
assert make_repository("hidden", True) == make_repository("hidden", True, revision="refs/pr/1") == "tester/hidden"
make_repository("shards", None)
(directory / "README.md").write_text("# Card\\n")
for number in (3, 2):
    for file in directory.glob("*-of-*"):
        file.unlink()
    for i in range(number):
        (directory / f"{i}-of-{number}.txt").write_text(f"{i}")
    share_folder(directory, "tester/shards", ["README.md", "?-of-?.txt"], replaced=["?-of-?.*"])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The Hub, what the client was told, and the directory that it shared."""
    directory = tmp_path_factory.mktemp("shared") / "my model"
    directory.mkdir()
    (directory / "README.md").write_text("# Card\n")
    save_file({"w": np.zeros(3)}, directory / "model.safetensors")
    (directory / "private.txt").write_text("mine")
    with FakeHub(forbidden=[str(directory.parent)]) as hub:
        for status in TROUBLE:
            times = TIMES if status in REPEATED else 1
            hub.fail_next("POST", "/api/repos/create", status, times)
            hub.fail_next("POST", f"/api/datasets/tester/{status}/commit/next", status, times)
        for status in (None, 403):
            hub.fail_next("PUT", hashlib.sha256(save({"w": np.ones(3)})).hexdigest(), status)
        hub.fail_next("POST", "/api/datasets/tester/by-hand/commit/next", 500, TIMES)
        environment = {**os.environ, **hub.env(directory.parent / "cache")}
        command = [sys.executable, "-W", "ignore", "-c", CLIENT, str(directory), " ".join(map(str, TROUBLE))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        assert TOKEN not in done.stdout + done.stderr
        yield hub, json.loads(done.stdout.splitlines()[-1]), directory


@pytest.mark.parametrize("status", TROUBLE)
def test_trouble_before_a_run_is_one_line(shared, status):
    kind, message = shared[1][f"make {status}"]
    assert kind == "InputError" and "\n" not in message
    # A Hub that says that the repository is there names it, which this one does not
    expected = "the answer is not one of the Hub: try again" if status == 409 else TROUBLE[status]
    assert message.startswith(f"cannot share under 'tester/{status}': ") and expected in message


@pytest.mark.parametrize("status", TROUBLE)
def test_trouble_after_a_run_is_one_line_and_a_second_run_continues(shared, status):
    hub, told, directory = shared
    kind, message = told[f"first {status}"]
    assert kind == "RunError" and "\n" not in message
    assert message.startswith(f"{directory} is complete, but not shared as tester/{status}: ")
    assert TROUBLE[status] in message
    assert (
        f"Share it by `hf upload tester/{status} '{directory}' --repo-type dataset --revision next "
        "--include README.md --include 'model*.safetensors' --exclude '.hf_alignet*'`"
    ) in message
    assert told[f"second {status}"] is None
    assert hub.ls("dataset", f"tester/{status}", "next") == ["README.md", "model.safetensors"]


def test_upload_that_breaks_off_is_tried_again_and_what_arrived_is_not_uploaded_again(shared):
    hub, told, _ = shared
    assert [record.status for record in hub.requests if record.method == "PUT"] == [200, None, 403, 200]
    assert TROUBLE[403] in told["first broken"][1] and told["second broken"] is None
    assert hub.read("model", "tester/broken", "model.safetensors") == save({"w": np.ones(3)})


def test_refused_card_is_told_in_the_words_of_the_hub(shared):
    kind, message = shared[1]["card"]
    assert kind == "RunError" and "\n" not in message
    assert '"license" must be a string' in message and "Share it by `me again`" in message


def test_private_data_do_not_go_where_everybody_sees_them(shared):
    hub, told, _ = shared
    kind, message = told["open"]
    assert kind == "InputError"
    assert message.startswith("tester/open exists and is public: make it private in its settings first")
    open_there, hidden = (hub.api.repository("model", f"tester/{name}") for name in ("open", "hidden"))
    assert set(open_there.branches) == {"main"} and hidden.is_private


def test_pull_request_is_no_branch(shared):
    assert set(shared[0].api.repository("model", "tester/hidden").branches) == {"main"}


def test_what_is_replaced_goes_after_what_replaces_it(shared):
    """So that an upload that breaks off leaves no fewer files than there were."""
    hub = shared[0]
    old, new = [f"{i}-of-3.txt" for i in range(3)], [f"{i}-of-2.txt" for i in range(2)]
    commits = hub.api.repository("model", "tester/shards").history("main")
    assert [commit.title for commit in commits[:1]] == ["Remove what was replaced"]
    assert [sorted(commit.files) for commit in commits[:3]] == [
        sorted(["README.md", *files]) for files in (new, [*old, *new], old)
    ]


def test_the_command_in_a_message_does_the_same(shared):
    """Uploads what matches all patterns, at its place, and deletes what is replaced."""
    hub, told, directory = shared
    assert hub.ls("dataset", "tester/by-hand", "next") == ["old.txt"]
    (command,) = re.findall("Share it by `(hf upload .*?)`", told["by hand"][1])
    environment = {**os.environ, **hub.env(directory.parent / "by-hand")}
    words = [str(Path(sys.executable).parent / "hf"), *shlex.split(command)[1:]]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert hub.ls("dataset", "tester/by-hand", "next") == ["README.md", "model.safetensors"]


def test_nothing_is_shared_offline():
    with pytest.raises(InputError, match="cannot share under 'user/name': HF_HUB_OFFLINE is set.*unset it$"):
        make_repository("user/name", None)
