"""The recipe of words: which choices are held out."""

import importlib.util
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[2] / "recipes" / "things-words" / "prepare.py"


def test_new_words_are_in_no_training_choice():
    spec = importlib.util.spec_from_file_location("prepare", FILE)
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)
    rng = np.random.default_rng(0)
    train, test = (np.stack([rng.permutation(50)[:3] for _ in range(number)]) for number in (900, 300))
    splits = prepare.split_choices(train, test, 50, seed=1)
    rows = {name: np.array(split["triplet"][:]) for name, split in splits.items()}
    known, new = np.unique(rows["train"]), np.unique(rows["new_words"])
    assert len(known) == 40 and not set(known) & set(new)
    assert set(np.unique(rows["new_questions"])) <= set(known)
    given = {tuple(row) for row in train.tolist()}
    assert {tuple(row) for row in rows["train"].tolist()} <= given
    assert all(
        min(len(part) for part in rows.values()) > 0 and set(split["odd"][:]) == {2} for split in splits.values()
    )
