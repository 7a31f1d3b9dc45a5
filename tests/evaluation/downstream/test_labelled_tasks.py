"""The command's benchmarks of labelled images, on features that a function makes of tiny pictures."""

import json
import shutil

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from huggingface_hub import ModelCard
from PIL import Image

from hf_alignet.encoder import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.evaluation.benchmark import Settings
from hf_alignet.evaluation.benchmarks import open_benchmarks, parse_task
from hf_alignet.evaluation.downstream import labelled_tasks
from hf_alignet.evaluation.downstream.corrupted_images import VERSIONS, CorruptedStimuli
from hf_alignet.evaluation.downstream.labelled_images import num_common_images, open_parts, open_split
from hf_alignet.images.picture_record import PictureRecord
from hf_alignet.workflows.evaluation_run import evaluate

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 210)}


def pictures(number, seed, names=tuple(COLOURS), label=None):
    """Pictures of one noisy colour a class."""
    rng = np.random.default_rng(seed)
    rows = {"image": [], "label": []}
    for index, name in enumerate(names):
        for _ in range(number):
            noise = rng.normal(0, 40, (32, 32, 3))
            rows["image"].append(Image.fromarray((np.array(COLOURS[name]) + noise).clip(0, 255).astype(np.uint8)))
            rows["label"].append(index if label is None else name)
    kind = ClassLabel(names=list(names)) if label is None else Value("string")
    return Dataset.from_dict(rows, Features({"image": ImageFeature(), "label": kind}))


@pytest.fixture
def colours(tmp_path):
    """A dataset with train and test, and one of other pictures of two of its classes, by name."""
    DatasetDict(train=pictures(8, 0), test=pictures(6, 1)).save_to_disk(tmp_path / "colours")
    DatasetDict(night=pictures(6, 2, ("blue", "red"), "text")).save_to_disk(tmp_path / "dark")
    return tmp_path


def test_every_benchmark_in_one_command(colours, tiny_directory, tmp_path):
    (tmp_path / "h").mkdir()
    names = [f"{side}{i}" for side in ("left", "right") for i in range(4)]
    lines = ["n00001740 a", "a b", "b left", "b right", *(f"{name[:-1]} {name}" for name in names)]
    (tmp_path / "h" / "class_hierarchy.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "h" / "node_names.txt").write_text("n00001740\tentity\n")
    data = pictures(8, 5)
    data = data.select(range(16)).remove_columns("label").add_column("wnid", [names[i % 8] for i in range(16)])
    DatasetDict(train=data).save_to_disk(colours / "breeds")
    source = colours / "colours"
    results = evaluate(
        {"base": str(tiny_directory("dinov2")), "other": str(tiny_directory("vit_classifier"))},
        [
            *(f"{kind}:{source}" for kind in ("few_shot", "probe", "anomaly", "retrieval")),
            f"shift:{source}#train->{colours / 'dark'}",
        ],
        output_dir=tmp_path / "out",
        progress=False,
    )
    expected = {
        *(f"colours_few_shot/{shots}_shot/few_shot_accuracy" for shots in (1, 5)),
        "colours_probe/all/probe_accuracy",
        *(f"colours_anomaly/{kind}/anomaly_auroc" for kind in ("one_vs_rest", "leave_one_out")),
        *(f"colours_retrieval/test/recall_at_{k}" for k in (1, 5, 10)),
        "colours_retrieval/test/mean_average_precision",
        "colours_shift/unshifted/shift_accuracy",
        "colours_shift/dark#night/shift_accuracy",
    }
    assert results["base"].keys() == results["other"].keys() == expected
    assert results["base"]["colours_few_shot/5_shot/few_shot_accuracy"]["value"] > 0.8
    assert results["base"]["colours_shift/dark#night/shift_accuracy"]["chance"] == 0.5
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == json.loads(json.dumps(results))
    assert "more shots are left out" in (tmp_path / "out" / "results.md").read_text()
    figures = {f"colours_{kind}.png" for kind in ("few_shot", "probe", "anomaly", "retrieval", "shift")}
    figures |= {"downstream_before_after.png", "gains.png", "shots.png"}
    assert {file.name for file in (tmp_path / "out").glob("*.png")} == figures
    again = evaluate(
        str(tiny_directory("dinov2")),
        [f"x=breeds:{colours / 'breeds'}"],
        label_column="wnid",
        breeds_hierarchy=str(tmp_path / "h"),
        progress=False,
    )
    (found,) = again.values()
    assert {name.split("/")[1] for name in found} == {"entity13_source", "entity13_target"}


def test_corrupted_pictures_are_the_same_for_every_model_and_batch(colours, tiny_directory, tmp_path, monkeypatch):
    monkeypatch.setattr(labelled_tasks, "CORRUPTED_IMAGES", 5)
    carded = shutil.copytree(tiny_directory("dinov2"), tmp_path / "carded")
    results = evaluate(
        {"base": str(carded), "other": str(tiny_directory("vit_classifier"))},
        [f"corruption:{colours / 'colours'}"],
        output_dir=tmp_path / "out",
        update_card=str(carded),
        progress=False,
    )
    for found in results.values():
        assert found["colours_corruption/mean/corruption_accuracy"]["n"] == 5
        assert len({name for name in found if name.startswith("colours_corruption/severity_")}) == 5
        assert len(found) == 48 or "colours_corruption/mean/kept_accuracy" not in found
    figures = {"colours_corruption.png", "downstream_before_after.png", "gains.png"}
    assert {file.name for file in (tmp_path / "out").glob("*.png")} == figures
    assert "5 of the 18 images to test on are corrupted" in (tmp_path / "out" / "results.md").read_text()
    shown = ModelCard.load(carded / "README.md").data.eval_results
    assert {result.metric_name for result in shown} == {name for name in results["base"] if name.count("/") == 2}
    assert {(result.dataset_name, result.dataset_split) for result in shown} == {("colours", "test")}

    images = open_split(f"{colours / 'colours'}#test")
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    stimuli = CorruptedStimuli(images, 5, seed=3)
    assert sorted(np.bincount(stimuli.taken.labels)) == [1, 2, 2] and len(stimuli) == 5 * VERSIONS
    reader = stimuli._readable(encoder.preprocessor)
    whole = reader.read(list(range(2 * VERSIONS)))["pixel_values"]
    single = torch.cat([reader.read([row])["pixel_values"] for row in (0, 3, VERSIONS + 3)])
    assert torch.equal(whole[[0, 3, VERSIONS + 3]], single)
    assert len(torch.unique(whole[:VERSIONS], dim=0)) == VERSIONS
    more = CorruptedStimuli(images, 18, seed=3)  # a version depends on the picture, not on the others that are taken
    place = more.taken.rows.tolist().index(stimuli.taken.rows[1])
    again = more._readable(encoder.preprocessor).read(list(range(place * VERSIONS, (place + 1) * VERSIONS)))
    assert torch.equal(again["pixel_values"], whole[VERSIONS:])
    other = CorruptedStimuli(images, 18, seed=4)._readable(encoder.preprocessor)
    noisy = range(place * VERSIONS + 1, place * VERSIONS + 16)
    assert not torch.equal(other.read(list(noisy))["pixel_values"], again["pixel_values"][1:16])
    assert torch.equal(other.read([place * VERSIONS])["pixel_values"], again["pixel_values"][:1])


def test_a_broken_picture_is_named_by_its_row(colours, tiny_directory):
    data = pictures(4, 0).cast_column("image", ImageFeature(decode=False))
    cells = data["image"][:]
    cells[4:8] = [{"bytes": b"no picture", "path": None}] * 4  # those of the second class, of which one is taken
    broken = data.remove_columns("image").add_column("image", cells).cast_column("image", ImageFeature())
    DatasetDict(test=broken).save_to_disk(colours / "broken")
    stimuli = CorruptedStimuli(open_split(str(colours / "broken")), 3, seed=0)
    row = stimuli.taken.rows[1]
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    assert row in range(4, 8)
    with pytest.raises(InputError, match=f"image row {row} cannot be decoded"):
        stimuli.embed(encoder, None, progress=False)


def test_labels_are_text_or_numbers_and_columns_have_names(colours):
    train, test = open_parts(str(colours / "colours"), 0)
    assert train.classes == test.classes == ["blue", "green", "red"]
    assert np.bincount(train.labels).tolist() == [8, 8, 8] and train.labels[0] == 2
    half, other = open_parts(str(colours / "dark"), 0)
    assert half.classes == ["blue", "red"] and np.bincount(half.labels).tolist() == [3, 3]
    assert not set(half.rows) & set(other.rows) and half.stimuli is other.stimuli
    assert open_split(f"{colours / 'colours'}#test").labels.shape == (18,)
    assert num_common_images(train, test) == num_common_images(half, other) == 0
    assert num_common_images(train, open_split(f"{colours / 'colours'}#train")) == 24


def test_datasets_are_opened_and_compared_once(colours, monkeypatch):
    read, of = [], PictureRecord.of
    monkeypatch.setattr(PictureRecord, "of", lambda *given: read.append(len(given[0])) or of(*given))
    tasks = [parse_task(f"{kind}:{colours / 'colours'}") for kind in ("few_shot", "probe", "anomaly")]
    opened = open_benchmarks(tasks, [], Settings("dot", None, None, 0))
    assert read == [24, 18]
    assert all(list(benchmark.sets) == list(opened[0].sets) for benchmark in opened)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.remove_columns("label"), "needs a column of classes: name it in `label_column`; there are image"),
        (
            lambda d: d.remove_columns("label").add_column("label", [1, 1, 1, None, *[1] * 20]),
            "row 3 of .* has no class in the column 'label' \\(1 of 24 have none\\)",
        ),
    ],
)
def test_images_without_classes(change, message, tmp_path):
    DatasetDict(train=change(pictures(8, 0))).save_to_disk(tmp_path / "bad")
    with pytest.raises(InputError, match=message):
        open_split(str(tmp_path / "bad"))


@pytest.mark.parametrize("is_text", [True, False])
def test_lists_of_classes_are_for_tests_of_shift(is_text, colours):
    data = pictures(2, 7)
    cells = [[0], [0, 2, 0], [1], [], [2, 1], [1, 2]]
    if is_text:
        feature, cells = [Value("string")], [[list(COLOURS)[label] for label in cell] for cell in cells]
    else:
        feature, cells = [ClassLabel(names=list(COLOURS))], cells[:3] + [[-1]] + cells[4:]
    features = Features({"image": ImageFeature(), "label": feature})
    real = Dataset.from_dict({"image": data["image"][:], "label": cells}, features)
    DatasetDict(real=real).save_to_disk(colours / "real")
    images = open_split(f"{colours / 'real'}#real")
    assert images.classes == ["blue", "green", "red"] and images.rows.tolist() == [0, 1, 2, 4, 5]
    assert images.accepted == [[2], [2, 0], [1], [0, 1], [1, 0]]
    source = f"shift:{colours / 'colours'}#train->{colours / 'real'}#real"
    (benchmark,) = open_benchmarks([parse_task(source)], [], Settings("dot", None, None, 0))
    assert benchmark.notes == ["colours_shift: 1 of 6 images of real#real have no class: left out"]
    means = np.eye(3)[[2, 1, 0]]  # of blue, green, red, the order of names
    train_embeddings = means[np.repeat([0, 1, 2], 8)] + 0.01 * np.random.default_rng(0).normal(size=(24, 3))
    answers = ["red", "blue", "red", "red", "green", "green"]  # right for all but the third; the fourth has no class
    found = benchmark.measure(train_embeddings, means[[["red", "green", "blue"].index(name) for name in answers]])
    metric = found.metrics["colours_shift/real#real/shift_accuracy"]
    assert (metric["value"], metric["n"]) == (0.8, 5) and metric["chance"] == pytest.approx(8 / 15)
    own = "colours#train"
    of_test = {"colours_shift/real#real": "real#real"}
    assert benchmark.origins == {"colours_shift": own, "colours_shift/unshifted": own} | of_test
    for bad in (f"probe:{colours / 'real'}#real", f"shift:{colours / 'real'}#real->{colours / 'colours'}#test"):
        with pytest.raises(InputError, match="real#real has lists of classes: only the tests of shift"):
            open_benchmarks([parse_task(bad)], [], Settings("dot", None, None, 0))


@pytest.mark.parametrize(
    ("feature", "cells", "message"),
    [
        ([Value("string")], [[], [], []], "has only empty lists"),
        ([[Value("string")]], [[["a"]], [["b"]], [["a"]]], "must hold classes or lists of classes, not lists of List"),
    ],
)
def test_lists_that_are_no_classes(feature, cells, message, tmp_path):
    features = Features({"image": ImageFeature(), "label": feature})
    Dataset.from_dict({"image": pictures(1, 0)["image"][:], "label": cells}, features).save_to_disk(tmp_path / "bad")
    with pytest.raises(InputError, match=f"the column 'label' of bad#.* {message}"):
        open_split(str(tmp_path / "bad"))


def test_other_classes_in_train_and_test(tmp_path):
    data = DatasetDict(train=pictures(3, 0, ("red", "green"), "text"), test=pictures(3, 1, ("red", "blue"), "text"))
    data.save_to_disk(tmp_path / "bad")
    with pytest.raises(InputError, match="only in train: green; only in test: blue"):
        open_parts(str(tmp_path / "bad"), 0)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("few_shot:nowhere", {}, "cannot open the dataset 'nowhere'"),
        ("breeds:{colours}", {}, "needs `breeds_hierarchy`"),
        ("shift:{colours}", {}, "must be like shift:user/photos->user/sketches"),
        ("probe:{colours}#dev", {}, "has no split 'dev': name one of train, test"),
        ("shift:{colours}->{colours}#test", {}, "has several splits: name one of train, test"),
        ("probe:{colours}", {"label_column": "nosuch"}, "needs a column of classes"),
        ("probe:{colours}", {"features": np.ones((24, 2))}, "labelled images need a model"),
    ],
)
def test_refused(task, options, message, colours, tiny_directory):
    models = () if "features" in options else str(tiny_directory("dinov2"))
    with pytest.raises(InputError, match=message):
        evaluate(models, [task.format(colours=colours / "colours")], **options)


def test_unknown_kinds_name_all():
    with pytest.raises(InputError, match="few_shot:IMAGES"):
        parse_task("fewshot:x")
