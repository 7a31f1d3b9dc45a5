"""The comparison of recipes/context, on a small problem in the format of THINGS."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from recipe_scripts import RECIPES, load_script

from hf_alignet.encoder import AffineTransform

SCRIPT = RECIPES / "context" / "compare.py"


@pytest.fixture
def compare():
    return load_script(SCRIPT)


@pytest.mark.slow
def test_comparison(compare, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 4)).astype(np.float32)
    triplets = np.stack([rng.permutation(30)[:3] for _ in range(3000)]).astype(np.int16)
    np.save(tmp_path / "clip_vitb32_things_images_uid_order.npy", features)
    np.savez(tmp_path / "things_human_triplets.npz", train=triplets[:2500], test=triplets[2500:])
    repeated = pd.DataFrame(np.sort(triplets[:50], axis=1), columns=["id_lo", "id_mid", "id_hi"])
    repeated.assign(prop_max=rng.uniform(0.4, 1, 50)).to_csv(tmp_path / "repeated_triplets_prop_max.csv")
    AffineTransform.identity(4).save_pretrained(tmp_path / "out" / "ud")
    monkeypatch.setattr(compare, "NUM_OBJECTS", 30)
    monkeypatch.setattr(sys, "argv", ["compare.py", "--data", str(tmp_path), "--output", str(tmp_path / "out")])
    compare.main()
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    forms = {"UD", "constant", "third", "pair", "triplet"}
    assert set(found) == {"validation", "test", "hesitation"} and set(found["test"]) == forms
    change = found["test"]["triplet"]["cross_entropy, change from UD"]
    assert change["ci95"][0] < change["value"] < change["ci95"][1]

    # What the controls depend on: the weights of a pair by the third image alone, or by the pair alone
    data = compare.AffineData.checked(features, triplets[:500], np.eye(3)[rng.integers(3, size=500)], None)
    shown = np.array([[0, 1, third] for third in range(2, 9)])
    forms = compare.fitted_forms(AffineTransform.identity(4), data, 1e-3)
    spread = {name: np.ptp(form.similarities(features, shown)[:, 0]) for name, form in forms.items()}
    assert spread["constant"] < 1e-6 and spread["pair"] < 1e-6 and min(spread["third"], spread["triplet"]) > 1e-3
