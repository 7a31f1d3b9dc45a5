"""The recipe that says how human models are: on features, and with tiny models, in this process."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from datasets import DatasetDict, concatenate_datasets
from fakehub.checks import card_errors, eval_results_errors
from huggingface_hub import ModelCard
from PIL import Image
from scipy.io import savemat

from hf_alignet.analysis import linear_cka
from hf_alignet.cli.evaluate import COMMAND, evaluate_command
from hf_alignet.encoder import AffineTransform, ContextTransform
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.evaluation import odd_one_out_accuracy, rsa_score
from hf_alignet.evaluation.human.noise_ceiling import noise_ceiling
from hf_alignet.hub.cards.measured_card import update_card
from hf_alignet.hub.cards.model_card import write_model_card
from hf_alignet.hub.publish import publish
from hf_alignet.judgments import file_name_order, load_similarity_matrix, make_judgments, split_by_triplet
from hf_alignet.judgments.rows import ODD, TRIPLET, column
from hf_alignet.storage import OURS

RECIPE = Path(__file__).parents[2] / "recipes" / "evaluate.py"
NUMBER = 24
ACCURACY = "study/test/odd_one_out_accuracy"
CLASSES = ("n02085620", "n02123045", "n02958343", "n03000001")
NAMES = [f"{CLASSES[i % 4]}_{i}.JPEG" for i in range(NUMBER)]


def evaluate(*flags) -> None:
    """The command in this process; errors stay exceptions."""
    COMMAND.call(evaluate_command, list(map(str, flags)))


def results(directory) -> dict:
    return json.loads((directory / "results.json").read_text())


def people_choose(features: np.ndarray, raters: int, number: int, seed: int = 0):
    """Judgments by dot products and noise: `number` triplets, each by so many people, slower when they are unsure."""
    rng = np.random.default_rng(seed)
    triplets = np.array(sorted({tuple(sorted(rng.permutation(NUMBER)[:3])) for _ in range(3 * number)}))
    triplets = rng.permutation(triplets)[:number].repeat(raters, 0)
    x = features[triplets]
    logits = np.stack([(x[:, 1] * x[:, 2]).sum(1), (x[:, 0] * x[:, 2]).sum(1), (x[:, 0] * x[:, 1]).sum(1)], 1)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    odd = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    seconds = np.exp(1.0 - shares.max(1) + 0.2 * rng.normal(size=len(odd)))
    people = np.tile([f"p{i}" for i in range(raters)], number)
    return make_judgments(triplets, odd, participant=people, rt=seconds)


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(NUMBER, 5)).astype(np.float32)


@pytest.fixture
def study(features, images, tmp_path) -> Path:
    """A folder with pictures, features, judgments of THINGS' kind, files of Levels, and a matrix of similarities."""
    images.add_column("filename", NAMES).save_to_disk(tmp_path / "stimuli")
    np.save(tmp_path / "my_features.npy", features)
    split_by_triplet(people_choose(features, 4, 300), 0.5).save_to_disk(tmp_path / "judgments")
    events = []
    for row in (judgments := people_choose(features, 5, 150, seed=1)):
        names = [NAMES[i] for i in row["triplet"]]
        events.append(
            {f"image{i + 1}Path": f"stimuli/{name}" for i, name in enumerate(names)}
            | {"selected_image": f"stimuli/{names[row['odd']]}", "rt": 1000 * row["rt"]}
            | {"subject_id": row["participant"], "exp_trial_type": "exp_trial"}
        )
    assert len(judgments) == len(events)
    (tmp_path / "levels").mkdir()
    (tmp_path / "levels" / "a.json").write_text("\n".join(map(json.dumps, events)))
    noise = np.random.default_rng(2).normal(size=(NUMBER, NUMBER))
    matrix = 1 - np.corrcoef(features) + 0.1 * (noise + noise.T)
    matrix = matrix - matrix.min() + 0.1
    np.fill_diagonal(matrix, 0)
    matrix[0, 1] = matrix[1, 0] = np.nan
    pd.DataFrame(matrix, index=NAMES, columns=NAMES).to_csv(tmp_path / "RDM48.csv")
    return tmp_path


@pytest.fixture
def flags(study) -> list:
    return ["--output_dir", study / "out", "--disable_tqdm", "true", "--seed", 3]


@pytest.fixture
def every(study, flags) -> list:
    kinds = [f"study=choices:{study / 'judgments'}", f"levels:{study / 'levels'}", f"rsa:{study / 'RDM48.csv'}"]
    return [*flags, "--benchmarks", *kinds, "--images", study / "stimuli"]


@pytest.fixture
def things(study, flags) -> list:
    """Features on judgments alone."""
    benchmark = ("--benchmarks", f"study=choices:{study / 'judgments'}")
    return [*flags, *benchmark, "--features", study / "my_features.npy"]


def check_contract(found: dict) -> None:
    for metrics in found.values():
        for name, metric in metrics.items():
            assert set(metric) >= {"value", "n", "chance", "ci95", "unit"} and len(name.split("/")) in (2, 3)
            low, high = metric["ci95"] or (0, 0)
            assert np.isfinite([metric["value"], low, high, metric["chance"] or 0]).all() and low <= high
            assert (metric["ci95"] is None) == (metric["unit"] is None) and (metric["ci95"] or "note" in metric)
            assert isinstance(metric["n"], int) and metric["n"] > 0


# ---- features


def test_everything_about_features(every, study, features, monkeypatch):
    evaluate(*every, "--features", study / "my_features.npy")
    out = study / "out"
    assert {file.name for file in out.iterdir()} - OURS == {
        *("results.json", "results.md", "study.png", "levels.png", "rdm48.png")
    }
    found = results(out)
    check_contract(found)
    assert set(found) == {"my_features", "people"}
    mine, people = found["my_features"], found["people"]
    levels = {f"levels/{level}/odd_one_out_accuracy" for level in ("coarse", "fine", "boundary")} & set(mine)
    assert {"levels/coarse/odd_one_out_accuracy", "levels/boundary/odd_one_out_accuracy"} <= levels
    measures = ("choice_cross_entropy", "expected_calibration_error", "human_model_kl")
    assert {ACCURACY, "rdm48/rsa_spearman", *(f"study/test/{measure}" for measure in measures)} <= set(mine)
    for measure in ("study/test/response_time_spearman", "study/test/human_entropy_spearman"):
        assert mine[measure]["value"] > 0.2
    assert mine["levels/all/response_time_spearman"]["value"] > 0.2
    assert set(people) == {ACCURACY, *levels}

    test = DatasetDict.load_from_disk(study / "judgments")["test"]
    rows = column(test, TRIPLET), column(test, ODD)
    assert mine[ACCURACY] == odd_one_out_accuracy(features, *rows)
    assert people[ACCURACY] == noise_ceiling(test, 3)
    assert mine["study/test/choice_cross_entropy"]["value"] < mine["study/test/choice_cross_entropy"]["chance"]
    score = rsa_score(features, load_similarity_matrix(study / "RDM48.csv", "dissimilarity"), seed=3)
    assert mine["rdm48/rsa_spearman"]["value"] == score["value"] > 0.3
    assert score["masked"] == 1 and "rdm48: 1 pairs were not judged" in (out / "results.md").read_text()
    with Image.open(out / "study.png") as picture:
        assert picture.format == "PNG"
    table = (out / "results.md").read_text()
    assert "| metric" in table and " my_features " in table and " people " in table and f"| {ACCURACY}" in table


def test_features_for_each_benchmark_and_their_name(study, flags, features, monkeypatch):
    np.save(study / "few.npy", features[:6])
    np.save(study / "six.npy", 1 - np.corrcoef(features[:6]))
    kinds = (f"study=choices:{study / 'judgments'}", f"rsa:{study / 'six.npy'}")
    given = ("--features", study / "my_features.npy", study / "few.npy")
    names = ("--model_name_or_path", "user/encoder", "--rsa_kind", "dissimilarity")
    evaluate(*flags, "--benchmarks", *kinds, *given, *names)
    found = results(study / "out")["user/encoder"]
    assert found["six/rsa_spearman"]["value"] == pytest.approx(1) and found["six/rsa_spearman"]["n"] == 15
    assert found[ACCURACY]["value"] > 0.4


def test_the_transform_is_applied(things, study, features, monkeypatch):
    evaluate(*things)
    before = results(study / "out")["my_features"][ACCURACY]
    weight = np.diag([3.0, 0, 0, 0, 0])
    AffineTransform(weight, np.zeros(5)).save_pretrained(study / "transform")
    evaluate(*things, "--transform", study / "transform")
    after = results(study / "out")["my_features"][ACCURACY]
    test = DatasetDict.load_from_disk(study / "judgments")["test"]
    rows = column(test, TRIPLET), column(test, ODD)
    assert after["value"] == odd_one_out_accuracy(features @ weight.astype(np.float32), *rows)["value"]
    assert after != before


def test_similarity_in_context_is_for_choices_of_triplets_alone(things, study, features):
    plain, gate = AffineTransform.identity(5), np.random.default_rng(0).normal(size=(5, 5))
    context = ContextTransform(plain, np.eye(5), gate, np.zeros(5))
    context.save_pretrained(study / "context")
    flags = ("--transform", study / "context")
    evaluate(*things, *flags)
    after = results(study / "out")["my_features"]
    test = DatasetDict.load_from_disk(study / "judgments")["test"]
    rows = column(test, TRIPLET), column(test, ODD)
    expected = odd_one_out_accuracy(features, *rows, context.similarities)
    assert after[ACCURACY]["value"] == expected["value"] != odd_one_out_accuracy(features, *rows)["value"]
    assert after["study/test/choice_cross_entropy"]["n"] == len(test)
    with pytest.raises(InputError, match="rsa:.*needs an embedding of each image"):
        evaluate(*things, *flags, "--benchmarks", f"rsa:{study / 'RDM48.csv'}")
    with pytest.raises(InputError, match="--similarity cosine cannot be"):
        evaluate(*things, *flags, "--similarity", "cosine")


def test_similarity_matters(things, study, features, monkeypatch):
    evaluate(*things, "--similarity", "cosine")
    test = DatasetDict.load_from_disk(study / "judgments")["test"]
    rows = column(test, TRIPLET), column(test, ODD)
    value = odd_one_out_accuracy(features, *rows, "cosine")["value"]
    assert results(study / "out")["my_features"][ACCURACY]["value"] == value


def test_rows_of_a_matrix_are_found_by_name(study, flags, features, monkeypatch):
    order = np.random.default_rng(0).permutation(NUMBER)[:10]
    table = pd.read_csv(study / "RDM48.csv", index_col=0).iloc[order, order]
    table.index = table.columns = [Path(name).stem for name in table.columns]  # as in the pictures, but for the suffix
    table.to_csv(study / "some.csv")
    given = ("--features", study / "my_features.npy", "--images", study / "stimuli")
    evaluate(*flags, "--benchmarks", f"rsa:{study / 'some.csv'}", *given)
    score = rsa_score(features[order], load_similarity_matrix(study / "some.csv", None), seed=3)
    assert results(study / "out")["my_features"]["some/rsa_spearman"]["value"] == score["value"]


def test_tables_matrices_and_pictures_under_other_names(study, flags, images, features):
    """A table of choices, one of the matrices of a file, and pictures of two splits give what datasets give."""
    judged = people_choose(features, 2, 60)
    names = np.array(NAMES)[column(judged, "triplet")]
    table = pd.DataFrame(names, columns=["Erstes", "Zweites", "Drittes"]).assign(Wahl=judged["odd"][:])
    table.to_json(study / "mine.jsonl", orient="records", lines=True)
    matrix = pd.read_csv(study / "RDM48.csv", index_col=0).fillna(1).to_numpy()
    savemat(study / "both.mat", {"first": matrix, "second": matrix[::-1, ::-1]})
    named = images.add_column("filename", NAMES).rename_column("image", "photo")
    DatasetDict(a=named.select(range(9)), b=named.select(range(9, NUMBER))).save_to_disk(study / "photos")
    tasks = (f"mine=choices:{study / 'mine.jsonl'}", f"rsa:{study / 'both.mat'}")
    columns = "image_1=Erstes,image_2=Zweites,image_3=Drittes,odd=Wahl"
    where = (
        "--images",
        study / "photos",
        "--image_split",
        "all",
        "--image_column",
        "photo",
        "--rsa_variable",
        "second",
    )
    given = ("--columns", columns, "--features", study / "my_features.npy")
    evaluate(*flags, "--benchmarks", *tasks, *where, *given, "--rsa_variable", "second")
    found = results(study / "out")["my_features"]
    accuracy = odd_one_out_accuracy(features, column(judged, "triplet"), np.array(judged["odd"]))
    assert found["mine/train/odd_one_out_accuracy"]["value"] == accuracy["value"]
    human = load_similarity_matrix(study / "both.mat", None, variable="second")
    assert found["both/rsa_spearman"]["value"] == pytest.approx(rsa_score(features, human, seed=3)["value"], abs=1e-6)
    with pytest.raises(InputError, match="no split 'train'; it has a, b. Name one in --image_split, or .*_split all"):
        evaluate(*flags, "--benchmarks", *tasks, *given, "--images", study / "photos")


def test_a_name_that_could_be_several_pictures(study, flags, monkeypatch):
    names = [f"a/{i}.png" for i in range(NUMBER - 1)] + ["b/0.png"]
    (study / "names.txt").write_text("\n".join(names))
    table = pd.read_csv(study / "RDM48.csv", index_col=0).iloc[:5, :5]
    table.index = table.columns = [f"{i}.jpg" for i in range(5)]
    table.to_csv(study / "some.csv")
    given = ("--features", study / "my_features.npy", "--object_names", study / "names.txt")
    with pytest.raises(InputError, match=r"1 stimuli of some.csv do not have one clear match among .*: '0.jpg'"):
        evaluate(*flags, "--benchmarks", f"rsa:{study / 'some.csv'}", *given)


def test_names_that_stand_in_a_file(study, flags, features, monkeypatch):
    """A matrix in another order, and THINGS files in file-name order, fit features by the names of their rows."""
    unique_ids = ["bat1", "bat_box"] + [f"x{i}" for i in range(NUMBER - 2)]
    (study / "names.txt").write_text("\n".join(unique_ids) + "\n")
    order = np.random.default_rng(0).permutation(NUMBER)
    table = pd.read_csv(study / "RDM48.csv", index_col=0)
    table.index = table.columns = unique_ids
    table.iloc[order, order].to_csv(study / "turned.csv")
    triplets = np.stack([np.random.default_rng(i).permutation(NUMBER)[:3] for i in range(60)])
    np.savetxt(study / "test.txt", triplets, "%d")
    given = ("--features", study / "my_features.npy", "--object_names", study / "names.txt")
    tasks = (f"rsa:{study / 'turned.csv'}", f"mine=choices:{study / 'test.txt'}")
    evaluate(*flags, "--benchmarks", *tasks, *given, "--object_order", "file_name")
    found = results(study / "out")["my_features"]
    score = rsa_score(features, load_similarity_matrix(study / "RDM48.csv", None), seed=3)
    assert found["turned/rsa_spearman"]["value"] == pytest.approx(score["value"], abs=1e-6)
    renumbered = file_name_order(unique_ids)[triplets]
    assert not (renumbered == triplets).all()
    value = odd_one_out_accuracy(features, renumbered, np.full(60, 2))["value"]
    assert found["mine/test/odd_one_out_accuracy"]["value"] == value

    (study / "names.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match="there are 2 names, but 24 stimuli in my_features.npy"):
        evaluate(*flags, "--benchmarks", tasks[0], *given)


def test_benchmarks_of_one_kind_need_names(study, flags, monkeypatch):
    source = f"study=choices:{study / 'judgments'}"
    given = ("--features", study / "my_features.npy")
    with pytest.raises(InputError, match="two benchmarks are called 'study'; give one another name"):
        evaluate(*flags, "--benchmarks", source, source, *given)
    evaluate(*flags, "--benchmarks", source, f"again={source.partition('=')[2]}", *given)
    found = results(study / "out")["my_features"]
    assert found["again/test/odd_one_out_accuracy"] == found[ACCURACY]
    assert (study / "out" / "again.png").exists()


def test_counts_and_judgments_of_one_split(study, flags, features, monkeypatch):
    judgments = people_choose(features, 1, 200)
    judgments.remove_columns(["participant", "rt"]).save_to_disk(study / "alone")
    given = ("--features", study / "my_features.npy")
    evaluate(*flags, "--benchmarks", f"study=choices:{study / 'alone'}", *given)
    found = results(study / "out")
    assert set(found) == {"my_features"} and set(found["my_features"]) == {"study/train/odd_one_out_accuracy"}
    assert "no split but train" in (study / "out" / "results.md").read_text()

    counts = np.eye(3, dtype=np.int32)[column(judgments, ODD)] * 2
    judgments.remove_columns(["odd", "participant", "rt"]).add_column("counts", counts.tolist()).save_to_disk(
        study / "counted"
    )
    evaluate(*flags, "--benchmarks", f"study=choices:{study / 'counted'}", *given)
    counted = results(study / "out")["my_features"]["study/train/odd_one_out_accuracy"]
    single = found["my_features"]["study/train/odd_one_out_accuracy"]
    assert counted["value"] == single["value"] and counted["n"] == 2 * single["n"]


def test_a_few_repeated_triplets_say_nothing_of_people(study, flags, features, monkeypatch):
    once = people_choose(features, 1, 200).remove_columns(["participant", "rt"])
    for repeated, is_said in ((5, False), (60, True)):
        judgments = concatenate_datasets([once, once.select(range(repeated))])
        splits = DatasetDict(train=people_choose(features, 1, 300, seed=9), test=judgments)
        shared = set(map(tuple, np.sort(column(judgments, TRIPLET), 1)))
        kept = [tuple(sorted(row)) not in shared for row in column(splits["train"], TRIPLET).tolist()]
        splits["train"] = splits["train"].select(np.flatnonzero(kept))
        splits.save_to_disk(study / f"few{repeated}")
        given = ("--benchmarks", f"study=choices:{study / f'few{repeated}'}", "--features", study / "my_features.npy")
        evaluate(*flags, *given)
        found = results(study / "out")
        assert ("people" in found) == is_said == ("study/test/human_entropy_spearman" in found["my_features"])
        text = (study / "out" / "results.md").read_text()
        assert ("5 triplets were judged by several people: too few" in text) != is_said


def test_triplets_in_both_splits_are_not_fitted_to(study, flags, features, monkeypatch):
    judgments = people_choose(features, 2, 100)
    DatasetDict(train=judgments, test=judgments.select(range(50))).save_to_disk(study / "both")
    given = ("--features", study / "my_features.npy")
    evaluate(*flags, "--benchmarks", f"study=choices:{study / 'both'}", *given)
    assert set(results(study / "out")["my_features"]) == {ACCURACY}
    assert "25 triplets of test are also in train" in (study / "out" / "results.md").read_text()


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_a_constant_model_scores_zero_and_is_named(every, study, scale, monkeypatch, caplog):
    np.save(study / "flat.npy", np.tile(scale * np.array([0.1, 0.7, -0.3], np.float32), (NUMBER, 1)))
    evaluate(*every, "--features", study / "flat.npy")
    found = results(study / "out")["flat"]
    for name, metric in found.items():
        if name.endswith(("odd_one_out_accuracy", "spearman")):
            assert metric["value"] == 0
    entropy = found["study/test/choice_cross_entropy"]
    assert entropy["value"] == pytest.approx(np.log(3))
    text = (study / "out" / "results.md").read_text()
    for benchmark in ("study", "levels", "rdm48"):
        note = f"flat finds all stimuli of {benchmark} equally similar: scored 0"
        assert note in text and note in caplog.text


def test_settings_in_a_file(study, features, monkeypatch):
    settings = {
        "benchmarks": [f"study=choices:{study / 'judgments'}", f"rsa:{study / 'RDM48.csv'}"],
        "features": str(study / "my_features.npy"),
        "output_dir": str(study / "out"),
        "rsa_kind": "dissimilarity",
    }
    (study / "config.yaml").write_text(yaml.safe_dump(settings))
    evaluate("--config", study / "config.yaml")
    assert {ACCURACY, "rdm48/rsa_spearman"} <= set(results(study / "out")["my_features"])


# ---- models


@pytest.fixture
def counted_embedding(monkeypatch) -> list:
    """One entry a forward pass, those of loading a model included."""
    seen, forward = [], VisionEncoder.forward

    def counted(self, *args, **kwargs):
        seen.append(1)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(VisionEncoder, "forward", counted)
    return seen


def test_each_set_is_embedded_once_and_kept(every, study, tiny_directory, counted_embedding, monkeypatch):
    model = ("--model_name_or_path", tiny_directory("vit"), "--batch_size", 100)
    load = VisionEncoder.from_pretrained
    after_loading = []

    def loaded(*arguments, **options):
        encoder = load(*arguments, **options)
        after_loading.append(len(counted_embedding))
        return encoder

    monkeypatch.setattr(VisionEncoder, "from_pretrained", loaded)
    evaluate(*every, *model)
    assert len(counted_embedding) - after_loading[-1] == 1  # one batch for three benchmarks
    first = results(study / "out")
    assert set(first) == {"vit", "people"}
    check_contract(first)
    kept = np.load(study / "out" / "embeddings" / "vit" / "stimuli" / "embeddings.npy")
    assert kept.shape[0] == NUMBER

    evaluate(*every, *model)
    assert len(counted_embedding) == after_loading[-1]
    assert results(study / "out") == first
    with pytest.raises(InputError, match="holds embeddings of something else"):
        evaluate(*every, *model, "--bf16", "true")


def test_a_model_that_is_not_there_is_said_first(every, tiny_directory, monkeypatch, counted_embedding):
    with pytest.raises(InputError, match="cannot (find|open) the model 'user/nowhere'"):
        evaluate(*every, "--model_name_or_path", tiny_directory("vit"), "user/nowhere")
    assert counted_embedding == []


def test_several_models_are_compared(every, study, tiny_directory, monkeypatch):
    copy = study / "other" / "vit"
    shutil.copytree(tiny_directory("vit"), copy)
    models = [str(tiny_directory("vit")), str(tiny_directory("dinov2")), str(copy)]
    evaluate(*every, "--model_name_or_path", *models)
    out = study / "out"
    found = results(out)
    assert list(found) == [models[0], "dinov2", models[2], "people"]  # two are called vit
    assert found[models[0]] == found[models[2]]
    agreement = pd.read_csv(out / "agreement.csv").set_index(["benchmark", "model", "other"])
    same = agreement.loc[("study/test", models[0], models[2])]
    assert (same.agreement, same.gained, same.lost, same.p_value) == (1, 0, 0, 1)
    assert agreement.loc[("study/test", models[0], "dinov2")].p_value <= 1
    other = agreement.loc[("study/test", models[0], "dinov2")]
    assert other.low <= other.change <= other.high
    changes = pd.read_csv(out / "changes.csv").set_index(["metric", "other"])
    assert changes.loc[(ACCURACY, "dinov2")][["change", "low", "high"]].tolist() == pytest.approx(
        other[["change", "low", "high"]].tolist()
    )
    assert "rdm48/rsa_spearman" in changes.index.get_level_values(0)
    assert f"dinov2 - {models[0]}" in (out / "results.md").read_text()
    assert set(agreement.index.get_level_values(0)) == {"study/test"} | {
        name.removesuffix("/odd_one_out_accuracy") for name in found["people"] if name.startswith("levels")
    }
    similarity = pd.read_csv(out / "model_similarity.csv").set_index(["stimuli", "model", "other"]).cka
    assert len(similarity) == 3 and similarity[("stimuli", models[0], models[2])] == pytest.approx(1)
    folder = out / "embeddings" / "dinov2" / "stimuli" / "embeddings.npy"
    first = out / "embeddings" / models[0].strip("/").replace("/", "--") / "stimuli" / "embeddings.npy"
    assert similarity[("stimuli", models[0], "dinov2")] == pytest.approx(linear_cka(np.load(first), np.load(folder)))


# ---- cards


@pytest.fixture
def aligned(tiny_directory, tmp_path) -> Path:
    """A model with the card that alignment gave it."""
    directory = tmp_path / "aligned"
    VisionEncoder.from_pretrained(str(tiny_directory("vit"))).save_pretrained(directory)
    old = {"value": 0.5, "n": 100, "chance": 1 / 3, "ci95": [0.4, 0.6]}
    metrics = {ACCURACY: old, "mine/coarse/odd_one_out_accuracy": old}
    (directory / "results.json").write_text(json.dumps({"base": metrics, "aligned": metrics}))
    facts = {"pooling": "pooler", "similarity": "dot", "exported_temperature": 1.0, "triplets": "user/triplets"}
    (directory / "alignment.json").write_text(json.dumps(facts))
    write_model_card(directory, "user/aligned")
    return directory


def test_numbers_are_added_to_a_card(every, study, aligned, monkeypatch):
    before = (aligned / "README.md").read_text()
    entries = yaml.safe_load((aligned / ".eval_results" / "odd_one_out.yaml").read_text())
    flags = (*every, "--model_name_or_path", aligned, "--update_card", aligned)
    evaluate(*flags)
    text = (aligned / "README.md").read_text()
    assert card_errors(text) == [] and str(study) not in text
    table = text[
        text.index("\n<!-- evaluation -->") : text.index("<!-- /evaluation -->\n") + len("<!-- /evaluation -->\n")
    ]
    assert text.replace(table, "").split("---\n")[2:] == before.split("---\n")[2:]
    assert f"| {ACCURACY}" not in table and "| rdm48/rsa_spearman" in table  # the one has a value before alignment
    card = ModelCard(text)
    metrics = {result.metric_name: result for result in card.data.eval_results}
    found = results(study / "out")["aligned"]
    assert set(metrics) == {*found, "mine/coarse/odd_one_out_accuracy"}
    assert metrics["mine/coarse/odd_one_out_accuracy"].metric_value == 0.5
    updated = metrics[ACCURACY]
    assert updated.metric_value == found[ACCURACY]["value"] and updated.metric_args["before"] == 0.5
    assert updated.metric_args["n"] == found[ACCURACY]["n"]
    assert card.data.model_name == "user/aligned" and card.data.library_name == "transformers"
    assert yaml.safe_load((aligned / ".eval_results" / "odd_one_out.yaml").read_text()) == entries

    evaluate(*flags)
    assert (aligned / "README.md").read_text() == text


def test_judgments_of_the_hub_are_named(aligned):
    metric = {"value": 0.625, "n": 8, "chance": 1 / 3, "ci95": [0.3, 0.9]}
    new = {ACCURACY: metric, "study/test/choice_cross_entropy": metric}
    for value in (0.625, 0.75):
        metric["value"] = value
        update_card(aligned, new, {"study": "user/judgments@v1"})
    text = (aligned / ".eval_results" / "odd_one_out.yaml").read_text()
    assert eval_results_errors(".eval_results/odd_one_out.yaml", text) == []
    *kept, entry = yaml.safe_load(text)
    assert [old["dataset"]["id"] for old in kept] == ["user/triplets"] * len(kept) and kept
    assert entry["dataset"] == {"id": "user/judgments", "task_id": "test", "revision": "v1"} and entry["value"] == 0.75
    (result,) = [
        result for result in ModelCard.load(aligned / "README.md").data.eval_results if result.metric_name == ACCURACY
    ]
    assert (result.dataset_type, result.dataset_revision) == ("user/judgments", "v1")


def test_a_model_without_a_card_gets_one(tiny_directory, tmp_path):
    shutil.copytree(tiny_directory("vit"), tmp_path / "bare")
    metric = {"value": 0.5, "n": 8, "chance": 0.0, "ci95": [0.3, 0.9]}
    update_card(tmp_path / "bare", {"rdm48/rsa_spearman": metric}, {"rdm48": "/some/where/rdm48.csv"})
    text = (tmp_path / "bare" / "README.md").read_text()
    assert card_errors(text) == [] and "/some/where" not in text
    (result,) = ModelCard(text).data.eval_results
    assert (result.metric_value, result.dataset_name) == (0.5, "rdm48")
    assert not (tmp_path / "bare" / ".eval_results").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("README.md", "---\n[: x\n---\n"),
        ("README.md", "---\nmodel-index: 3\n---\n"),
        (".eval_results/odd_one_out.yaml", "3"),
        (".eval_results/odd_one_out.yaml", "[: x"),
    ],
)
def test_a_card_that_cannot_be_read_is_left_alone(aligned, every, file, content, monkeypatch, counted_embedding):
    (aligned / file).write_text(content)
    with pytest.raises(InputError, match=r"cannot read|is no list of evaluation results"):
        evaluate(*every, "--model_name_or_path", aligned, "--update_card", aligned)
    assert (aligned / file).read_text() == content and counted_embedding == []


# ---- what cannot be evaluated


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("--benchmarks", "choices"), "--benchmarks has 'choices'; a colon must follow it, and odd-one-out choices"),
        (("--benchmarks", "levels:"), "--benchmarks has 'levels'; a colon must follow it, and the raw results"),
        (("--benchmarks", "rsa"), "--benchmarks has 'rsa'; a colon must follow it, and a similarity matrix"),
        (
            ("--benchmarks", "thing:x"),
            "'thing:x', whose kind is unknown; kinds are choices:JUDGMENTS, things:JUDGMENTS",
        ),
        (("--benchmarks", "choices:nowhere"), "nowhere"),
        (("--benchmarks", "levels:nowhere"), "nowhere"),
        (("--benchmarks", "rsa:nowhere.csv"), "nowhere"),
        (("--features", "nowhere.npy"), "cannot read features nowhere.npy"),
        (("--features", "a.npy", "b.npy"), "there are 2 --features for 1 benchmarks"),
        (("--images", "a", "b", "c"), "there are 3 --images for 1 benchmarks"),
        (("--model_name_or_path", "a", "b"), "--features are of one model"),
        (("--model_name_or_path", "people"), "no model can have the name 'people'"),
        (("--pooling", "cls"), "--features are taken as they are"),
        (("--transform", "nowhere"), "cannot open the transform 'nowhere'"),
        (("--benchmarks", "a/b=choices:x"), "the name 'a/b' is a part of metrics' names; leave out /"),
        (("--object_names", "nowhere.txt"), "cannot read the names nowhere.txt"),
        (("--update_card", "user/model"), "--update_card user/model is none of the models"),
        (("--update_card", "x", "--transform", "y"), "leave out --transform"),
        (("--output_dir", __file__), "cannot write to .*; give another --output_dir"),
    ],
)
def test_wrong_settings_are_named(things, changes, message, monkeypatch):
    with pytest.raises(InputError, match=message):
        evaluate(*things, *changes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "give --benchmarks"),
        (("--benchmarks", "choices:x"), "give --model_name_or_path, the models to evaluate, or --features"),
        (
            ("--benchmarks", "choices:x", "--model_name_or_path", "a"),
            "give --images, the pictures that people judged, or --features",
        ),
        (("--benchmarks", "choices:x", "--model_name_or_path", "a", "a", "--images", "x"), "names 'a' twice"),
    ],
)
def test_what_is_missing_is_named(given, message, monkeypatch):
    with pytest.raises(InputError, match=message):
        evaluate(*given)


def test_stimuli_that_do_not_fit(every, things, study, features, images, monkeypatch):
    np.save(study / "few.npy", features[:20])
    with pytest.raises(InputError, match="points outside the 20 images"):
        evaluate(*things, "--features", study / "few.npy")
    with pytest.raises(InputError, match="20 rows of features, but 24 images"):
        evaluate(*things, "--features", study / "few.npy", "--images", study / "stimuli")
    np.save(study / "two.npy", features[:2])
    with pytest.raises(InputError, match="two.npy has 2 stimuli; at least 3 are needed"):
        evaluate(*things, "--features", study / "two.npy")
    bad = features.copy()
    bad[7, 0] = np.nan
    np.save(study / "bad.npy", bad)
    with pytest.raises(InputError, match="row 7 of the embeddings of bad.npy is not finite"):
        evaluate(*things, "--features", study / "bad.npy")
    AffineTransform.identity(7).save_pretrained(study / "wide")
    with pytest.raises(InputError, match="do not fit a transform of width 7"):
        evaluate(*things, "--transform", study / "wide")

    few = ("--features", study / "few.npy")
    for benchmark, message in (
        (f"levels:{study / 'levels'}", "judges 24 pictures, and there are 20 rows of features"),
        (f"rsa:{study / 'RDM48.csv'}", "RDM48.csv has 24 stimuli, and few.npy has 20"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate("--output_dir", study / "out", *few, "--benchmarks", benchmark)


def test_judgments_of_other_pictures(every, study, images, tiny_directory, monkeypatch, counted_embedding):
    others = [f"{CLASSES[0]}_9{i}.JPEG" for i in range(NUMBER)]
    images.add_column("filename", others).save_to_disk(study / "others")
    images.save_to_disk(study / "nameless")
    model = ("--output_dir", study / "out", "--model_name_or_path", tiny_directory("vit"))
    rsa, levels = f"rsa:{study / 'RDM48.csv'}", f"levels:{study / 'levels'}"
    with pytest.raises(InputError, match="24 stimuli of RDM48.csv are not among the 24 images of others: 'n0"):
        evaluate(*model, "--benchmarks", rsa, "--images", study / "others")
    with pytest.raises(InputError, match="n02085620_0.JPEG"):
        evaluate(*model, "--benchmarks", levels, "--images", study / "others")
    with pytest.raises(InputError, match="have no names: Levels needs a column filename"):
        evaluate(*model, "--benchmarks", levels, "--images", study / "nameless")
    with pytest.raises(InputError, match="two benchmarks are called 'rdm48'"):
        evaluate(*model, "--benchmarks", rsa, rsa, "--images", study / "stimuli")
    with pytest.raises(InputError, match="is none of the models that are evaluated"):
        card = ("--update_card", tiny_directory("dinov2"))
        evaluate(*model, "--benchmarks", rsa, "--images", study / "stimuli", *card)
    assert counted_embedding == []


def test_a_matrix_whose_diagonal_tells_nothing(study, flags, monkeypatch):
    matrix = np.random.default_rng(0).normal(size=(NUMBER, NUMBER))
    np.save(study / "any.npy", matrix + matrix.T)
    given = (*flags, "--benchmarks", f"rsa:{study / 'any.npy'}", "--features", study / "my_features.npy")
    with pytest.raises(InputError, match="does not show whether the entries are similarities or dissimilarities"):
        evaluate(*given)
    evaluate(*given, "--rsa_kind", "similarity")
    value = results(study / "out")["my_features"]["any/rsa_spearman"]["value"]
    evaluate(*given, "--rsa_kind", "dissimilarity")
    assert results(study / "out")["my_features"]["any/rsa_spearman"]["value"] == pytest.approx(-value)


@pytest.mark.slow
@pytest.mark.multi_process
def test_two_processes_measure_the_same_as_one(every, study, tiny_directory, monkeypatch):
    model = ("--model_name_or_path", tiny_directory("vit"))
    evaluate(*every, *model)
    config = RECIPE.parent / "accelerate" / "cpu_2_processes.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config, RECIPE]
    flags = [*every, *model, "--output_dir", study / "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*map(str, launch), *map(str, flags)], capture_output=True, text=True, env=environment, cwd=RECIPE.parents[1]
    )
    assert run.returncode == 0, run.stderr[-3000:]
    alone, together = results(study / "out"), results(study / "two")
    assert alone["people"] == together["people"]
    one, two = ({name: metric["value"] for name, metric in found["vit"].items()} for found in (alone, together))
    assert two == pytest.approx(one, abs=1e-4)  # embeddings differ by rounding, as other images are in a batch
    assert run.stderr.count("The results are in") == 1


def test_published_levels_and_matrices_measure_as_their_files_do(study, flags, images, monkeypatch):
    """Also of pictures that come in another order than the judgments number them."""
    order = np.random.default_rng(4).permutation(NUMBER)
    shuffled = images.add_column("filename", NAMES).select(order)
    shuffled.save_to_disk(study / "shuffled")
    np.save(study / "shuffled.npy", np.load(study / "my_features.npy")[order])
    for path, name in ((study / "levels", "levels"), (study / "RDM48.csv", "rdm48")):
        copy = publish("dataset", path, f"me/{name}", output_dir=study / "copies", dry_run=True, progress=False)
        (study / "published").mkdir(exist_ok=True)
        copy.rename(study / "published" / name)
    stimuli = ["--images", study / "shuffled", "--features", study / "shuffled.npy"]
    kinds = [f"levels:{study / 'levels'}", f"rsa:{study / 'RDM48.csv'}"]
    evaluate(*flags, *stimuli, "--benchmarks", *kinds)
    expected = results(study / "out")
    kinds = [f"levels:{study / 'published' / 'levels'}", f"rsa:{study / 'published' / 'rdm48'}"]
    evaluate(*flags, *stimuli, "--benchmarks", *kinds)
    assert results(study / "out") == expected
    images.add_column("filename", [*NAMES[:-1], "n1_1.JPEG"]).save_to_disk(study / "others")
    with pytest.raises(InputError, match=f"1 stimuli of .* are not among the 24 images: '{NAMES[-1]}'"):
        evaluate(*flags, "--images", study / "others", *stimuli[2:], "--benchmarks", kinds[0])
