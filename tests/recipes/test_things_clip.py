"""The scripts of things-clip, on a small problem in its files' formats."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from recipe_scripts import RECIPES, load_script
from scipy.special import softmax

from hf_alignet.encoder import AffineTransform
from hf_alignet.judgments import load_similarity_matrix, make_judgments
from hf_alignet.teacher import Vice

FOLDER = RECIPES / "things-clip"


def script(name, monkeypatch, *flags):
    """A script of the folder, ready for its `main`."""
    module = load_script(FOLDER / f"{name}.py")
    monkeypatch.setattr(module, "NUM_OBJECTS", 30, raising=False)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, flags)])
    return module


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """A folder like that of THINGS, of 30 objects, and a teacher that has nothing to learn."""
    folder = tmp_path_factory.mktemp("things")
    rng = np.random.default_rng(0)
    embedding = rng.gamma(0.7, 0.9, (30, 4)).astype(np.float32)
    triplets = np.stack([rng.permutation(30)[:3] for _ in range(4000)])
    a, b, c = (embedding[triplets[:, i]] for i in range(3))
    logits = np.stack([(b * c).sum(1), (a * c).sum(1), (a * b).sum(1)], 1)
    odd = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    order = np.argsort(np.arange(3) == odd[:, None], axis=1, kind="stable")
    files = np.take_along_axis(triplets, order, 1).astype(np.int16)  # the odd one out last
    np.savez(folder / "things_human_triplets.npz", train=files[:3500], test=files[3500:])
    np.save(folder / "clip_vitb32_things_images_uid_order.npy", embedding)
    np.save(folder / "vice_42d_uid_order.npy", embedding)
    np.save(folder / "RDM48.npy", -embedding @ embedding.T)
    pd.DataFrame({"uniqueID": list(map(str, range(30))), "uid_index": range(30)}).to_csv(folder / "RDM48_order.csv")
    rows = np.sort(triplets[:200], axis=1)
    table = pd.DataFrame(rows, columns=["id_lo", "id_mid", "id_hi"])
    raters = np.arange(200) % 100 + 10
    probabilities = softmax(logits[:200].astype(np.float64), axis=1)
    shares = rng.multinomial(raters, probabilities).max(1) / raters
    table.assign(prop_max=shares, n_per_triplet=raters).to_csv(folder / "repeated_triplets_prop_max.csv")
    settings = {"num_dimensions": 6, "min_objects": 1, "max_epochs": 100, "burn_in": 50, "window": 30, "settle": 20}
    vice = Vice(**settings).fit(make_judgments(triplets[:3500], odd[:3500]), 30, progress=False)
    AffineTransform.identity(4).save_pretrained(folder / "teacher")
    vice.save_pretrained(folder / "teacher" / "vice")

    np.save(folder / "spose_66d_rescaled_uid_order.npy", embedding)
    (folder / "spose66_dimension_labels.txt").write_text("a\nb\nc\nd\n")
    names = [f"x{i}" for i in range(30)]
    halves = pd.DataFrame({"uniqueID": names, "Word": names, "low": [1.0] * 15 + [None] * 15, "all": 1.0})
    halves.to_csv(folder / "categories_53_uid_order.csv", index=False)
    pd.DataFrame({"uid_index": range(30), "uniqueID": names})[::-1].to_csv(folder / "uid_order.csv", index=False)
    return folder


def test_report(things, monkeypatch):
    script("report", monkeypatch, "--data", things, "--teacher", things / "teacher").main()
    found = json.loads((things / "teacher" / "report.json").read_text())
    assert found["rdm48"]["n"] == 30 * 29 // 2 and found["rdm48"]["value"] > 0.5
    hesitation = found["hesitation, all raters"]
    assert hesitation["published_vice_mean"]["value"] == pytest.approx(hesitation["transform"]["value"])
    assert 0.8 < hesitation["transform"]["ci95"][0] < hesitation["transform"]["value"] < 1
    assert found["hesitation, 90 or more raters"]["vice"]["n"] == 40
    assert [row["choices"] for row in found["learning_curve"]] == [875, 1750, 3500]
    assert found["test"]["vice"]["accuracy"] > 0.5


def test_breakdown(things, monkeypatch):
    script("breakdown", monkeypatch, "--data", things, "--teacher", things / "teacher").main()
    found = json.loads((things / "teacher" / "breakdown.json").read_text())
    accuracy = found["accuracy"]["clip"]
    assert accuracy["value"] > 0.5 and accuracy["unit"] == "objects"
    everything = found["by_category"]["vice"]["all"]
    assert (everything["value"], everything["n"]) == (accuracy["value"], 500)
    assert 100 < found["by_category"]["vice"]["low"]["n"] < 400
    assert sum(metric["n"] for metric in found["by_dimension"]["clip"].values()) == 500
    assert all(metric["value"] > 0.9 for metric in found["dimensions_predicted"]["vice"]["r2"].values())
    assert all(row["agreement"] == row["p_value"] == 1 for row in found["comparison"])
    assert found["rdm48, choice probabilities of vice"]["value"] > 0.8


def test_names_for_an_evaluation(things, tmp_path, monkeypatch):
    script("prepare", monkeypatch, "--data", things, "--output_dir", tmp_path).main()
    assert (tmp_path / "names.txt").read_text().splitlines() == [f"x{i}" for i in range(30)]
    matrix = load_similarity_matrix(tmp_path / "rdm48.csv", "dissimilarity")
    assert matrix.names == [str(i) for i in range(30)]
    np.testing.assert_allclose(matrix.matrix, np.load(things / "RDM48.npy"), rtol=1e-6)
