"""From nothing to a teacher: emoji, simulated people over HTTP, export, fit-teacher, held-out choices."""

import json

import numpy as np
import pytest
from datasets import load_dataset
from small_study import MANY, change_yaml
from starlette.testclient import TestClient

from hf_alignet.collect.collected_answers import export_study
from hf_alignet.collect.study_making import init_study
from hf_alignet.collect.web_server import StudyServer
from hf_alignet.demo import ENCODER_DIRECTORY, SimulatedRaters, demo_images
from hf_alignet.similarity import odd_of_pair
from hf_alignet.workflows.teacher_run import write_teacher

TAB = "0" * 32
NUM_IMAGES = 60


@pytest.mark.slow
def test_choices_of_a_study_make_a_teacher_that_is_better_than_the_model(tmp_path):
    images = demo_images()
    rows = np.flatnonzero(np.array(images["style"]) == "noto")
    images = images.select(np.random.default_rng(0).permutation(rows)[:NUM_IMAGES].tolist())
    (tmp_path / "images").mkdir()
    images.to_parquet(tmp_path / "images" / "train-00000-of-00001.parquet")
    assert len(load_dataset(str(tmp_path / "images"))["train"]) == NUM_IMAGES
    study = tmp_path / "study"
    plan = {"num_participants": 20, "trials": 150, "repeats": 1, "catch_trials": 0, "practice_trials": 0}
    init_study(str(study), str(tmp_path / "images"), progress=False, **plan)
    change_yaml(study, protocol=MANY)
    raters, rng = SimulatedRaters(images, seed=0), np.random.default_rng(1)
    with TestClient(StudyServer(study).app()) as client:
        for _ in range(20):
            client.cookies.clear()
            client.post("/start", data={"consent": "yes"}, follow_redirects=False)
            told = client.post("/api/open", json={"tab": TAB}).json()
            shown = np.array([trial["pictures"] for trial in told["trials"]])
            similarities = raters.similarities(shown)
            odd = odd_of_pair((similarities + rng.gumbel(size=similarities.shape)).argmax(1))
            for place, chosen in enumerate(odd.tolist()):
                client.post("/api/answer", json={"tab": TAB, "place": place, "odd": chosen, "rt": 1.5})
    assert export_study(str(study), str(tmp_path / "out"))["kept"] == 3000
    write_teacher(
        str(tmp_path / "out"),
        str(tmp_path / "teacher"),
        images=str(tmp_path / "images"),
        model_name_or_path=str(ENCODER_DIRECTORY),
        progress=False,
    )
    results = json.loads((tmp_path / "teacher" / "results.json").read_text())
    (name,) = (name for name in results["aligned"] if name.endswith("odd_one_out_accuracy"))
    fitted = results["aligned"][name]
    # measured: 0.32 before and 0.58 after, a gain of 0.26 with an interval from 0.18 to 0.35, of 300 held-out choices
    assert fitted["change"]["ci95"][0] > 0 and fitted["ci95"][0] > fitted["chance"]
