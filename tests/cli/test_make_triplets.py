"""The recipe that makes triplets: in this process, and once as a user starts it, on two processes up to the Hub."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, load_dataset
from datasets import Image as ImageFeature
from datasets.distributed import split_dataset_by_node
from fakehub import USER, FakeHub
from fakehub.checks import card_errors
from PIL import Image

from hf_alignet.cli.align import COMMAND as ALIGN
from hf_alignet.cli.align import align_command
from hf_alignet.cli.make_triplets import COMMAND, make_command
from hf_alignet.encoder import AffineTransform
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError, RunError
from hf_alignet.hub.transport import repository as sharing
from hf_alignet.images.decoding import read_pictures
from hf_alignet.images.opening import load_images
from hf_alignet.storage import OURS, output_folder
from hf_alignet.triplets import check_triplets, load_triplets, making, shards
from hf_alignet.triplets.making import TripletDesign
from hf_alignet.triplets.triplet_dataset import column
from hf_alignet.workflows import triplet_run

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "make_triplets.py"
NUM_IMAGES, NUM_CLASSES = 60, 6


def make(monkeypatch, *flags, **replaced) -> None:
    """The command in this process, with some of the functions that it uses replaced; errors stay exceptions."""
    with monkeypatch.context() as patched:
        for name, function in replaced.items():
            patched.setattr(triplet_run, name, function)
        COMMAND.call(make_command, list(map(str, flags)))


@pytest.fixture(scope="module")
def photos() -> Dataset:
    """60 pictures of six classes, in no order."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(NUM_IMAGES) % NUM_CLASSES)
    colours = rng.integers(40, 216, (NUM_CLASSES, 1, 1, 3))
    noise = rng.integers(-30, 30, (NUM_IMAGES, 16, 16, 3))
    pictures = [Image.fromarray(array) for array in (colours[labels] + noise).astype(np.uint8)]
    names = ClassLabel(names=["cat", "dog", "cow", "owl", "ant", "bee"])
    features = Features({"image": ImageFeature(), "label": names})
    return Dataset.from_dict({"image": pictures, "label": labels}, features=features)


@pytest.fixture
def flags(photos, tiny_directory, tmp_path) -> list:
    photos.save_to_disk(tmp_path / "photos")
    rng = np.random.default_rng(1)
    transform = AffineTransform(rng.normal(size=(32, 32)) / 6, rng.normal(size=32), mean=0.1, std=1.5)
    transform.save_pretrained(tmp_path / "transform")
    return [
        *("--images", tmp_path / "photos", "--teacher", tiny_directory("dinov2")),
        *("--transform", tmp_path / "transform", "--num_triplets", 250, "--num_validation_triplets", 40),
        *("--num_clusters", 5, "--held_out_share", 0.2, "--output_dir", tmp_path / "out", "--disable_tqdm", "true"),
    ]


@pytest.fixture
def cheap(photos, tmp_path) -> list:
    """Features in place of a model."""
    photos.save_to_disk(tmp_path / "photos")
    features = np.eye(NUM_CLASSES)[photos["label"]] + np.random.default_rng(0).normal(size=(NUM_IMAGES, 6)) / 4
    np.save(tmp_path / "features.npy", features)
    return [
        *("--images", tmp_path / "photos", "--features", tmp_path / "features.npy", "--num_triplets", 250),
        *("--num_validation_triplets", 40, "--held_out_share", 0.2, "--output_dir", tmp_path / "out"),
        *("--num_clusters", 5, "--disable_tqdm", "true"),
    ]


@pytest.fixture
def _small_shards(monkeypatch):
    for module in (shards, making):
        monkeypatch.setattr(module, "ROWS_PER_SHARD", 100)


def contents(directory: Path) -> dict[str, bytes]:
    files = [file for file in directory.rglob("*") if not file.is_dir() and file.name not in OURS]
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


def info(directory: Path) -> dict:
    return json.loads((directory / "triplets.json").read_text())


def embeddings_of(flags, photos, rows=None) -> np.ndarray:
    encoder = VisionEncoder.from_pretrained(str(flags[3]))
    transform = AffineTransform.from_pretrained(flags[5])
    return transform(encoder.embed(photos, rows=rows, progress=False))


# ---- what is made


@pytest.mark.usefixtures("_small_shards")
def test_triplets_of_a_model_and_a_transform(flags, photos, tmp_path, monkeypatch):
    make(monkeypatch, *flags)
    out = tmp_path / "out"
    shard_names = [f"triplets/train-{i:05d}-of-00003.parquet" for i in range(3)]
    shard_names += ["triplets/validation-00000-of-00001.parquet", "clusters/train-00000-of-00001.parquet"]
    assert set(contents(out)) == {"README.md", "triplets.json", "pictures.parquet", *shard_names}
    text = (out / "README.md").read_text()
    assert card_errors(text) == [] and "\n\n\n" not in text
    assert not [name for name, content in contents(out).items() if str(tmp_path).encode() in content]
    facts = info(out)
    assert (facts["teacher"], facts["transform"], facts["images"]) == ("dinov2", "transform", "photos")
    assert facts["num_triplets"] == {"train": 250, "validation": 40} and facts["num_held_out_images"] == 12
    assert facts["num_clusters"] == 5 and facts["num_images"] == 60 and facts["num_skipped_images"] == 0

    embeddings = embeddings_of(flags, photos)
    cluster = np.array(load_dataset(str(out), "clusters", split="train")["cluster"])
    assert len(cluster) == 60 and set(cluster) == set(range(5))
    named = {}
    for split, rows in load_dataset(str(out), "triplets").items():
        triplets, similarities = column(rows, "triplet"), column(rows, "similarities")
        a, b, c = (embeddings[triplets[:, i]] for i in range(3))
        expected = np.stack([(a * b).sum(1), (a * c).sum(1), (b * c).sum(1)], 1)
        np.testing.assert_allclose(similarities, expected, atol=1e-3)
        np.testing.assert_array_equal(rows["odd"], 2 - similarities.argmax(1))
        assert {len(set(row)) for row in cluster[triplets].tolist()} == {2}
        named[split] = set(triplets.ravel().tolist())
    assert not named["train"] & named["validation"]

    with pytest.raises(InputError, match="holds triplets already: remove it, or give another --output_dir"):
        make(monkeypatch, *flags)


@pytest.mark.usefixtures("_small_shards")
def test_processes_that_share_the_reading_get_each_triplet_once(cheap, tmp_path, monkeypatch):
    make(monkeypatch, *cheap, "--hold_out", "nothing", "--num_triplets", 620)
    expected = sorted(map(tuple, column(load_triplets(str(tmp_path / "out"))["train"], "triplet").tolist()))
    assert len(set(expected)) == 620
    for streaming in (False, True):
        whole = load_dataset(str(tmp_path / "out"), "triplets", split="train", streaming=streaming)
        if streaming:
            assert whole.num_shards == 7
        for world_size in (2, 3):
            parts = [split_dataset_by_node(whole, rank, world_size) for rank in range(world_size)]
            rows = [[tuple(row["triplet"]) for row in part] for part in parts]
            assert sorted(row for part in rows for row in part) == expected
            assert all(len(part) > 100 for part in rows)
    validation = load_dataset(str(tmp_path / "out"), "triplets", split="validation", streaming=True)
    assert len(list(validation)) == 40


def test_output_is_what_align_takes(flags, tiny_directory, tmp_path, monkeypatch):
    make(monkeypatch, *flags, "--save_images", "true")
    out = tmp_path / "out"
    images, triplets = load_images(str(out)), load_triplets(str(out))
    for split, rows in triplets.items():
        check_triplets(rows, len(images), "similarities", split)
    argv = [
        *("--model_name_or_path", tiny_directory("dinov2"), "--images", out, "--triplets", out, "--max_steps", 2),
        *("--output_dir", tmp_path / "aligned", "--per_device_train_batch_size", 8, "--save_strategy", "no"),
    ]
    ALIGN.call(align_command, list(map(str, argv)))
    results = json.loads((tmp_path / "aligned" / "results.json").read_text())
    assert list(results["aligned"]) == ["out/validation/odd_one_out_accuracy"]
    assert results["aligned"]["out/validation/odd_one_out_accuracy"]["n"] == 40


def test_pictures_of_an_image_folder_are_saved_with_the_rows(photos, cheap, tmp_path, monkeypatch):
    order = np.argsort(photos["label"], kind="stable")
    for place, row in enumerate(order.tolist()):
        name = photos.features["label"].int2str(photos[row]["label"])
        (tmp_path / "folder" / name).mkdir(parents=True, exist_ok=True)
        photos[row]["image"].save(tmp_path / "folder" / name / f"{place:02d}.png")
    folder = load_images(str(tmp_path / "folder"))
    expected = [np.asarray(picture) for picture in read_pictures(folder, list(range(NUM_IMAGES)))]
    labels = folder["label"][:]
    make(monkeypatch, *cheap, "--images", tmp_path / "folder", "--save_images", "true")
    shutil.rmtree(tmp_path / "folder")
    saved = load_images(str(tmp_path / "out"))
    assert saved["label"][:] == labels and saved.features["label"] == folder.features["label"]
    for picture, array in zip(read_pictures(saved, list(range(NUM_IMAGES))), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(picture), array)
    opened = load_dataset(str(tmp_path / "out"), "images", split="train")
    np.testing.assert_array_equal(np.asarray(opened[17]["image"]), expected[17])
    assert not [name for name, text in contents(tmp_path / "out").items() if str(tmp_path).encode() in text]


def test_a_picture_in_front_of_a_folder_changes_nothing(flags, photos, tiny_directory, tmp_path, monkeypatch, caplog):
    (tmp_path / "folder").mkdir()
    for row in range(NUM_IMAGES):
        photos[row]["image"].save(tmp_path / "folder" / f"b{row:02d}.png")
    data = ["--images", tmp_path / "folder"]
    make(monkeypatch, *flags, *data, "--num_validation_triplets", 10_000)
    assert "`num_validation_triplets` is 220, not 10000: the images allow no more" in caplog.text  # 12 held out
    weights = []
    for name in ("before", "after"):
        argv = [
            *("--model_name_or_path", tiny_directory("dinov2"), *data, "--triplets", tmp_path / "out"),
            *("--output_dir", tmp_path / name, "--max_steps", 2, "--per_device_train_batch_size", 8),
            *("--save_strategy", "no", "--disable_tqdm", "true"),
        ]
        with caplog.at_level(logging.INFO):
            ALIGN.call(align_command, list(map(str, argv)))
        assert ("image row 0 (a_new.png) is new" in caplog.text) == (name == "after")
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
        shutil.copy(tmp_path / "folder" / "b59.png", tmp_path / "folder" / "a_new.png")
    assert weights[0] == weights[1]  # not one bit, though all rows are others now
    (tmp_path / "folder" / "b07.png").unlink()
    with pytest.raises(
        InputError, match=r"the triplets 'out' were made of other images than --images: image row 7 \(b07.png\)"
    ):
        ALIGN.call(align_command, [str(word) for word in [*argv, "--output_dir", tmp_path / "refused"]])


def break_rows(directory: Path, photos: Dataset, rows: list[int]) -> None:
    encoded = photos.cast_column("image", ImageFeature(decode=False)).to_list()
    for row in rows:
        encoded[row]["image"] = {"bytes": b"not a picture", "path": "holiday.jpg"}
    shutil.rmtree(directory)
    Dataset.from_list(encoded, features=photos.features).save_to_disk(directory)


def test_broken_pictures_are_skipped_and_rows_keep_their_numbers(flags, photos, tmp_path, monkeypatch, caplog):
    broken = [0, 7, 30]
    break_rows(tmp_path / "photos", photos, broken)
    with pytest.raises(InputError, match=r"image row 0 \(holiday.jpg\) cannot be decoded"):
        make(monkeypatch, *flags, "--output_dir", tmp_path / "stopped")
    make(monkeypatch, *flags, "--on_bad_image", "skip")
    assert "left out 3 images that cannot be read; the first: image row 0 (holiday.jpg)" in caplog.text
    assert info(tmp_path / "out")["num_skipped_images"] == 3
    good = np.setdiff1d(np.arange(NUM_IMAGES), broken)
    embeddings = np.full((NUM_IMAGES, 32), np.nan, np.float32)
    embeddings[good] = embeddings_of(flags, photos, good)
    rows = load_triplets(str(tmp_path / "out"))["train"]
    triplets = column(rows, "triplet")
    assert not set(broken) & set(triplets.ravel().tolist()) and triplets.max() > 56
    expected = [(embeddings[a] * embeddings[b]).sum() for a, b, _ in triplets]
    np.testing.assert_allclose(column(rows, "similarities")[:, 0], expected, atol=1e-3)
    cluster = np.array(load_dataset(str(tmp_path / "out"), "clusters", split="train")["cluster"])
    assert len(cluster) == 60 and np.flatnonzero(cluster < 0).tolist() == broken


def test_elbow_and_bounds_are_on_the_card(cheap, tmp_path, monkeypatch):
    elbow = [flag for flag in cheap if flag not in ("--num_clusters", 5)]
    features = np.load(tmp_path / "features.npy")
    photos = load_images(str(tmp_path / "photos"))
    many = Dataset.from_dict(
        {"image": 2 * photos["image"][:]}, features=Features({"image": ImageFeature(decode=False)})
    )
    shutil.rmtree(tmp_path / "photos")
    many.save_to_disk(tmp_path / "photos")
    np.save(tmp_path / "features.npy", np.concatenate([features, features + 0.01]))
    make(monkeypatch, *elbow, "--elbow", "true", "--min_margin", 0.05, "--max_per_image", 20, "--dtype", "float16")
    out = tmp_path / "out"
    assert {"elbow.csv", "elbow.png"} < set(contents(out))
    text, facts = (out / "README.md").read_text(), info(out)
    assert "](elbow.png)" in text and "| min_margin | 0.05 |" in text and "UnAligNet" in text
    assert 2 <= facts["num_clusters"] <= 5 and facts["dtype"] == "float16" and facts["transform"] is None
    triplets = column(load_triplets(str(out))["train"], "triplet")
    assert np.bincount(triplets.ravel()).max() <= 20


@pytest.mark.parametrize("sampling", ["class_boundary", "within_class", "between_class", "random"])
def test_other_samplings_have_no_clusters(sampling, cheap, photos, tmp_path, monkeypatch):
    other = [flag for flag in cheap if flag not in ("--num_clusters", 5)]
    make(monkeypatch, *other, "--sampling", sampling, "--hold_out", "nothing")
    assert not (tmp_path / "out" / "clusters").exists() and info(tmp_path / "out")["num_clusters"] is None
    labels = np.array(photos["label"])
    number = {
        len(set(row)) for row in labels[column(load_triplets(str(tmp_path / "out"))["train"], "triplet")].tolist()
    }
    assert number == {"class_boundary": {2}, "within_class": {1}, "between_class": {3}}.get(sampling, {1, 2, 3})


# ---- a run that is stopped


class Stopped(Exception):
    pass


STAGES = ["_open_teacher", "make_clusters", "make_splits", "write_clusters", "write_dataset", "write_json"]


@pytest.mark.usefixtures("_small_shards")
def test_stopped_anywhere_it_ends_the_same(cheap, tmp_path, monkeypatch):
    cheap += ["--save_images", "true"]
    make(monkeypatch, *cheap)
    (tmp_path / "out").rename(tmp_path / "whole")
    for stage in [*STAGES, "write_triplets_card"]:
        function = getattr(triplet_run, stage)

        def stopped(*arguments, function=function):
            function(*arguments)
            raise Stopped

        with pytest.raises(Stopped):
            make(monkeypatch, *cheap, **{stage: stopped})
        if stage == "write_triplets_card":
            break  # the sign that all is there
        assert not (tmp_path / "out" / "README.md").exists()
    out = tmp_path / "out"
    (out / "README.md").unlink()
    (out / "clusters").rename(out / "unfinished" / "clusters")  # in the midst of moving
    make(monkeypatch, *cheap)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_wrong_setting_can_be_corrected(cheap, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="cannot open the transform"):
        make(monkeypatch, *cheap, "--transform", tmp_path / "nowhere")
    with pytest.raises(InputError, match="bounds on labels and --max_per_image leave none"):
        make(monkeypatch, *cheap, "--min_margin", 1)
    make(monkeypatch, *cheap)
    assert len(load_triplets(str(tmp_path / "out"))["train"]) == 250


@pytest.mark.usefixtures("_small_shards")
def test_stopped_while_labelling_it_goes_on(flags, tmp_path, monkeypatch):
    make(monkeypatch, *flags, "--max_per_image", 30)
    (tmp_path / "out").rename(tmp_path / "whole")
    write_shard, count = shards.write_shard, []

    def stopped(table, file):
        if len(count) == 2:
            raise Stopped
        count.append(file)
        write_shard(table, file)

    flags += ["--max_per_image", 30]
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(shards, "write_shard", stopped)
        make(patch, *flags)
    assert len(list((tmp_path / "out").rglob("train-*-of-00003.parquet"))) == 2
    with pytest.raises(InputError, match=r"unfinished run with other settings \(max_per_image, seed\)"):
        make(monkeypatch, *flags, "--max_per_image", 31, "--seed", 1)
    written = []
    monkeypatch.setattr(
        shards, "write_shard", lambda table, file: written.append(file.name) or write_shard(table, file)
    )
    monkeypatch.setattr(VisionEncoder, "forward", lambda *_, **__: pytest.fail("embeds again"))
    make(monkeypatch, *flags)
    assert written == ["train-00002-of-00003.parquet", "validation-00000-of-00001.parquet"]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_directory_with_foreign_triplets_is_left_alone(cheap, tmp_path, monkeypatch):
    with output_folder(tmp_path / "out", "make-triplets") as directory:
        (directory / "triplets").mkdir()
        (directory / "triplets" / "mine.parquet").touch()
    with pytest.raises(InputError, match="holds triplets already"):
        make(monkeypatch, *cheap)
    assert set(contents(tmp_path / "out")) == {"triplets/mine.parquet"}


# ---- released files


def write_released(photos, file: Path, number: int, seed: int, names: list[str] | None) -> np.ndarray:
    """A released file with the odd one out last; the rows that its triplets should get."""
    rng = np.random.default_rng(seed)
    triplets = np.stack([rng.permutation(NUM_IMAGES)[:3] for _ in range(number)])
    similarities = np.sort(rng.normal(size=(number, 3)), axis=1)[:, ::-1].astype(np.float32)
    arrays: dict[str, Any] = {"similarities": similarities, "indices": triplets}
    if names is not None:
        arrays |= {"filenames": np.array(names)[triplets], "indices": triplets + 1000}
    np.savez(file, **arrays)
    return triplets


@pytest.mark.usefixtures("_small_shards")
@pytest.mark.parametrize("with_names", [True, False])
def test_released_files(with_names, photos, tmp_path, monkeypatch):
    names = [f"n{row % 7:08d}_{row}.JPEG" for row in range(NUM_IMAGES)]
    shuffled = np.random.default_rng(3).permutation(NUM_IMAGES) if with_names else np.arange(NUM_IMAGES)
    photos.select(shuffled).add_column("filename", [names[row] for row in shuffled]).save_to_disk(tmp_path / "photos")
    files, expected = [], {}
    for split, name, number in (("train", "alignet_train", 230), ("validation", "alignet_valid", 40)):
        files.append(tmp_path / f"{name}.npz")
        triplets = write_released(photos, files[-1], number, len(name), names if with_names else None)
        expected[split] = np.argsort(shuffled)[triplets]
    flags = ["--images", tmp_path / "photos", "--output_dir", tmp_path / "out", "--disable_tqdm", "true"]
    make(monkeypatch, "--official", *files, *flags)
    found = load_triplets(str(tmp_path / "out"))
    for split, rows in expected.items():
        np.testing.assert_array_equal(column(found[split], "triplet"), rows)
        assert set(found[split]["odd"]) == {2}
        check_triplets(found[split], NUM_IMAGES, "similarities")
    assert ("filenames" in found["train"].column_names) == with_names
    assert len(list((tmp_path / "out" / "triplets").glob("train-*"))) == 3
    text = (tmp_path / "out" / "README.md").read_text()
    assert card_errors(text) == [] and "CC BY 4.0" in text and str(tmp_path) not in text
    assert info(tmp_path / "out")["official"] == "alignet_train.npz, alignet_valid.npz"
    for wrong in (["alignet.npz"], ["alignet_train.npz", "train.npz"]):
        for name in wrong:
            if not (tmp_path / name).exists():
                shutil.copy(files[0], tmp_path / name)
        wrong_flags = ["--output_dir", tmp_path / wrong[-1][:-4]]
        with pytest.raises(InputError, match=f"the name of .*{wrong[-1]} must contain its split, train or valid"):
            make(monkeypatch, "--official", *[tmp_path / name for name in wrong], *flags, *wrong_flags)


def test_released_files_are_written_by_one_process(photos, tmp_path, monkeypatch):
    photos.save_to_disk(tmp_path / "photos")
    write_released(photos, tmp_path / "train.npz", 50, 0, None)
    other = SimpleNamespace(is_main_process=False, wait_for_everyone=lambda: None)
    flags = ["--official", tmp_path / "train.npz", "--images", tmp_path / "photos", "--output_dir", tmp_path / "out"]
    make(monkeypatch, *flags, this_process=lambda: other)
    assert not (tmp_path / "out").exists()


# ---- what is wrong


def test_transform_of_another_width_names_both(flags, tmp_path, monkeypatch):
    AffineTransform.identity(5).save_pretrained(tmp_path / "narrow")
    with pytest.raises(InputError, match="the transform needs 5 features, but the teacher gives 32"):
        make(monkeypatch, *flags, "--transform", tmp_path / "narrow")


def test_features_that_do_not_fit(cheap, tmp_path, monkeypatch):
    np.save(tmp_path / "features.npy", np.zeros((59, 4)))
    with pytest.raises(InputError, match="there are 59 rows of features, but 60 images"):
        make(monkeypatch, *cheap)
    with pytest.raises(InputError, match="cannot read features"):
        make(monkeypatch, *cheap, "--features", tmp_path / "none.npy", "--output_dir", tmp_path / "other")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--images a", "give either --teacher, .*, or their --features"),
        ("--images a --teacher b --features c", "give either --teacher"),
        ("--images a --official c --teacher b", "leave out --(teacher b|features b|transform b)$"),
        ("--images a --official c --features b", "leave out --(teacher b|features b|transform b)$"),
        ("--images a --official c --transform b", "leave out --(teacher b|features b|transform b)$"),
        ("--images a --teacher b --strict", "--strict is of --official files"),
        ("--images a --features b --on_bad_image skip", "--features are there already"),
        ("--images a --features b --pooling cls", "--features are there already"),
        ("--images a --features b --num_triplets 0", r"--num_triplets must be an integer \(at least 1\), got 0"),
        ("--images a --features b --sampling random --elbow", "--sampling random has no clusters"),
        ("--images a --features b --push_to_hub", "--push_to_hub needs --hub_dataset_id user/name"),
        (
            "--images a --features b --push_to_hub --hub_dataset_id a/b --save_images",
            "if you may, add --i_have_the_right_to_share_images; if not",
        ),
    ],
)
def test_wrong_settings_are_named_as_flags(flags, message, monkeypatch):
    with pytest.raises(InputError, match=message):
        make(monkeypatch, *flags.split())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_triplets": 0}, r"`num_triplets` must be an integer \(at least 1\), got 0"),
        ({"num_validation_triplets": -1}, r"`num_validation_triplets` must be an integer \(at least 0\), got -1"),
        ({"max_per_image": 0}, "`max_per_image` must be an integer .*, got 0"),
        ({"held_out_share": 0.0}, r"`held_out_share` must be a finite number \(above 0 and below 1\), got 0.0"),
        ({"held_out_share": 1.0}, "`held_out_share` must be a finite number .*, got 1.0"),
        ({"held_out_classes": ["cat"]}, "`held_out_classes=cat` needs `hold_out=classes`.*got `hold_out=images` and"),
        ({"sampling": "random", "elbow": True}, "`sampling=random` has no clusters"),
        ({"sampling": "within_class", "num_clusters": 5}, "`sampling=within_class` has no clusters"),
        ({"elbow": True, "num_clusters": 5}, "give either `num_clusters=5`, or `elbow=True`"),
        ({"min_margin": 2.0}, "`min_margin` must be a finite number .* got 2.0"),
        ({"min_entropy": 1.0, "max_entropy": 0.5}, "`min_entropy` must not be above `max_entropy`, got 1.0 and 0.5"),
        ({"sampling": "clusters"}, "`sampling` must be one of cluster_boundary, .*, got 'clusters'"),
    ],
)
def test_wrong_settings_of_sampling(settings, message):
    with pytest.raises(InputError, match=message):
        TripletDesign(**settings)


def test_flags_and_help(capsys):
    argv = ["--images", "a", "--official", "b", "c", "--held_out_classes", "x", "y", "--hold_out", "classes"]
    labeling, sampling = COMMAND.parse(argv)
    assert labeling.official == ["b", "c"] and sampling.held_out_classes == ["x", "y"]
    for wrong in (["--sampling", "clusters"], ["--hold_out", "all"], ["--num_triplet", "5"]):
        with pytest.raises(SystemExit):
            COMMAND.parse([*argv, *wrong])
    with pytest.raises(SystemExit):
        COMMAND.parse(["--help"])
    text = capsys.readouterr().out
    assert all(f"--{name} " in text for name in vars(labeling) | vars(sampling))


# ---- the Hub


@pytest.mark.slow
@pytest.mark.multi_process
def test_on_two_processes_and_to_the_hub(flags, photos, tmp_path):
    for row in range(NUM_IMAGES):  # files of their own, whose paths are nobody's business
        name = photos.features["label"].int2str(photos[row]["label"])
        (tmp_path / "folder" / name).mkdir(parents=True, exist_ok=True)
        photos[row]["image"].save(tmp_path / "folder" / name / f"{row:02d}.png")
    out = tmp_path / "out"
    with output_folder(out, "make-triplets"):
        (out / "private").mkdir(parents=True)
        (out / "private" / "notes.txt").write_text("mine")
        (out / "notes.txt").write_text("mine")
    launch = ["accelerate.commands.launch", "--config_file", ROOT / "recipes" / "accelerate" / "cpu_2_processes.yaml"]
    shared = ["--push_to_hub", "true", "--hub_dataset_id", f"{USER}/triplets", "--hub_private_repo", "true"]
    shared += ["--save_images", "true", "--i_have_the_right_to_share_images", "true"]
    command = [sys.executable, "-m", *launch, RECIPE, *flags, "--images", tmp_path / "folder", *shared]
    with FakeHub(forbidden=[str(tmp_path), str(ROOT), str(Path.home()) + "/"]) as hub:
        environment = {**os.environ, **hub.env(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
        run = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, cwd=ROOT)
        assert run.returncode == 0, run.stderr[-3000:]
        repository = f"{USER}/triplets"
        files = [name for name in hub.ls("dataset", repository) if name != ".gitattributes"]
        uploaded = {name: hub.read("dataset", repository, name) for name in files}
    assert uploaded.pop("README.md").decode() == (out / "README.md").read_text()
    parts = ["clusters/train", "images/train", "triplets/train", "triplets/validation"]
    files = [f"{part}-00000-of-00001.parquet" for part in parts] + ["pictures.parquet", "triplets.json"]
    assert sorted(uploaded) == sorted(files) and (out / "picture_names.parquet").is_file()
    assert all((out / name).read_bytes() == content for name, content in uploaded.items())
    text = (out / "README.md").read_text()
    assert card_errors(text) == [] and f'load_dataset("{repository}", "images", split="train")' in text

    images, rows = load_images(str(out)), load_triplets(str(out))["train"]
    embeddings, triplets = embeddings_of(flags, images), column(rows, "triplet")
    a, b = embeddings[triplets[:, 0]], embeddings[triplets[:, 1]]
    np.testing.assert_allclose(column(rows, "similarities")[:, 0], (a * b).sum(1), atol=1e-3)


def test_what_could_not_be_shared_is_complete(cheap, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(sharing.HfApi, "upload_folder", refuse)
    push = ("--push_to_hub", "true", "--hub_dataset_id", "user/triplets")
    with pytest.raises(
        RunError, match="not shared as user/triplets: no route to host.*hf upload user/triplets .*out --repo-ty"
    ):
        make(monkeypatch, *cheap, *push, make_repository=lambda *_: None)
    assert (tmp_path / "out" / "README.md").exists() and not (tmp_path / "out" / "unfinished").exists()


def test_repository_is_made_before_anything_long_begins(cheap, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("offline")

    monkeypatch.setattr(sharing.HfApi, "create_repo", refuse)
    push = ("--push_to_hub", "true", "--hub_dataset_id", "user/triplets")
    with pytest.raises(InputError, match="cannot share under 'user/triplets': offline"):
        make(monkeypatch, *cheap, *push, _open_teacher=lambda *_: pytest.fail("opens the teacher"))


def test_the_papers_configuration_is_valid():
    file = ROOT / "recipes" / "configs" / "make_triplets.yaml"
    labeling, sampling = COMMAND.parse(["--config", str(file)])
    assert (sampling.num_clusters, sampling.num_triplets, labeling.bf16) == (500, 10_000_000, True)
