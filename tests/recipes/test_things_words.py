"""The recipe of words: which choices are held out."""

import numpy as np
from recipe_scripts import RECIPES, load_script

FILE = RECIPES / "things-words" / "prepare.py"


def test_new_words_are_in_no_training_choice():
    prepare = load_script(FILE)
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
