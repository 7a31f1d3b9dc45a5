import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from PIL import Image

from hf_alignet.analysis import (
    before_after_figure,
    benchmark_figure,
    calibration_figure,
    curves_figure,
    trade_off_figure,
)


def is_drawn(file) -> bool:
    with Image.open(file) as picture:
        return picture.format == "PNG" and len(picture.convert("RGB").getcolors(1 << 20)) > 10


@pytest.mark.parametrize("show_pictures", [True, False])
def test_pictures_are_shown_only_if_they_may_be(show_pictures, tmp_path):
    metric = {"demo/coarse/odd_one_out_accuracy": {"value": 0.5, "n": 9, "chance": 1 / 3, "ci95": [0.4, 0.6]}}
    images = Dataset.from_dict({"image": [Image.new("RGB", (8, 8), "magenta")] * 12})
    embeddings = np.random.default_rng(0).normal(size=(2, 12, 4))
    before_after_figure(
        tmp_path / "a.png", metric, metric, images, np.arange(12), *embeddings, show_pictures=show_pictures
    )
    assert is_drawn(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as figure:
        colours = {colour for _, colour in figure.convert("RGB").getcolors(1 << 20)}
    assert ((255, 0, 255) in colours) == show_pictures


def test_curves_of_several_runs(tmp_path):
    x = np.arange(5.0)
    runs = [np.stack([x, x**2 + shift], 1) for shift in (0, 1)]
    curves_figure(tmp_path / "a.png", {"one": runs, "two": runs[:1]}, "images", "agreement", base=0.5)
    assert is_drawn(tmp_path / "a.png")


def test_more_runs_than_colours(tmp_path):
    ends = {f"run {i}": np.array([i / 20, 0.4]) for i in range(12)}
    trade_off_figure(tmp_path / "a.png", ends, (0.5, 0.3), "accuracy", "agreement")
    assert is_drawn(tmp_path / "a.png")


def test_calibration(tmp_path):
    table = pd.DataFrame({"predicted": [0.1, 0.5, 0.9], "observed": [0.2, 0.4, 0.8]})
    calibration_figure(tmp_path / "a.png", {"base": table, "aligned": table / 2})
    assert is_drawn(tmp_path / "a.png")


@pytest.mark.filterwarnings("error")
def test_models_beside_chance_and_people(tmp_path):
    metric = {"value": 0.5, "n": 9, "chance": 1 / 3, "ci95": [0.4, 0.6]}
    accuracies = {f"levels/{level}/odd_one_out_accuracy": metric for level in ("coarse", "fine")}
    more = {"levels/all/response_time_spearman": metric | {"value": -0.2, "ci95": [-0.3, 0.1], "chance": 0.0}}
    name = "a/very/long/path/to/a/model/that/is/called/like/another/one"
    benchmark_figure(tmp_path / "a.png", {"one": accuracies | more, name: accuracies}, accuracies)
    benchmark_figure(tmp_path / "b.png", {"one": {"rdm48/rsa_spearman": metric}}, {})
    assert is_drawn(tmp_path / "a.png") and is_drawn(tmp_path / "b.png")
