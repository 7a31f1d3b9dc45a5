"""`hf-alignet explore` opens models, pictures and judgments, and keeps embeddings; tests/explore has the page."""

import sys

import pandas as pd
import pytest

from hf_alignet.cli.explore import main
from hf_alignet.errors import InputError
from hf_alignet.explore.gradio_page import gradio
from hf_alignet.triplets.triplet_dataset import triplets_from_arrays
from hf_alignet.workflows import exploration_run

pytest.importorskip("gradio", reason="the extra app is not installed")


@pytest.fixture
def served(monkeypatch, tmp_path):
    """The pages that would be served, in an empty folder."""
    pages = []

    def serve(page, host, port, share):
        pages.append((page, host, port, share))
        page.blocks.block_thread = lambda: None
        return "http://127.0.0.1:7860/"

    monkeypatch.setattr(exploration_run, "serve", serve)
    monkeypatch.chdir(tmp_path)
    return pages


def test_models_pictures_and_choices_become_a_page(served, tiny_directory, pictures, tmp_path):
    (tmp_path / "mine").mkdir()
    for row, picture in enumerate(pictures):
        picture.save(tmp_path / "mine" / f"{row:02d}.png")
    names = [[f"{(row + step) % 24:02d}.png" for step in (0, 5, 11)] for row in range(24)]
    choices = pd.DataFrame(names, columns=["image_1", "image_2", "image_3"])
    choices["odd_one_out"] = choices.image_2
    choices.to_csv("choices.csv", index=False)
    words = ["--base", str(tiny_directory("vit")), "--aligned", str(tiny_directory("dinov2")), "--images", "mine"]
    words += ["--judgments", "choices.csv", "--disable_tqdm"]
    main(words)
    (page, host, port, share), found = served[0], served[0][0].exploration
    assert (host, port, share) == ("127.0.0.1", None, False)
    assert found.models == ["vit", "dinov2"] and found.judged.judge == "people" and len(found.judged.triplets) == 24
    assert page.embed(pictures[3])["vit"] == pytest.approx(found.embeddings["vit"][3], abs=1e-5)
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "outputs" / "explore").rglob("embeddings.npy")}
    assert sorted(file.parents[1].name for file in kept) == ["mine", "mine"]
    main(words)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept  # nothing is embedded again


def test_the_demo_needs_nothing(served, monkeypatch, caplog):
    images = exploration_run.demo_images().select(range(30))
    monkeypatch.setattr(exploration_run, "demo_images", lambda: images)
    monkeypatch.setattr(exploration_run, "demo_triplets", lambda images: {"train": None, "coarse": _triplets()})
    main(["--disable_tqdm"])
    assert served[0][0].exploration.models == ["base"]
    assert served[0][0].exploration.judged.judge == "simulated raters"
    assert "run `hf-alignet demo`" in caplog.text


def _triplets():
    return triplets_from_arrays([[0, 1, 2], [3, 4, 5]], [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--base", "x"], "give --images with your models and judgments, or none of them for the demo"),
        (["--images", "mine"], "give --base, the model before alignment"),
        (["--port", "0"], "--port must be an integer (at least 1 and at most 65535), got 0"),
        (["--base", "x", "--aligned", "x", "--images", "mine"], "--base and --aligned name 'x' twice"),
    ],
)
def test_errors_are_one_line(words, message, served, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2 and message in capsys.readouterr().err.strip().splitlines()[-1]
    assert served == []


def test_without_gradio_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(InputError, match=r'needs Gradio: pip install "hf-alignet\[app\]"'):
        gradio()
