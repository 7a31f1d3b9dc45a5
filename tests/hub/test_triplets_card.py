"""The card of a triplet dataset: true, valid, and its commands work."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from fakehub.checks import card_errors
from huggingface_hub import DatasetCard

from hf_alignet.hub.cards.dataset_card import size_category
from hf_alignet.hub.cards.triplets_card import write_triplets_card
from hf_alignet.similarity import odd_one_out
from hf_alignet.storage import write_dataset
from hf_alignet.triplets.shards import write_shard
from hf_alignet.triplets.triplet_dataset import triplet_table

INFO = {
    "images": "my-photos",
    "num_images": 24,
    "teacher": "user/teacher",
    "transform": "user/transform",
    "temperature": 1.0,
    "sampling": "cluster_boundary",
    "min_margin": None,
    "hold_out": "images",
}
ROWS = {"train": 30, "validation": 10}


def written(directory, info=INFO, num_rows=ROWS, repo_id=None) -> str:
    write_triplets_card(directory, info, num_rows, repo_id)
    text = (directory / "README.md").read_text()
    assert card_errors(text) == []
    assert "\n\n\n" not in text and "None" not in text and "More information needed" not in text
    return text


@pytest.fixture
def directory(tmp_path) -> Path:
    """A dataset of triplets alone."""
    rng = np.random.default_rng(0)
    (tmp_path / "triplets").mkdir()
    for split, number in ROWS.items():
        table = triplet_table(np.stack([rng.permutation(24)[:3] for _ in range(number)]), rng.normal(size=(number, 3)))
        write_shard(table, tmp_path / "triplets" / f"{split}-00000-of-00001.parquet")
    return tmp_path


def write_clusters(directory):
    (directory / "clusters").mkdir()
    clusters = pd.DataFrame({"cluster": np.arange(24) % 3})
    clusters.to_parquet(directory / "clusters" / "train-00000-of-00001.parquet", index=False)


@pytest.fixture
def made(images, directory) -> Path:
    """A dataset with all of its parts."""
    write_clusters(directory)
    write_dataset(images, directory / "images", "train", progress=False)
    return directory


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def test_usage_snippet_runs(made, images):
    (snippet,) = blocks(written(made), "python")
    scope: dict = {}
    exec(snippet.replace("path/to/this/directory", str(made)), scope)
    assert {split: len(rows) for split, rows in scope["triplets"].items()} == ROWS
    row = scope["triplets"]["train"].with_format("torch")[3]
    assert row["odd"] == odd_one_out(row["similarities"])
    picture = scope["images"][row["triplet"][2].item()]["image"]
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(images[row["triplet"][2].item()]["image"]))


def test_usage_snippet_names_the_images_where_others_find_them(made):
    (snippet,) = blocks(written(made, repo_id="user/triplets"), "python")
    assert 'load_dataset("user/triplets", "triplets")' in snippet
    assert 'load_dataset("user/triplets", "images", split="train")' in snippet
    (made / "images").rename(made / "pictures")
    (snippet,) = blocks(written(made, INFO | {"images": "user/photos@v2"}, repo_id="user/triplets"), "python")
    assert 'load_dataset("user/photos", split="train")' in snippet
    assert blocks(written(made), "python")[0].count("load_dataset(") == 1  # those of nobody else are left out


@pytest.mark.parametrize("with_images", [True, False])
def test_command_has_flags_that_there_are(with_images, made):
    if not with_images:
        (made / "images").rename(made / "pictures")
    (command,) = blocks(written(made), "bash")
    words = shlex.split(command.replace("\\\n", " ").replace("path/to/this/directory", str(made)))
    assert words[:2] == ["hf-alignet", "align"]
    parsed = {
        name: value
        for part in import_module("hf_alignet.cli.align").COMMAND.parse(words[2:])
        for name, value in vars(part).items()
    }
    assert parsed["triplets"] == str(made) and parsed["model_name_or_path"] == "facebook/dinov2-small"
    assert parsed["images"] == (str(made) if with_images else "path/to/the/images")


def test_metadata_opens_every_part(made):
    card = DatasetCard(written(made))
    configs = {config["config_name"]: config for config in card.data.configs}
    assert list(configs) == ["triplets", "clusters", "images"] and configs["triplets"]["default"] is True
    assert [files["split"] for files in configs["triplets"]["data_files"]] == ["train", "validation"]
    infos = {info["config_name"]: info for info in card.data.dataset_info}
    assert [(split["name"], split["num_examples"]) for split in infos["triplets"]["splits"]] == list(ROWS.items())
    assert [column["name"] for column in infos["triplets"]["features"]] == ["triplet", "similarities", "odd"]
    assert len(load_dataset(str(made), split="validation")) == 10  # the default
    assert load_dataset(str(made), "clusters", split="train")["cluster"][:4] == [0, 1, 2, 0]
    stream = load_dataset(str(made), "triplets", split="train", streaming=True)
    assert len(list(stream)) == 30


def test_a_directory_made_again_is_not_taken_from_the_cache(made):
    """`datasets` would take what it remembers of a directory of that name, if the metadata were the same."""
    for part in ("triplets", "clusters", "images"):
        written(made)
        before = load_dataset(str(made), part, split="train")
        (file,) = (made / part).glob("train-*")
        table = pq.read_table(file)
        write_shard(table.take(np.roll(np.arange(len(table)), 1)), file)
        text = written(made)
        after = load_dataset(str(made), part, split="train")
        assert after[1] == before[0] and after[0] == before[len(table) - 1]
        assert written(made) == text  # which depends on nothing else


def test_shards_of_an_earlier_upload_are_not_taken_for_these(made):
    written(made)
    (file,) = (made / "triplets").glob("train-*")
    (made / "triplets" / "train-00001-of-00002.parquet").write_bytes(file.read_bytes())
    assert len(load_dataset(str(made), "triplets", split="train")) == 30


def test_only_what_is_there_is_named(directory):
    text = written(directory, num_rows={"train": 30})
    assert [config["config_name"] for config in DatasetCard(text).data.configs] == ["triplets"]
    assert "| train | 30 |" in text and "validation |" not in text
    assert "`clusters`" not in text and "![" not in text and "no pixels" in text
    (directory / "elbow.png").touch()
    write_clusters(directory)
    text = written(directory)
    assert "`clusters`" in text and "](elbow.png)" in text


@pytest.mark.parametrize(
    ("info", "expected", "unexpected"),
    [
        ({}, ["| sampling | cluster_boundary |", "No image of a validation triplet"], ["min_margin", "UnAligNet"]),
        ({"transform": None}, ["**The teacher learned nothing from people**", "UnAligNet"], ["| transform |"]),
        ({"hold_out": "classes"}, ["No class of an image in a validation triplet"], ["No image of"]),
        ({"hold_out": "nothing"}, ["show the same images as training triplets"], ["No image of", "No class of"]),
        ({"hold_out": None}, [], ["No image of", "No class of", "the same images as training"]),
        ({"min_margin": 0.0}, ["| min_margin | 0.0 |"], []),
    ],
)
def test_facts(info, expected, unexpected, directory):
    text = written(directory, INFO | info)
    assert all(fact in text for fact in expected) and not any(fact in text for fact in unexpected)


def test_released_triplets_are_named_as_such(directory):
    info = {"images": "ILSVRC/imagenet-1k", "num_images": 24, "official": "alignet_train.npz, alignet_valid.npz"}
    text = written(directory, info)
    assert "Google DeepMind released the triplets under CC BY 4.0" in text and "`filenames` and `indices`" in text
    assert "UnAligNet" not in text and "alignet_valid.npz" in text
    data = DatasetCard(text).data
    assert data.source_datasets == ["ILSVRC/imagenet-1k"] and data.license == "cc-by-4.0"
    data = DatasetCard(written(directory)).data
    assert data.get("source_datasets") is None and data.get("license") is None and data.size_categories == "n<1K"
    assert {"alignet", "triplets"} <= set(data.tags)
    assert "DeepMind" not in written(directory)


def test_size_categories():
    assert [size_category(rows) for rows in (999, 1_000, 50_000_000)] == ["n<1K", "1K<n<10K", "10M<n<100M"]
