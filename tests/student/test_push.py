"""Models and checkpoints that a trainer shares, against the Hub double: what is there, and what trouble does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakehub import TOKEN, FakeHub
from huggingface_hub import ModelCard

from hf_alignet.errors import InputError
from hf_alignet.hub.rendering import TAGS
from hf_alignet.student import AlignTrainingArguments
from hf_alignet.student.checkpoints import find_checkpoint

NAME = "a_person_s_name"
TESTS = Path(__file__).parents[1]
SENTENCE = {"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"}
MODEL = {"README.md", "alignment.json", "config.json", "model.safetensors", "preprocessor_config.json", *SENTENCE}
STATE = {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "run.json"}


def last_checkpoint(*files: str) -> set[str]:
    return {f"last-checkpoint/{file}" for file in files}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("pushed")


@pytest.fixture(scope="module")
def hub(directory):
    with FakeHub(forbidden=[str(directory), str(TESTS.parent), str(Path.home()) + "/", NAME]) as hub:
        times = 6  # as often as a request is made before it is given up
        # The last push of the first stage, after its checkpoints
        hub.fail_next("POST", "/api/validate-yaml", 500, times)
        hub.fail_next("POST", "/api/models/tester/adapter/commit/main", 500, times)
        hub.fail_next("POST", "/api/models/tester/full/commit/next", None, times)
        hub.fail_next("POST", "/api/models/tester/full/commit/next", 429, times)
        yield hub


@pytest.fixture(scope="module")
def output(hub, directory):
    environment = {
        **os.environ,
        **hub.env(directory / "cache"),
        "USER": "a_person_s_name",
        "LOGNAME": "a_person_s_name",
    }
    paths = [str(TESTS), str(TESTS.parent / "recipes"), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    command = [sys.executable, "-W", "ignore", str(TESTS / "student" / "pusher.py"), str(directory)]
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    assert TOKEN not in done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def seen(output):
    return json.loads(output[-1])


def test_nothing_private_is_uploaded(hub, seen, directory):
    """Beside what the Hub double refuses: paths, a name, the token, pickles that resuming does not need."""
    uploaded = list(hub.uploaded_bytes())
    assert {repository for repository, _, _ in uploaded} == {f"tester/{name}" for name in [*seen, "queue"]}
    for word in (TOKEN, NAME, str(directory), "training_args"):
        assert not [path for _, path, content in uploaded if word in path or word.encode() in content]


def test_checkpoint_lies_beside_the_model_and_one_commit_replaces_it(hub, seen):
    weights = {"config.json", "model.safetensors", "preprocessor_config.json", "alignment.json", *SENTENCE}
    there = MODEL | last_checkpoint(*weights, *STATE, "best/config.json", "best/model.safetensors")
    assert set(hub.ls("model", "tester/best")) == there
    titles = ["Aligned with hf_alignet", *(f"checkpoint-{step}" for step in (4, 3, 2, 1)), "initial commit"]
    assert hub.commit_titles("model", "tester/best") == titles
    state = json.loads(hub.read("model", "tester/best", "last-checkpoint/trainer_state.json"))
    assert state["global_step"] == 4 and state["best_global_step"] == 2 and state["best_model_checkpoint"] is None
    assert seen["best"]["left"] == []


def test_tags_and_license_of_the_user_are_in_the_card(hub, seen):
    card = ModelCard(hub.read("model", "tester/best", "README.md").decode()).data
    assert card.tags == [*TAGS, "emoji"] and card.license == "mit"


def test_run_goes_on_from_the_hub_to_the_same_weights_by_way_of_the_best(seen):
    assert seen["best"]["is_equal"]
    assert seen["best"]["checkpoints"] == ["checkpoint-2", "checkpoint-4"]


def test_adapter_is_resumed_and_its_base_named_not_shown(hub, seen, output):
    assert seen["adapter"]["is_equal"]
    checkpoint = last_checkpoint("adapter_config.json", "adapter_model.safetensors", *STATE)
    checkpoint |= last_checkpoint("preprocessor_config.json", "alignment.json", *SENTENCE)
    assert set(hub.ls("model", "tester/adapter")) == MODEL | checkpoint
    config = json.loads(hub.read("model", "tester/adapter", "last-checkpoint/adapter_config.json"))
    assert config["base_model_name_or_path"] == "base" and Path(seen["adapter"]["base_here"]).is_absolute()
    assert "nobody could load it" in seen["adapter"]["refused"]


def test_checkpoint_that_cannot_be_shared_is_a_warning(hub, output):
    (message,) = [line for line in output if line.startswith("checkpoint-1 is on the disk, but not shared")]
    assert "training goes on: the Hub is in trouble: try again in some minutes (500" in message
    assert hub.commit_titles("model", "tester/adapter")[3:6] == [f"checkpoint-{step}" for step in (4, 3, 2)]


def test_training_waits_for_no_upload_before_its_end_and_deletes_nothing_of_it(hub, seen):
    uploaded = seen["slow"]["uploaded"]
    assert uploaded["slow"] == ["checkpoint-1", "initial commit"]
    assert uploaded["queue"] == [*(f"checkpoint-{step}" for step in (4, 3, 2, 1)), "initial commit"]
    assert seen["slow"]["left"] == ["checkpoint-4", "checkpoint-4"]
    assert "last-checkpoint/optimizer.pt" in hub.ls("model", "tester/slow")


def test_interrupted_training_ends_what_it_is_sharing_and_whatever_fails_is_a_warning(seen, output, directory):
    assert seen["interrupted"]["uploaded"] == ["checkpoint-3", "checkpoint-1", "initial commit"]
    assert seen["interrupted"]["left"] == [f"checkpoint-{step}" for step in (1, 2, 3)]
    (told,) = [line for line in output if line.startswith(f"{directory}/interrupted/checkpoint-2 is not shared")]
    assert "training goes on: Expecting property name" in told


def test_copy_that_cannot_be_written_is_a_warning(output, directory):
    told = [line for line in output if line.startswith(f"{directory}/full/checkpoint-")]
    assert len(told) == 4 and "is not shared, training goes on" in told[0]


def test_failed_push_says_how_to_push_and_a_second_one_continues(hub, seen, directory):
    unwritten, dropped, limited, unnamed, public = seen["full"]["told"]
    again = f"by `hf-alignet publish model {directory}/full tester/full --revision next`"
    assert f"cannot write to {directory}/full: " in unwritten and f"; make room, and share it {again}" in unwritten
    assert "the connection to the Hub is broken" in dropped and "more than it allows" in limited
    for message in (dropped, limited):
        assert message.startswith(f"{directory}/full is complete, but not shared as tester/full: ")
        assert f"Share it {again}" in message
    assert set(hub.ls("model", "tester/full", "next")) == set(hub.ls("model", "tester/full", "v2")) == MODEL
    assert "Is a directory" in unnamed
    assert f"; share it by `hf-alignet publish model {directory}/named tester/named`" in unnamed
    assert "tester/full exists and is public" in public


def test_recipe_ends_with_one_line_when_all_is_saved(seen, directory):
    status, message = seen["recipe"]["whole"]
    assert status == 1
    assert message.startswith(
        f"error: {directory}/recipe is complete, but not shared as tester/recipe: the Hub is in "
    )
    assert MODEL | {"results.json", "before_after.png", "checkpoint-4"} <= set(seen["recipe"]["files"])


def test_recipe_goes_on_from_the_hub(seen, directory):
    assert seen["recipe"]["resumed"] == [0, ""]
    assert seen["recipe"]["weights"][0] == seen["recipe"]["weights"][1]
    status, message = seen["recipe"]["again"]
    assert status == 2
    assert f"{directory}/recipe2 is not empty: go on with it by --resume_from_checkpoint last" in message


def test_recipe_says_what_is_not_on_the_hub(seen):
    status, message = seen["recipe"]["missing"]
    assert (
        status == 2
        and "cannot get a checkpoint from 'tester/nothing' on the Hub, and there is no such directory here: there"
        in message
    )
    status, message = seen["recipe"]["empty"]
    assert status == 2 and "has no last-checkpoint: a run shares one with" in message


def test_checkpoints_are_shared_where_there_are_any(tmp_path):
    with pytest.raises(InputError, match="`hub_strategy` must be one of end, checkpoint, got 'every_save'"):
        AlignTrainingArguments(output_dir=str(tmp_path), push_to_hub=True, hub_strategy="every_save")
    for settings in ({}, {"push_to_hub": True, "save_strategy": "no"}):
        with pytest.raises(InputError, match="`hub_strategy=checkpoint` needs `push_to_hub`, and checkpoints"):
            AlignTrainingArguments(output_dir=str(tmp_path), hub_strategy="checkpoint", **settings)


def test_nothing_comes_from_the_hub_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match="cannot get a checkpoint from 'user/name'.*HF_HUB_OFFLINE is set"):
        find_checkpoint(str(tmp_path), "user/name")
    assert list(tmp_path.iterdir()) == []
    assert find_checkpoint(str(tmp_path), "last") is None
    (tmp_path / "checkpoint-50").mkdir()
    (tmp_path / "checkpoint-50" / "trainer_state.json").touch()
    assert find_checkpoint("out", "~/checkpoint-50") == f"{tmp_path}/checkpoint-50"
