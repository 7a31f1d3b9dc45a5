"""The report of recipes/frontier, and its student of last blocks; its runs take minutes and are not run."""

import json

import numpy as np
import pytest
import torch
import yaml
from recipe_scripts import RECIPES, load_script

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.images.reader import ImageReader

FOLDER = RECIPES / "frontier"


def load(name):
    return load_script(FOLDER / f"{name}.py")


def test_frontier_has_what_nothing_else_beats_and_means_are_over_seeds(tmp_path):
    report = load("report")

    def write(name, seed, agreement, shot, auto):
        values = dict.fromkeys([*report.FEW_SHOT, *report.KEPT], shot)
        points = {"1.0": values | {"agreement": agreement}, "0.6": values | {"agreement": agreement - 0.1}}
        content = {"setting": {"name": name, "seed": seed}, "points": points, "auto": auto}
        (tmp_path / f"{name}-{seed}.json").write_text(json.dumps(content))

    for name, seed, agreement, shot, auto in [
        ("a", 0, 0.5, 0.3, 0.6),
        ("a", 1, 0.7, 0.4, 1.0),
        ("b", 0, 0.5, 0.3, 0.6),
        ("c", 0, 0.4, 0.6, 1.0),
    ]:
        write(name, seed, agreement, shot, auto)
    base = dict.fromkeys([*report.FEW_SHOT, *report.KEPT, "agreement"], 0.35)
    (tmp_path / "base.json").write_text(json.dumps({"points": {"1.0": base}}))
    found = report.points(tmp_path)
    assert found["a"]["1.0"]["seeds"] == 2 and found["a"]["1.0"]["agreement"] == pytest.approx(0.6)
    assert found["a"]["auto"]["share"] == pytest.approx(0.8) and found["a"]["auto"]["agreement"] == pytest.approx(0.55)
    assert {name for name, _ in report.on_frontier(found)} == {"a", "c"}
    lines = report.table(found).splitlines()
    assert "| base | 1 | 0.350 | 0.350 | 0.350 | 0.350 | 0.350 | 0.350 |  |" in lines
    auto = "0.8: 0.550, +0.000, +0.000"
    assert f"| **a** | 2 | 0.600 | +0.000 | +0.000 | +0.000 | 0.350 | 0.350 | {auto} |" in lines
    assert "| **c** | 1 | 0.400 | +0.250 | +0.250 | +0.250 | 0.600 | 0.600 |  |" in lines  # auto: the trained


@pytest.mark.parametrize("family", ["vit", "dinov2"])
def test_the_last_blocks_give_the_embeddings_of_the_whole(tiny_directory, tmp_path, images, family):
    tail = load("tail")
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)), pooling="cls").eval()
    reader, rows = ImageReader(images, encoder.preprocessor), np.arange(6)
    tokens = tail.first_blocks(encoder, reader, rows, 1, tmp_path / "tokens.npy")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = encoder(**reader.read(rows.tolist())).numpy()
    np.testing.assert_array_equal(tail.Tail(encoder, 1).embed(tokens, rows), expected)


def test_settings_are_known():
    sweep = load("sweep")
    settings = [sweep.Setting(**given) for given in yaml.safe_load((FOLDER / "settings.yaml").read_text())]
    assert len({(s.name, s.seed) for s in settings}) == len(settings)
    assert settings[0] == sweep.Setting(name="triplets")
