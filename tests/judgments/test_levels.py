"""Levels in its published formats, its exclusions, its sets of trials, and majorities."""

import json
import logging
import math

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset, concatenate_datasets

from hf_alignet.errors import InputError
from hf_alignet.evaluation import leave_one_out
from hf_alignet.judgments import in_shared_sets, load_levels, majority, make_judgments, trial_sets
from hf_alignet.judgments.rows import column

DOG, CAT, CAR = "n02085620", "n02123045", "n02958343"
FINE = [f"{DOG}_1.JPEG", f"{DOG}_22.JPEG", f"{DOG}_3.JPEG"]
BOUNDARY = [f"{DOG}_1.JPEG", f"{CAR}_8.JPEG", f"{DOG}_22.JPEG"]
COARSE = [f"{CAT}_5.JPEG", f"{CAR}_8.JPEG", f"{DOG}_1.JPEG"]
CATCH = [f"{CAT}_5.JPEG", f"{CAT}_6.JPEG", f"{CAR}_8.JPEG"]
NAMES = sorted({*FINE, *BOUNDARY, *COARSE, *CATCH})
KEYS = {0: "ArrowLeft", 1: "ArrowDown", 2: "ArrowRight", None: "NoResponse"}


def event(images, chosen, rt=2000, kind="exp_trial", subject="participant_0", **more):
    """A trial as the experiment writes it; without an answer, `chosen` is None."""
    folder = "stimuli/catch_trials/" if kind == "catch_trial" else "stimuli/imagenet2012_human_eval/"
    paths = [folder + name for name in images]
    return {
        "rt": None if chosen is None else rt,
        "trial_type": "html-keyboard-response",
        "subject_id": subject,
        "prolific_id": "removed",
        **{f"image{i + 1}Path": path for i, path in enumerate(paths)},
        "exp_trial_type": kind,
        "keypress": KEYS[chosen],
        "catch_trial_correct": None if kind != "catch_trial" else chosen == 2,
        "selected_image": "No image selected" if chosen is None else paths[chosen],
        **more,
    }


def session(subject, trials=(), right=10, wrong=0, misses=0):
    """The events of a session: instructions, a fixation cross, training, trials, catch trials and misses."""
    return [
        {"trial_type": "instructions", "rt": 500, "subject_id": subject},
        event(FINE, 0, subject=None),
        {"trial_type": "html-keyboard-response", "rt": None, "stimulus": "+", "subject_id": subject},
        event(FINE, 0, kind="training_trial", subject=subject),
        *(event(*trial, subject=subject) for trial in trials),
        *(event(CATCH, 2, kind="catch_trial", subject=subject) for _ in range(right)),
        *(event(CATCH, 0, kind="catch_trial", subject=subject) for _ in range(wrong)),
        *(event(FINE, None, subject=subject) for _ in range(misses)),
    ]


def write(folder, sessions, lines=True):
    folder.mkdir(exist_ok=True)
    for name, events in sessions.items():
        text = "\n".join(map(json.dumps, events)) if lines else json.dumps(events)
        (folder / f"{name}.json").write_text(text)
    return folder


@pytest.mark.parametrize("lines", [True, False])
def test_raw_results(tmp_path, lines):
    trials = [(FINE, 0, 1500), (BOUNDARY, 1, 900), (COARSE, 2, 3200)]
    folder = write(tmp_path / "raw", {"2024-04-11 12_00_00": session("participant_7", trials)}, lines)
    judgments, names, exclusions = load_levels(folder)
    assert names == NAMES
    experiment = judgments.filter(lambda row: not row["is_catch"])
    assert experiment["level"][:] == ["fine", "boundary", "coarse"]
    assert experiment["rt"][:] == [pytest.approx(1.5), pytest.approx(0.9), pytest.approx(3.2)]
    assert set(judgments["participant"][:]) == {"participant_7.2024-04-11 12_00_00"}
    for row, (images, chosen, _) in zip(experiment, trials, strict=True):
        assert [names[i] for i in row["triplet"]] == images and row["odd"] == chosen
    catch = judgments.filter(lambda row: row["is_catch"])
    assert len(catch) == 10 and set(catch["level"][:]) == {None}
    assert exclusions._asdict() == {
        "participants": 1, "trials": 13, "careless": 0, "absent": 0, "their_trials": 0, "missed": 0, "slow": 0,
    }  # fmt: skip


def test_exclusions_are_counted(tmp_path, caplog):
    trials = [(FINE, 0, 1500), (BOUNDARY, 1, 10_000), (COARSE, 2, 10_001)]
    sessions = {
        "a": session("participant_1", trials, misses=10),  # 10 misses are allowed, and 10 s are not over 10 s
        "b": session("participant_2", trials, misses=11),
        "c": session("participant_3", trials, right=14, wrong=2),  # 87.5 %
        "d": session("participant_4", trials, right=9, wrong=1),  # 90 %
        "e": session("participant_5", trials, right=1, wrong=1, misses=20),  # careless and absent count once
    }
    folder = write(tmp_path / "raw", sessions)
    with caplog.at_level(logging.INFO):
        judgments, _, exclusions = load_levels(folder)
    assert exclusions.participants == 5 and exclusions.trials == 23 + 24 + 19 + 13 + 25
    assert (exclusions.careless, exclusions.absent, exclusions.their_trials) == (2, 1, 24 + 19 + 25)
    assert (exclusions.missed, exclusions.slow) == (10, 2)
    assert len(judgments) == exclusions.trials - exclusions.their_trials - exclusions.missed - exclusions.slow
    assert {name.split(".")[0] for name in judgments["participant"][:]} == {"participant_1", "participant_4"}
    assert "careless 2, absent 1" in caplog.text
    everything = load_levels(folder, min_catch_accuracy=0, max_misses=99, slowest=math.inf)
    assert everything.exclusions[2:] == (0, 0, 0, 41, 0) and len(everything.judgments) == 104 - 41


def test_catch_trials_without_a_verdict_are_judged_by_class(tmp_path):
    events = session("participant_1", [(FINE, 0, 1500)], right=14, wrong=2)
    events += session("participant_2", [(FINE, 1, 1500)], right=15, wrong=1)
    folder = write(
        tmp_path / "raw", {"a": [{k: v for k, v in e.items() if k != "catch_trial_correct"} for e in events]}
    )
    judgments, _, exclusions = load_levels(folder)
    assert exclusions.careless == 1 and set(judgments["participant"][:]) == {"participant_2.a"}


def test_two_people_in_one_place_are_two(tmp_path):
    folder = write(tmp_path / "raw", {k: session("participant_7", [(FINE, i, 900)]) for i, k in enumerate("ab")})
    judgments = load_levels(folder).judgments
    assert set(judgments["participant"][:]) == {"participant_7.a", "participant_7.b"}


def test_processed_table(tmp_path):
    trials = [(FINE, 0, "within_class"), (BOUNDARY, 1, "class_border"), (COARSE, 2, "between_class")]
    rows = [
        {
            "subject_id": f"participant_{k}",
            "rt": 1000 * (k + 1),
            **{f"image{i + 1}Path": name for i, name in enumerate(images)},
            "selected_image": images[chosen],
            "exp_trial_type": "exp_trial",
            "triplet_type": kind,
        }
        for k in range(2)
        for images, chosen, kind in trials
    ]
    path = tmp_path / "pruned_dataset.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    names = ["other.png", *(f"n0/{name.removesuffix('.JPEG')}.jpg" for name in reversed(NAMES))]
    judgments, found, exclusions = load_levels(path, names)
    assert exclusions[:5] == (2, 6, 0, 0, 0) and "is_catch" in judgments.column_names
    assert judgments["level"][:3] == ["fine", "boundary", "coarse"] and judgments["rt"][:] == [1, 1, 1, 2, 2, 2]
    assert [found[i] for i in judgments["triplet"][0]] == [name.replace("JPEG", "jpg") for name in FINE]


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "pruned_dataset.pkl"
    path.touch()
    with pytest.raises(InputError, match="is a pickle, and reading it could run any program"):
        load_levels(path)


def table(path, rename=None, **columns):
    rows = [event(FINE, 0), event(BOUNDARY, 1), event(COARSE, 2)]
    frame = pd.DataFrame(rows).drop(columns=["catch_trial_correct"]).assign(**columns)
    frame.rename(columns=rename or {}).to_csv(path, index=False)
    return path


def test_names_of_columns_are_matched_whatever_their_spelling(tmp_path):
    spelled = {"image1Path": "Image_1", "image2Path": "image 2 path", "subject_id": "Participant ID", "rt": "RT"}
    judgments = load_levels(table(tmp_path / "levels.csv", spelled)).judgments
    assert judgments["odd"][:] == [0, 1, 2] and judgments["rt"][:] == [2, 2, 2]


def test_missing_fields_are_named_with_those_found(tmp_path):
    path = table(tmp_path / "levels.csv", {"rt": "speed", "selected_image": "answer"})
    with pytest.raises(InputError, match=r"lacks choice \(selected_image or odd_one_out\); rt .*it has speed, trial"):
        load_levels(path)


def test_what_cannot_be_levels(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no .json files"):
        load_levels(tmp_path / "empty")
    with pytest.raises(InputError, match="is no file of Levels"):
        load_levels(tmp_path / "levels.mat")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="as JSON"):
        load_levels(tmp_path / "bad.json")
    with pytest.raises(InputError, match="no experimental trials"):
        load_levels(table(tmp_path / "levels.csv", exp_trial_type="break"))
    with pytest.raises(InputError, match="look like seconds"):
        load_levels(table(tmp_path / "levels.csv", rt=2.5))
    with pytest.raises(InputError, match="no trial .* is left"):
        load_levels(table(tmp_path / "levels.csv", rt=11_000))
    with pytest.raises(InputError, match="not all numbers"):
        load_levels(table(tmp_path / "levels.csv", rt=["fast", "slow", "1"]))


def test_image_that_the_images_do_not_have(tmp_path):
    with pytest.raises(InputError, match=rf"not among the 6: '{CAR}_8.JPEG' \(close: "):
        load_levels(table(tmp_path / "levels.csv"), [name.replace(f"{CAR}_8", f"{CAR}_9") for name in NAMES])


def test_level_by_field_where_names_tell_no_class(tmp_path):
    plain = {f"image{i + 1}Path": [f"{i}.png"] * 3 for i in range(3)} | {"selected_image": "1.png"}
    kinds = {"triplet_class": ["within_class", "class_boundary", "between_class"]}
    judgments = load_levels(table(tmp_path / "levels.csv", **plain, **kinds), min_catch_accuracy=0).judgments
    assert judgments["level"][:] == ["fine", "boundary", "coarse"]
    with pytest.raises(InputError, match="level of the images 0.png, 1.png, 2.png is not known"):
        load_levels(table(tmp_path / "levels.csv", **plain))


def test_trial_sets_are_chains_of_shared_triplets():
    """Two sets of participants; all share a catch trial, and c and d, who share no triplet, each share one with e."""
    seen = {
        "a": [[0, 1, 2], [3, 4, 5]],
        "b": [[2, 1, 0]],
        "c": [[6, 7, 8]],
        "d": [[8, 9, 10]],
        "e": [[8, 7, 6], [10, 9, 8]],
    }
    rows = [(who, triplet, False) for who, triplets in seen.items() for triplet in triplets]
    rows += [(who, [20, 21, 22], True) for who in seen]
    judgments = make_judgments(
        np.array([row[1] for row in rows]),
        np.zeros(len(rows), int),
        participant=[row[0] for row in rows],
        is_catch=np.array([row[2] for row in rows]),
    )
    sets = dict(zip(judgments["participant"][:], trial_sets(judgments).tolist(), strict=True))
    assert sets["a"] == sets["b"] != sets["c"] and sets["c"] == sets["d"] == sets["e"]
    assert set(sets.values()) == {0, 1}
    assert in_shared_sets(judgments).all()
    alone = make_judgments(np.array([[30, 31, 32]]), [0], participant=["f"], is_catch=np.array([False]))
    np.testing.assert_array_equal(
        in_shared_sets(concatenate_datasets([alone, judgments])), [False] + len(rows) * [True]
    )
    with pytest.raises(InputError, match="need the participant"):
        trial_sets(judgments.remove_columns("participant"))


def test_majority_equals_a_loop():
    rng = np.random.default_rng(0)
    triplets = np.stack([rng.permutation(9)[:3] for _ in range(600)])
    odd = rng.integers(3, size=600)
    answers = majority(make_judgments(triplets, odd), min_raters=4)
    votes: dict[tuple, list] = {}
    for triplet, position in zip(triplets.tolist(), odd.tolist(), strict=True):
        votes.setdefault(tuple(sorted(triplet)), []).append(triplet[position])
    expected, tied, few = {}, 0, 0
    for triplet, chosen in votes.items():
        counts = sorted((chosen.count(image) for image in triplet), reverse=True)
        if len(chosen) < 4:
            few += 1
        elif counts[0] == counts[1]:
            tied += 1
        else:
            expected[triplet] = max(triplet, key=chosen.count)
    found = {tuple(t): t[o] for t, o in zip(answers.triplets.tolist(), answers.odd.tolist(), strict=True)}
    assert found == expected and (answers.num_tied, answers.num_few) == (tied, few) and tied and few


def test_ceiling_is_the_authors():
    """A choice among two that are tied for the mode of the others counts half."""
    judgments = Dataset.from_dict({"triplet": [[0, 1, 2]] * 5, "odd": [0, 0, 1, 1, 2]})
    assert leave_one_out(judgments)["value"] == 0  # without a 0 the mode is 1; without the 2, 0 and 1 are tied
    judgments = Dataset.from_dict({"triplet": [[0, 1, 2]] * 5, "odd": [0, 0, 0, 1, 1]})
    assert leave_one_out(judgments)["value"] == pytest.approx((3 * 0.5 + 2 * 0) / 5)


def test_repeats_in_processed_data_are_kept(tmp_path):
    trial = {f"image{i + 1}Path": name for i, name in enumerate(FINE)} | {"selected_image": FINE[0], "rt": 1200}
    rows = [trial | {"subject_id": "participant_126", "exp_trial_type": "exp_trial"}] * 2
    pd.DataFrame(rows).to_csv(tmp_path / "levels.csv", index=False)
    judgments = load_levels(tmp_path / "levels.csv").judgments
    assert len(judgments) == 2 and column(judgments, "odd").tolist() == [0, 0]
