"""The demo with --report: the aligned encoder is analysed on the emoji. Training itself is tested elsewhere."""

from pathlib import Path

import pytest

from hf_alignet.cli import demo
from hf_alignet.demo import ENCODER_DIRECTORY
from hf_alignet.errors import InputError


@pytest.fixture
def calls(monkeypatch):
    """What is aligned and analysed, in order, without doing it."""
    found = []
    monkeypatch.setattr(demo, "demo_triplets", lambda images: {"train": len(images), "coarse": len(images)})
    monkeypatch.setattr(demo, "align_command", lambda settings, lora, args, line: found.append(("align", line)))
    monkeypatch.setattr(demo, "analyze", lambda *models, **settings: found.append((models, settings)))
    return found


def run(*flags):
    demo.COMMAND.call(demo.demo_command, list(map(str, flags)))


def test_there_is_no_report_unless_asked_for(calls, tmp_path):
    run("--output_dir", tmp_path / "out")
    assert calls == [("align", "hf-alignet demo")]


def test_the_report_is_beside_the_aligned_model(calls, tmp_path):
    out = tmp_path / "out"
    run("--report", "--output_dir", out, "--seed", 7)
    assert calls[0] == ("align", "hf-alignet demo --seed 7 --report")
    (base, aligned, images), settings = calls[1]
    assert Path(base) == ENCODER_DIRECTORY and Path(aligned) == out
    assert Path(settings["output_dir"]) == tmp_path / "out-report" and settings["seed"] == 7
    assert {"concept", "subgroup", "group"} <= set(images.column_names)
    assert settings["judgments"] == {"coarse": len(images)}  # of what was not trained on


def test_images_of_ones_own_have_no_report_here(calls, tmp_path):
    with pytest.raises(InputError, match="--report is about the emoji of the demo"):
        run("--report", "--images", "x", "--triplets", "y", "--output_dir", tmp_path / "out")
    assert calls == []
