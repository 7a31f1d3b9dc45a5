"""The recipe that fits a teacher: in this process, and once as a user starts it, up to the Hub."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import DatasetDict
from fakehub import USER, FakeHub
from fakehub.checks import card_errors
from huggingface_hub import ModelCard, RepoUrl

from hf_alignet.cli.fit_teacher import COMMAND, fit_command
from hf_alignet.encoder import AffineTransform, ContextTransform
from hf_alignet.errors import InputError, RunError
from hf_alignet.hub.transport import repository as sharing
from hf_alignet.judgments import make_judgments
from hf_alignet.storage import OURS
from hf_alignet.teacher import Vice, planning
from hf_alignet.teacher import vice as vice_module
from hf_alignet.teacher.expectations import posterior_mean
from hf_alignet.teacher.vice_run import ViceRun
from hf_alignet.workflows import teacher_run

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "fit_teacher.py"
VICE = '{"num_dimensions": 8, "min_objects": 1, "max_epochs": 120, "burn_in": 60, "window": 30, "settle": 20}'
QUICK = ("--vice_settings", VICE)
NUM_OBJECTS = 30


def fit(monkeypatch, *flags, **replaced) -> None:
    """The command in this process, with some of the functions that it uses replaced; errors stay exceptions."""
    with monkeypatch.context() as patched:
        for name, function in replaced.items():
            patched.setattr(teacher_run, name, function)
        COMMAND.call(fit_command, list(map(str, flags)))


@pytest.fixture(scope="module")
def choices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (30, 6), and choices of people who look at three of the six only: triplets and odd ones out."""
    rng = np.random.default_rng(0)
    features = rng.gamma(0.7, 1.0, (NUM_OBJECTS, 6)).astype(np.float32)
    triplets = np.stack([rng.permutation(NUM_OBJECTS)[:3] for _ in range(6000)])
    a, b, c = (1.5 * features[triplets[:, i], :3] for i in range(3))
    logits = np.stack([(b * c).sum(1), (a * c).sum(1), (a * b).sum(1)], 1)
    return features, triplets, (logits + rng.gumbel(size=logits.shape)).argmax(1)


@pytest.fixture
def flags(choices, tmp_path) -> list:
    features, triplets, odd = choices
    np.save(tmp_path / "features.npy", features)
    judgments = make_judgments(triplets, odd)
    splits = DatasetDict(train=judgments.select(range(5000)), test=judgments.select(range(5000, 6000)))
    splits.save_to_disk(tmp_path / "judgments")
    return [
        *("--judgments", tmp_path / "judgments", "--features", tmp_path / "features.npy"),
        *("--output_dir", tmp_path / "out", "--disable_tqdm", "true"),
    ]


def results(directory) -> dict:
    return json.loads((directory / "results.json").read_text())


def test_weights_by_context(flags, choices, tmp_path, monkeypatch):
    fit(monkeypatch, *flags, *QUICK, "--method", "context", "--regularization", 0.1, "--dataset_name", "people")
    found, out = results(tmp_path / "out"), tmp_path / "out"
    assert found["settings"]["method"] == "context" and set(found) >= {"base", "aligned", "without_context", "vice"}
    loaded = ContextTransform.from_pretrained(out)
    assert loaded.similarities(choices[0], choices[1][:5]).shape == (5, 3)
    text = (out / "README.md").read_text()
    assert card_errors(text) == [] and str(tmp_path) not in text and "\n\n\n" not in text
    assert {"context", "uncertainty_distillation"} & set(pd.read_csv(out / "selection.csv")["method"])
    with pytest.raises(InputError, match="no image has an embedding"):
        AffineTransform.from_pretrained(out)


def test_distils_vice_into_a_transform(flags, choices, tmp_path, monkeypatch):
    out = tmp_path / "out"
    named = ("--dataset_name", "people", "--model_name_or_path", "user/encoder")
    fit(monkeypatch, *flags, *QUICK, *named, "--object_folds", 3)
    names = {file.name for file in out.iterdir()} - OURS
    card = {"README.md", "calibration.csv", "calibration.png", "config.json", "model.safetensors"}
    assert names == card | {"results.json", "selection.csv", "vice"}
    found = results(out)
    accuracy, cross_entropy = "people/test/odd_one_out_accuracy", "people/test/choice_cross_entropy"
    assert found["base"][accuracy]["n"] == 1000
    for name in ("aligned", "vice"):
        assert found[name][accuracy]["value"] > found["base"][accuracy]["value"] + 0.05
        assert found[name][cross_entropy]["value"] < found["base"][cross_entropy]["value"] - 0.05
    new = "people/new_objects/odd_one_out_accuracy"
    assert found["aligned"][new]["value"] > found["base"][new]["value"] and new not in found["vice"]
    assert found["settings"]["base_model"] == "user/encoder" and found["settings"]["num_train_judgments"] == 5000

    features = choices[0]
    transform, vice = AffineTransform.from_pretrained(out), Vice.from_pretrained(out / "vice")
    assert transform(features).shape == (NUM_OBJECTS, 6) and len(vice.loc_) == NUM_OBJECTS
    assert set(pd.read_csv(out / "calibration.csv").predictor) == {"base", "aligned", "vice"}
    for directory in (out, out / "vice"):
        text = (directory / "README.md").read_text()
        assert card_errors(text) == [] and str(tmp_path) not in text and "\n\n\n" not in text
    assert ModelCard.load(out / "README.md").data.base_model == "user/encoder"
    text = (out / "README.md").read_text()
    assert all(name in text for name in (accuracy, cross_entropy, new, "![", "| method | uncertainty_distillation |"))

    with pytest.raises(InputError, match="holds a finished teacher"):
        fit(monkeypatch, *flags)


@pytest.mark.parametrize("method", ["hard", "global", "glocal", "identity"])
def test_other_methods(flags, method, tmp_path, monkeypatch):
    local = ("--local_features", tmp_path / "features.npy") if method == "glocal" else ()
    given = () if method == "identity" else ("--regularization", 0.05)
    fit(monkeypatch, *flags, "--method", method, *local, *given)
    found = results(tmp_path / "out")
    name = "judgments/test/odd_one_out_accuracy"
    gain = found["aligned"][name]["value"] - found["base"][name]["value"]
    assert gain == 0 if method == "identity" else gain > 0.05
    assert found["settings"]["method"] == method and "vice" not in found
    assert not (tmp_path / "out" / "vice").exists()


def test_a_given_vice_is_used_as_it_is(flags, choices, tmp_path, monkeypatch):
    vice = Vice(**json.loads(VICE)).fit(make_judgments(choices[1][:4000], choices[2][:4000]), progress=False)
    vice.save_pretrained(tmp_path / "my-vice")
    fit(monkeypatch, *flags, "--vice", tmp_path / "my-vice", "--regularization", 0.05)
    assert results(tmp_path / "out")["settings"]["vice"] == "my-vice"
    pure = results(tmp_path / "out")["aligned"]
    assert not (tmp_path / "out" / "vice").exists()
    mixed = (*("--concentration", 1), *("--output_dir", tmp_path / "mixed"))
    fit(monkeypatch, *flags, "--vice", tmp_path / "my-vice", "--regularization", 0.05, *mixed)
    assert results(tmp_path / "mixed")["aligned"] != pure


def test_choices_update_what_vice_expects():
    vice, counts = np.array([[0.5, 0.3, 0.2]] * 3), np.array([[0, 1, 0], [1, 0, 1], [0, 0, 0]])
    expected = [[0.25, 0.65, 0.1], [1.5 / 3, 0.3 / 3, 1.2 / 3], [0.5, 0.3, 0.2]]
    np.testing.assert_allclose(posterior_mean(vice, counts, concentration=1.0), expected)


def test_vice_of_other_objects(flags, choices, tmp_path, monkeypatch):
    Vice(**json.loads(VICE)).fit(make_judgments(*choices[1:]), 31, progress=False).save_pretrained(
        tmp_path / "my-vice"
    )
    with pytest.raises(InputError, match="has 31 objects, but there are 30 stimuli"):
        fit(monkeypatch, *flags, "--vice", tmp_path / "my-vice")


def test_goes_on_where_it_was_stopped(flags, tmp_path, monkeypatch):
    fit(monkeypatch, *flags, *QUICK, "--regularization", 0.05)
    whole = results(tmp_path / "out")

    def killed(run):
        if run.epochs == 70:
            raise KeyboardInterrupt
        return next_epoch(run)

    next_epoch = ViceRun.next_epoch
    again = [*flags, *QUICK, "--regularization", 0.05, "--output_dir", tmp_path / "again"]
    monkeypatch.setattr(vice_module, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    monkeypatch.setattr(ViceRun, "next_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(monkeypatch, *again)
    epochs = []
    monkeypatch.setattr(ViceRun, "next_epoch", lambda run: epochs.append(run.epochs) or next_epoch(run))
    fit(monkeypatch, *again)
    assert epochs[0] == 70
    assert results(tmp_path / "again") == whole
    assert not (tmp_path / "again" / "unfinished").exists()


def test_without_a_held_out_split_some_triplets_are(flags, choices, tmp_path, monkeypatch):
    make_judgments(*choices[1:]).save_to_disk(tmp_path / "alone")
    fit(monkeypatch, *flags, "--judgments", tmp_path / "alone", "--method", "hard", "--regularization", 0.05)
    metric = results(tmp_path / "out")["aligned"]["alone/test/odd_one_out_accuracy"]
    assert 550 < metric["n"] < 650 and metric["value"] > 0.4


def test_configuration_of_things_clip():
    config = ROOT / "recipes" / "things-clip" / "config.yaml"
    argv = ["--config", str(config), "--judgments", "a", "--features", "b"]
    (arguments,) = COMMAND.parse(argv)
    assert (arguments.dataset_name, arguments.method) == ("things", "uncertainty_distillation")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("--features", "nowhere.npy"), "cannot read features nowhere.npy"),
        (("--features", __file__), "must be a .npy file of numbers"),
        (("--vice", "user/nobody"), "cannot open the VICE 'user/nobody'"),
        (
            ("--vice_settings", '{"num_dimensions": "100"}'),
            r"`num_dimensions` must be an integer \(at least 1\), got '100'",
        ),
        (("--vice_settings", '{"spike": 0}'), r"`spike` must be a finite number \(above 0\), got 0"),
        (("--vice_settings", VICE, "--method", "hard"), "hard takes no --vice_settings"),
        (("--pooling", "cls"), "--features are taken as they are"),
        (("--regularization", "-1"), r"--regularization must be a finite number \(above 0\), got -1.0"),
        (("--images", "some/images"), "give --images with --model_name_or_path, or --features, not both"),
        (("--vice_settings", '{"slap": 1}'), "has no slap; settings are num_dimensions, spike, slab"),
        (("--concentration", "0"), r"--concentration must be a finite number \(above 0\), got 0"),
        (("--concentration", "1", "--method", "glocal"), "takes --local_images or --local_features"),
        (
            ("--concentration", "1", "--method", "global"),
            "global takes no --concentration; uncertainty_distillation and",
        ),
        (("--vice_settings", "{"), "is no JSON"),
        (("--method", "glocal"), "takes --local_images or --local_features"),
        (("--method", "hard", "--vice", "user/vice"), "hard takes no --vice"),
        (("--object_folds", "1"), r"--object_folds must be 0, or an integer \(at least 2\), got 1"),
        (("--push_to_hub", "true"), "needs --hub_model_id"),
        (
            ("--regularization", "-1", "--method", "hard"),
            r"--regularization must be a finite number \(above 0\), got -1.0",
        ),
    ],
)
def test_wrong_settings_are_named(flags, changes, message, monkeypatch):
    with pytest.raises(InputError, match=message):
        fit(monkeypatch, *flags, *changes)


def test_fewer_features_than_objects(flags, choices, tmp_path, monkeypatch):
    np.save(tmp_path / "features.npy", choices[0][:20])
    with pytest.raises(InputError, match="points outside the 20 images"):
        fit(monkeypatch, *flags)


def test_a_failed_push_loses_nothing(flags, tmp_path, monkeypatch):
    push = ("--push_to_hub", "true", "--hub_model_id", "user/teacher", "--method", "hard", "--regularization", 0.05)

    def fail(*_, **__):
        raise OSError("no route to host")

    with pytest.raises(RunError, match="not shared as user/teacher: no route to host. Share it by `hf upload user/te"):
        monkeypatch.setattr(
            sharing.HfApi, "create_repo", lambda *_, **__: RepoUrl("https://huggingface.co/user/teacher")
        )
        monkeypatch.setattr(sharing.HfApi, "upload_folder", fail)
        fit(monkeypatch, *flags, *push)
    assert AffineTransform.from_pretrained(tmp_path / "out").dim == 6


def test_where_it_cannot_be_shared_nothing_is_fitted(flags, tmp_path, monkeypatch):
    monkeypatch.setattr(sharing.HfApi, "create_repo", _refuse)
    with pytest.raises(InputError, match="cannot share under 'user/teacher': 401"):
        fit(monkeypatch, *flags, "--push_to_hub", "true", "--hub_model_id", "user/teacher")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write to .*; give another --output_dir"):
        fit(monkeypatch, *flags, "--output_dir", tmp_path / "file")


def _refuse(*_, **__):
    raise OSError("401")


def test_few_held_out_judgments_and_more_folds_than_they_fill(flags, choices, tmp_path, monkeypatch):
    judgments = make_judgments(*choices[1:])
    splits = DatasetDict(train=judgments.select(range(5000)), test=judgments.select(range(5000, 5020)))
    splits.save_to_disk(tmp_path / "few")
    settings = (*("--judgments", tmp_path / "few"), *("--method", "hard"), *("--regularization", 0.05))
    fit(monkeypatch, *flags, *settings, "--object_folds", 5)
    assert results(tmp_path / "out")["aligned"]["few/new_objects/odd_one_out_accuracy"]["n"] > 50
    with pytest.raises(InputError, match="30 objects cannot make 20 folds"):
        fit(monkeypatch, *flags, *settings, "--object_folds", 20, "--output_dir", tmp_path / "more")


def test_triplets_in_both_splits_are_counted(flags, choices, tmp_path, monkeypatch, caplog):
    judgments = make_judgments(*choices[1:])
    DatasetDict(train=judgments, test=judgments.select(range(100))).save_to_disk(tmp_path / "both")
    fit(monkeypatch, *flags, "--judgments", tmp_path / "both", "--method", "hard", "--regularization", 0.05)
    distinct = len({tuple(sorted(row)) for row in choices[1][:100].tolist()})
    assert f"{distinct} triplets of the split test are also in train" in caplog.text


def test_a_teacher_worse_than_the_features_is_told(flags, choices, tmp_path, monkeypatch, caplog):
    judgments = make_judgments(*choices[1:])
    swapped = make_judgments(choices[1][:5000], (choices[2][:5000] + 1) % 3)
    DatasetDict(train=swapped, test=judgments.select(range(5000, 6000))).save_to_disk(tmp_path / "swapped")
    fit(monkeypatch, *flags, "--judgments", tmp_path / "swapped", "--method", "hard", "--regularization", 0.001)
    text = "worse than the unchanged features on held-out choices, swapped/test: accuracy is worse by"
    assert text in caplog.text and text in (tmp_path / "out" / "README.md").read_text()
    assert text in results(tmp_path / "out")["settings"]["warning"]


def test_the_default_says_what_it_chose(flags, choices, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    judgments = make_judgments(*choices[1:])
    splits = DatasetDict(train=judgments.select(range(200)), test=judgments.select(range(5000, 6000)))
    splits.save_to_disk(tmp_path / "few")
    fit(monkeypatch, *flags, "--judgments", tmp_path / "few")
    settings = results(tmp_path / "out")["settings"]
    assert settings["method"] in settings["choice"] and "warning" not in settings
    assert settings["choice"] in caplog.text and settings["choice"] in (tmp_path / "out" / "README.md").read_text()
    assert set(pd.read_csv(tmp_path / "out" / "selection.csv").concentration.dropna()) == {0.3, 1.0}


def test_a_plan_tells_how_many_choices_are_needed(flags, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(planning, "NUMBERS", (100, 300))
    monkeypatch.setattr(planning, "REPEATS", 2)
    fit(monkeypatch, *flags, "--plan", "true", "--agreement", 0.8)
    plan = pd.read_csv(tmp_path / "out" / "plan.csv")
    assert list(plan.choices) == [100, 300] * 4 and set(plan.source) == {"simulated, agreement 0.8", "judgments"}
    assert plan.accuracy.between(1 / 3, 0.8).all() and (plan.accuracy > plan.raw_accuracy - 0.05).all()
    assert {file.name for file in (tmp_path / "out").iterdir()} - OURS == {"plan.csv"}
    assert "By judgments (2 studies)" in caplog.text
    alone = ("--features", tmp_path / "features.npy", "--output_dir", tmp_path / "alone", "--disable_tqdm", "true")
    fit(monkeypatch, *alone, "--plan", "true")
    assert set(pd.read_csv(tmp_path / "alone" / "plan.csv").source) == {"simulated, agreement 0.7"}
    with pytest.raises(InputError, match="give --judgments"):
        fit(monkeypatch, *alone)


def test_features_of_any_size_give_numbers(flags, choices, tmp_path, monkeypatch):
    np.save(tmp_path / "features.npy", 100 * choices[0])
    fit(monkeypatch, *flags, "--method", "identity")
    found = results(tmp_path / "out")
    name = "judgments/test/choice_cross_entropy"
    assert found["aligned"][name]["value"] > found["base"][name]["value"]
    for metrics in (found["base"], found["aligned"]):
        assert all(np.isfinite(metric["ci95"]).all() for metric in metrics.values())


@pytest.mark.slow
@pytest.mark.multi_process
def test_two_processes_give_the_same_teacher_and_vice_as_one(flags, tmp_path, monkeypatch):
    """One of them fits and writes; the other shares the embedding, which another test compares."""
    fit(monkeypatch, *flags, *QUICK)
    config = RECIPE.parent / "accelerate" / "cpu_2_processes.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config, RECIPE]
    two = [*launch, *flags, *QUICK, "--output_dir", tmp_path / "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(list(map(str, two)), capture_output=True, text=True, env=environment, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stderr.count("The teacher is in") == 1
    folders = tmp_path / "out", tmp_path / "two"
    assert {file.name for file in folders[0].iterdir()} == {file.name for file in folders[1].iterdir()}
    for name in ("base", "aligned", "vice"):
        alone, together = ({key: m["value"] for key, m in results(folder)[name].items()} for folder in folders)
        assert together == pytest.approx(alone, rel=1e-6)
    one, other = (Vice.from_pretrained(folder / "vice") for folder in folders)
    np.testing.assert_allclose(other.loc_, one.loc_, atol=1e-5)
    np.testing.assert_allclose(other.scale_, one.scale_, atol=1e-5)
    transforms = [AffineTransform.from_pretrained(folder)(np.eye(6, dtype=np.float32)) for folder in folders]
    np.testing.assert_allclose(*transforms, atol=1e-5)


@pytest.mark.slow
@pytest.mark.multi_process
def test_from_pictures_and_a_table_of_names_to_the_hub(images, tiny_directory, tmp_path):
    names = [f"{i:02d}.png" for i in range(len(images))]
    images.add_column("filename", names).save_to_disk(tmp_path / "images")
    rng = np.random.default_rng(0)
    triplets = np.stack([rng.permutation(24)[:3] for _ in range(600)])
    odd = np.where((triplets < 12).sum(1) >= 2, (triplets < 12).argmin(1), (triplets < 12).argmax(1))
    shown = [[names[i] for i in triplet] for triplet in triplets]
    table = pd.DataFrame(shown, columns=["image_1", "image_2", "image_3"])
    table["odd_one_out"] = [triplet[k] for triplet, k in zip(shown, odd, strict=True)]
    table.to_csv(tmp_path / "choices.csv", index=False)
    flags = [
        *("--judgments", tmp_path / "choices.csv", "--images", tmp_path / "images", "--regularization", 0.05),
        *("--model_name_or_path", tiny_directory("dinov2"), "--output_dir", tmp_path / "out"),
        *("--vice_settings", VICE, "--push_to_hub", "true", "--hub_model_id", f"{USER}/teacher"),
    ]
    with FakeHub(forbidden=[str(tmp_path), str(ROOT), str(Path.home()) + "/"]) as hub:
        environment = {**os.environ, **hub.env(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
        run = subprocess.run(
            [sys.executable, str(RECIPE), *map(str, flags)], capture_output=True, text=True, env=environment, cwd=ROOT
        )
        assert run.returncode == 0, run.stderr[-3000:]
        code = (
            "from hf_alignet import AffineTransform as A, Vice as V\n"
            f"print(A.from_pretrained('{USER}/teacher').dim, len(V.from_pretrained('{USER}/teacher-vice').loc_))"
        )
        loaded = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT
        )
        files = set(hub.ls("model", f"{USER}/teacher"))
        uploaded = hub.read("model", f"{USER}/teacher", "README.md").decode()
    made = {"config.json", "model.safetensors", "results.json", "calibration.csv", "calibration.png", "README.md"}
    assert files - {".gitattributes"} == made
    (snippet,) = re.findall(r"```python\n(.*?)```", uploaded, re.S)
    assert f'from_pretrained("{USER}/teacher")' in snippet
    dim = AffineTransform.from_pretrained(tmp_path / "out").dim
    assert loaded.stdout.split() == [str(dim), "24"], loaded.stderr[-2000:]


def test_a_table_of_ones_own_names_is_read_as_the_dataset_is(flags, choices, tmp_path, monkeypatch):
    _, triplets, odd = choices
    names = np.array([f"object {i}.jpg" for i in range(NUM_OBJECTS)])
    table = pd.DataFrame(names[triplets[:800]], columns=["Bild1", "Bild2", "Bild3"])
    table["Antwort"] = [f"IMG\\Object {names[row[k]][7:-4]}.JPG" for row, k in zip(triplets, odd, strict=True)][:800]
    table.loc[5, "Antwort"] = "NA"
    table.to_csv(tmp_path / "mine.csv", index=False, sep=";", encoding="utf-16")
    (tmp_path / "names.txt").write_text("\n".join(names))
    seen = []

    def stop(features, train, *args, **kwargs):
        seen.append(train)
        raise InputError("far enough")

    columns = "image_1=Bild1,image_2=Bild2,image_3=Bild3,odd_one_out=Antwort"
    given = ("--judgments", tmp_path / "mine.csv", "--object_names", tmp_path / "names.txt", "--columns", columns)
    with pytest.raises(InputError, match="far enough"):
        fit(monkeypatch, *flags, *given, fit_teacher=stop, split_by_triplet=lambda data, *_: {"train": data})
    kept = np.arange(800) != 5
    assert seen[0]["triplet"][:] == triplets[:800][kept].tolist() and seen[0]["odd"][:] == odd[:800][kept].tolist()
    with pytest.raises(InputError, match="1 of 800 trials of mine.csv have no answer .* --max_missing 0"):
        fit(monkeypatch, *flags, *given, "--max_missing", 0)
