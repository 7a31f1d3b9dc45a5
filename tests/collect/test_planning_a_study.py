"""Plans: each triplet in exactly so many trial sets, balanced orders, pictures for browsers, and what is refused."""

import sqlite3
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_study import change_yaml, make_study, write_pictures

from hf_alignet.collect.brought_results import import_results
from hf_alignet.collect.collected_answers import export_study
from hf_alignet.collect.informative_triplets import expected_information
from hf_alignet.collect.static_site import build_static
from hf_alignet.collect.study_database import open_study
from hf_alignet.collect.study_making import init_study
from hf_alignet.collect.trial_order import blocks_of, trial_sets_of
from hf_alignet.errors import InputError
from hf_alignet.judgments import load_judgments
from hf_alignet.teacher import Vice


@pytest.mark.parametrize("repeats", [1, 2, 3, 5, 6])
def test_each_triplet_is_in_exactly_so_many_sets(repeats):
    rng = np.random.default_rng(0)
    levels = np.array(["a", "b", "c"] * 20)
    sets = trial_sets_of(blocks_of(levels, 4, rng), repeats, np.array([60, 61]), np.array([62]), rng)
    counts = Counter((trial.triplet, number) for number, trials in enumerate(sets) for trial in trials)
    assert max(counts.values()) == 1 and len(sets) == 4 * repeats
    of_triplet = Counter(triplet for triplet, _ in counts)
    assert {of_triplet[number] for number in range(60)} == {repeats}
    assert {of_triplet[number] for number in (60, 61, 62)} == {len(sets)}
    for trials in sets:
        assert trials[0].triplet == 62 and len(trials) == 18
        assert Counter(levels[trial.triplet] for trial in trials if trial.triplet < 60) == {"a": 5, "b": 5, "c": 5}


def test_latin_squares_balance_places_and_times():
    rng = np.random.default_rng(1)
    sets = trial_sets_of(np.arange(30)[None], 3, np.array([], int), np.array([], int), rng)
    for number in range(30):
        shown = [trial.shown for trials in sets for trial in trials if trial.triplet == number]
        assert all(len({order[place] for order in shown}) == 3 for place in range(3))
        times = [[trial.triplet for trial in trials].index(number) // 10 for trials in sets]
        assert sorted(times) == [0, 1, 2]


def test_pictures_are_what_browsers_show(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("CMYK", (900, 30), (0, 255, 255, 0)).save(folder / "a.tif")
    Image.fromarray(np.linspace(0, 65535, 900, dtype=np.uint16).reshape(30, 30)).save(folder / "b.png")
    Image.new("RGBA", (30, 30), (0, 0, 255, 0)).save(folder / "c.png")
    small = {"num_participants": 1, "trials": 1, "repeats": 1, "catch_trials": 0, "practice_trials": 0}
    told = init_study(str(tmp_path / "study"), str(folder), progress=False, **small)
    assert "1 triplets of 3 pictures" in told
    shown = [Image.open(file) for file in sorted((tmp_path / "study" / "pictures").iterdir())]
    assert all(picture.format == "WEBP" and picture.mode == "RGB" for picture in shown)
    assert shown[0].size == (600, 20) and shown[0].getpixel((0, 0))[0] > 200
    assert np.ptp(np.asarray(shown[1])) > 200 and min(shown[2].getpixel((0, 0))) > 250


def test_a_dry_run_writes_nothing(tmp_path):
    write_pictures(tmp_path / "pictures")
    told = init_study(
        *(str(tmp_path / "study"), str(tmp_path / "pictures")),
        **{"num_participants": 4, "trials": 6, "repeats": 2, "dry_run": True, "progress": False, "catch_trials": 2},
    )
    assert "12 triplets" in told and "minutes" in told and "together" in told
    assert not (tmp_path / "study").exists()


def test_triplets_and_catch_trials_come_from_tables(tmp_path):
    write_pictures(tmp_path / "pictures")
    wanted = pd.DataFrame([("p00", "p01", f"p{i}{j}") for i in (1, 2, 3) for j in range(4)])
    wanted.columns = ["image_1", "image_2", "image_3"]
    wanted.to_csv(tmp_path / "wanted.csv", index=False)
    catch = pd.DataFrame([("p02.png", "p03.png", f"p{i}0.png") for i in (1, 2, 3)], columns=wanted.columns)
    catch.assign(odd_one_out=catch["image_3"]).to_csv(tmp_path / "catch.csv", index=False)
    tables = {"triplets": str(tmp_path / "wanted.csv"), "catch": str(tmp_path / "catch.csv")}
    study = make_study(tmp_path, **tables)
    connection = sqlite3.connect(study / "study.sqlite3")
    found = connection.execute("SELECT kind, odd, first, second FROM triplets ORDER BY number").fetchall()
    connection.close()
    assert Counter(row[0] for row in found) == {"trial": 12, "catch": 2, "practice": 1}
    assert {row[1] for row in found[12:]} == {2} and {row[2:] for row in found[:12]} == {(0, 1)}


def test_vice_chooses_what_it_knows_least(tmp_path):
    """Objects 0 to 2 have a wide posterior, and the others a narrow one."""
    vice = Vice.from_embedding(np.ones((9, 4), np.float32))
    vice.scale_[:3] = 2.0
    information = expected_information(vice, np.array([[0, 1, 2], [3, 4, 5]]))
    assert information[0] > 0.05 and information[1] < 1e-3
    with pytest.raises(InputError, match="knows 9 objects"):
        expected_information(vice, np.array([[0, 1, 9]]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_participants": 4, "repeats": 5}, "only 4 trial sets"),
        ({"num_participants": 5, "repeats": 2}, "`num_participants` 4 or 6"),
        ({"trials": 3000}, "different triplets of coarse level"),
        ({"trials": 0}, "`trials`"),
        ({"triplets": "a", "vice": "b"}, "give `triplets`, or a `vice`"),
    ],
)
def test_plans_that_cannot_be_are_refused(tmp_path, settings, message):
    write_pictures(tmp_path / "pictures")
    wanted = {"num_participants": 4, "trials": 6, "repeats": 2, "catch_trials": 2, "practice_trials": 1, **settings}
    with pytest.raises(InputError, match=message):
        init_study(str(tmp_path / "study"), str(tmp_path / "pictures"), progress=False, **wanted)
    assert not (tmp_path / "study").exists()


def test_fewer_pictures_than_a_triplet(tmp_path):
    write_pictures(tmp_path / "pictures", 1, 2)
    with pytest.raises(InputError, match="needs 3 pictures"):
        init_study(str(tmp_path / "study"), str(tmp_path / "pictures"), num_participants=1, repeats=1)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A study with an answer."""
    study = make_study(tmp_path_factory.mktemp("begun"))
    connection = open_study(study)[1]
    connection.execute(
        "INSERT INTO participants (trial_set, state, started, seen, demographics) VALUES (0, 'running', 0, 0, '{}')"
    )
    connection.execute("INSERT INTO answers VALUES (1, 0, 0, 1.0, 0)")
    connection.close()
    return study


def test_a_study_with_answers_stays_as_it_is(begun):
    kept = (begun / "study.yaml").read_text()
    with pytest.raises(InputError, match="holds a study with 1 answers"):
        make_study(begun.parent)
    change_yaml(begun, texts={"title": "Another title"})
    open_study(begun)[1].close()
    for part, setting in (("protocol", {"latest": 9.0}), ("plan", {"trials": 7})):
        change_yaml(begun, **{part: setting})
        with pytest.raises(InputError, match=f"the {part} in .*study.yaml was changed"):
            open_study(begun)
        (begun / "study.yaml").write_text(kept)
    with pytest.raises(InputError, match="no participant has finished"):
        export_study(str(begun), str(begun.parent / "out"))


def test_a_database_of_another_version_is_refused(tmp_path):
    study = make_study(tmp_path)
    connection = sqlite3.connect(study / "study.sqlite3")
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(InputError, match="version 7, and this hf_alignet reads version 1"):
        open_study(study)
    (study / "study.sqlite3").write_bytes(b"no database at all" * 100)
    with pytest.raises(InputError, match="restore it from a backup"):
        open_study(study)
    with pytest.raises(InputError, match="holds no study"):
        open_study(tmp_path)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"completion_url": "javascript:alert(1)"}, "completion_url must begin with https://"),
        ({"demographics": [{"name": "A b", "label": "x"}]}, "small letters"),
        ({"titel": "x"}, "unknown entry 'titel'"),
        ({"consent": ""}, "texts.consent must be a text"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, texts, message):
    study = make_study(tmp_path, texts=texts)
    with pytest.raises(InputError, match=message):
        open_study(study)


def test_raw_data_of_jspsych_come_in(tmp_path):
    """JSON as jsPsych writes it: instructions between the trials, milliseconds, number of the chosen button."""
    study = make_study(tmp_path)
    trial = {"trial_type": "html-button-response", "stimulus": ["p00.png", "p01.png", "p10.png"], "subject": "anna"}
    events = [
        {"trial_type": "instructions", "rt": 4000, "subject": "anna"},
        {**trial, "response": 2, "rt": 1500},
        {**trial, "stimulus": ["p02.png", "p10.png", "p20.png"], "response": 0, "rt": 2500},
    ]
    pd.DataFrame(events).to_json(tmp_path / "raw.json", orient="records")
    assert import_results(str(study), [str(tmp_path / "raw.json")]) == 1
    assert import_results(str(study), [str(tmp_path / "raw.json")]) == 0
    export_study(str(study), str(tmp_path / "out"))
    judgments = load_judgments(str(tmp_path / "out"))["train"]
    assert [sorted(row) for row in judgments["triplet"]] == [[0, 1, 4], [2, 4, 8]]
    assert [row["triplet"][row["odd"]] for row in judgments] == [4, 2] and judgments["rt"] == [1.5, 2.5]


def test_results_of_another_study_are_refused(tmp_path):
    study = make_study(tmp_path)
    (tmp_path / "one.json").write_text(
        '{"study": "x", "file": "f", "trial_set": 0, "identifiers": {}, "demographics": {}, "answers": []}'
    )
    with pytest.raises(InputError, match="is of another study"):
        import_results(str(study), [str(tmp_path / "one.json")])
    with pytest.raises(InputError, match="`post_to` must be an address"):
        build_static(str(study), str(tmp_path / "site"), "ftp://x")
