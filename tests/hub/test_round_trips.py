"""Models, transforms and VICE to the Hub and back, each from processes that share nothing but the Hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakehub import FakeHub
from huggingface_hub import ModelCard

sys.path.insert(0, str(Path(__file__).parent))
from round_trips import BY_HAND, MODELS, TOWER, TRANSFORM, VICE  # noqa: E402

ROOT = Path(__file__).parents[2]


def run_stage(hub: FakeHub, folder: Path, stage: str) -> dict[str, np.ndarray]:
    environment = {**os.environ, **hub.env(folder / f"{stage}-cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    command = [sys.executable, "-W", "ignore", str(Path(__file__).parent / "round_trips.py"), stage, str(folder)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, f"stage {stage}:\n{done.stderr[-4000:]}\n{hub.requests[-5:]}"
    with np.load(folder / f"{stage}.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("round_trips")


@pytest.fixture(scope="module")
def hub(folder):
    with FakeHub(forbidden=[str(folder), str(ROOT), str(Path.home()) + "/"]) as hub:
        yield hub


@pytest.fixture(scope="module")
def pushed(hub, folder):
    return run_stage(hub, folder, "push")


@pytest.fixture(scope="module")
def stranger(hub, folder, pushed):
    return run_stage(hub, folder, "stranger")


@pytest.fixture(scope="module")
def friend(hub, folder, pushed):
    return run_stage(hub, folder, "friend")


@pytest.fixture(scope="module")
def told(friend) -> dict[str, str]:
    return json.loads(str(friend["told"]))


@pytest.mark.multi_process
@pytest.mark.parametrize("name", MODELS)
def test_the_snippet_of_a_card_gives_a_stranger_the_same_embeddings_bit_for_bit(name, pushed, stranger):
    np.testing.assert_array_equal(stranger[name], pushed[name])
    assert stranger[f"{name} similarities"].shape == (3, 3)


@pytest.mark.multi_process
@pytest.mark.parametrize("name", MODELS)
def test_sentence_transformers_gives_a_stranger_the_same_embeddings(name, hub, pushed, stranger):
    card = ModelCard(hub.read("model", f"tester/{name}", "README.md").decode()).text
    if name == "mean":  # of the patches, without registers, which it cannot leave out
        assert "Do not open it with sentence-transformers" in card
        assert "modules.json" not in hub.ls("model", f"tester/{name}")
    else:
        np.testing.assert_allclose(stranger[f"{name} sentence"], pushed[name], rtol=1e-5, atol=1e-5)
        assert f'SentenceTransformer("tester/{name}")' in card


@pytest.mark.multi_process
def test_a_pushed_adapter_names_its_base_and_a_merged_one_is_a_plain_model(hub, pushed):
    cards = {name: ModelCard(hub.read("model", f"tester/{name}", "README.md").decode()).data for name in MODELS}
    assert cards["adapter"].library_name == "peft" and cards["merged"].library_name == "transformers"
    assert {name: card.base_model for name, card in cards.items()} == {
        name: f"tester/{family}" for name, (family, _) in MODELS.items()
    }
    assert "adapter_config.json" in hub.ls("model", "tester/adapter")
    assert {"config.json", "model.safetensors"} <= set(hub.ls("model", "tester/merged"))
    assert json.loads(hub.read("model", "tester/merged", "config.json"))["model_type"] == "clip_vision_model"


@pytest.mark.multi_process
def test_no_adapter_is_published_that_auto_model_opens_without_it(hub, pushed):
    """Of a dual model AutoModel would run the whole, and leave an adapter of the vision tower out."""
    assert "'tester/clip' holds more than the vision tower" in str(pushed["refused"])
    assert "`merge_lora=True`" in str(pushed["refused"])
    assert not [path for repository, path, _ in hub.uploaded_bytes() if repository == TOWER]


@pytest.mark.multi_process
def test_ours_opens_an_adapter_of_a_tower_that_somebody_else_published(hub, pushed, friend):
    assert "adapter_model.safetensors" in hub.ls("model", BY_HAND)
    np.testing.assert_array_equal(friend["by-hand"], pushed["by-hand"])


@pytest.mark.multi_process
def test_transforms_and_vice_come_back(pushed, friend):
    for name in ("transform 1.0", "transform 2.0", "vice"):
        np.testing.assert_array_equal(friend[name], pushed[name])
    assert np.abs(pushed["transform 1.0"] - pushed["transform 2.0"]).max() > 0.1


@pytest.mark.multi_process
def test_snippets_of_a_teacher_and_of_vice_run(friend):
    np.testing.assert_allclose(friend["teacher"], friend["teacher expected"], rtol=1e-5, atol=1e-5)
    assert friend["teacher"].dtype == np.float32 and friend["features"].shape == (3, 32)
    np.testing.assert_allclose(friend["vice snippet"].sum(), 1, rtol=1e-5)


@pytest.mark.multi_process
@pytest.mark.parametrize(
    ("kind", "repository", "what"), [("AffineTransform", TRANSFORM, "the transform"), ("Vice", VICE, "the VICE")]
)
def test_what_is_not_there_is_an_error_of_one_kind(kind, repository, what, told):
    for place in ("tester/nowhere", f"{repository}@v7", "tester/vit"):
        assert told[f"{kind} {place}"].startswith(f"InputError: cannot open {what} {place!r}")
    assert told[f"{kind} private"].startswith(f"InputError: cannot open {what}")


@pytest.mark.multi_process
def test_a_transform_that_does_not_fit_is_refused(told):
    assert told["narrow"].startswith("InputError: the transform is of 7 features, but the embedding has 32")
    assert told["no transform"].startswith("InputError: cannot open the transform 'tester/nowhere'")


@pytest.mark.multi_process
def test_what_the_hub_knows_of_an_origin(hub, told):
    assert told["license not asked"] == told["license of nothing"] == "{}"
    assert told["license"] == "{'license': 'mit'}"
    assert told["info"] == "{'teacher': 'user/teacher', 'transform': None}" and told["no info"] == "{}"
    commits = {
        "model commit": ("model", "tester/vit"),
        "adapter commit": ("model", BY_HAND),
        "dataset commit": ("dataset", "tester/data"),
    }
    for name, (kind, repository) in commits.items():
        assert told[name] == hub.api.repository(kind, repository).at("main").oid
