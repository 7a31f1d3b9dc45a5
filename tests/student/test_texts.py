"""Choices about texts: they fit a teacher, and align a text model by the trainer of pictures, with true cards."""

import itertools
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from tiny import make_tokenizer, save_tiny_text
from transformers import AutoModel

from hf_alignet import (
    AffineTransform,
    AlignTrainer,
    AlignTrainingArguments,
    TextEncoder,
    align,
    evaluate,
    make_triplets,
    publish,
)
from hf_alignet.errors import InputError
from hf_alignet.triplets import TeacherVectors
from hf_alignet.workflows.teacher_run import write_teacher

ANIMALS, VEHICLES = ["cat", "dog", "wolf", "two dogs"], ["car", "truck", "bus", "train"]
TEXTS = [f"{size}{name}" for size in ("", "a small ", "the large old ") for name in (*ANIMALS, *VEHICLES)]
IS_VEHICLE = np.arange(len(TEXTS)) % 8 >= 4


@pytest.fixture
def bert(tmp_path) -> str:
    save_tiny_text("bert", tmp_path / "bert")
    return str(tmp_path / "bert")


@pytest.fixture
def texts() -> Dataset:
    return Dataset.from_dict({"text": TEXTS})


@pytest.fixture
def choices() -> DatasetDict:
    """Triplets of two animals and a vehicle, or the reverse; those with the last texts are held out."""
    rows = [t for t in itertools.combinations(range(len(TEXTS)), 3) if IS_VEHICLE[list(t)].sum() in (1, 2)]
    triplets = np.random.default_rng(0).permutation(rows)
    kinds = IS_VEHICLE[triplets]
    odd = (kinds == (kinds.sum(1) == 1)[:, None]).argmax(1)
    is_new = (triplets >= 16).any(1)  # "the large old …"

    def part(chosen: np.ndarray) -> Dataset:
        return Dataset.from_dict({"triplet": triplets[chosen].astype(np.int32), "odd": odd[chosen].astype(np.int8)})

    return DatasetDict(train=part(np.flatnonzero(~is_new)[:400]), validation=part(np.flatnonzero(is_new)[:200]))


def arguments(output_dir, **settings) -> AlignTrainingArguments:
    defaults: dict[str, Any] = {"max_steps": 60, "per_device_train_batch_size": 32, "learning_rate": 3e-3}
    defaults |= {"warmup_steps": 0}
    defaults |= {"interpolation": 1.0, "anchor_weight": 0.0, "save_strategy": "no", "disable_tqdm": True}
    return AlignTrainingArguments(str(output_dir), **(defaults | settings))


def test_text_model_is_aligned_and_its_card_is_true(bert, texts, choices, tmp_path, monkeypatch):
    results = align(bert, texts, choices, arguments(tmp_path / "out", loss_type="hard", similarity="cosine"))
    (name,) = results["base"]
    assert results["base"][name]["value"] < 0.7 and results["aligned"][name]["value"] > 0.9
    recorded = json.loads((tmp_path / "out" / "alignment.json").read_text())
    assert (recorded["input"], recorded["pooling"], recorded["max_tokens"]) == ("text", "mean", 16)

    card = (tmp_path / "out" / "README.md").read_text()
    assert "pipeline_tag: feature-extraction" in card and "image" not in card.replace("before_after.png", "").lower()
    assert "A text encoder whose similarities" in card and "| num_texts | 24 |" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    found: dict = {}
    monkeypatch.chdir(tmp_path)
    exec(re.sub(r'model_id = ".*"', 'model_id = "out"', code), found)
    embeddings = TextEncoder.from_pretrained("out").embed(found["texts"], progress=False)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)  # as the card does for the cosine
    np.testing.assert_allclose(found["embeddings"], embeddings, atol=1e-5)

    publish("model", "out", "user/aligned", dry_run=True)
    Dataset.from_dict({"text": TEXTS}).save_to_disk("texts")
    choices.save_to_disk("choices")
    measured = evaluate("out", "words=choices:choices", "texts", similarity="cosine", progress=False)["out"]
    assert measured["words/validation/odd_one_out_accuracy"]["value"] == results["aligned"][name]["value"]


def test_all_triplets_of_a_batch_of_texts_teach_a_bare_model(bert, texts, choices, tmp_path):
    vectors = 2 * np.eye(2, dtype=np.float32)[IS_VEHICLE.astype(int)]
    rows = np.arange(16)
    args = arguments(tmp_path / "out", max_steps=15, per_device_train_batch_size=8, images_per_forward=4)
    train = TeacherVectors(rows, vectors[rows], IS_VEHICLE[rows].astype(int))
    options = {"processing_class": make_tokenizer(), "train_dataset": train, "images": texts}
    torch.manual_seed(0)
    with pytest.raises(InputError, match="`augment` needs uint8 pictures, but .*Tokenizer"):
        AlignTrainer(AutoModel.from_pretrained(bert), arguments(tmp_path / "out", augment=True), **options)
    trainer = AlignTrainer(AutoModel.from_pretrained(bert), args, **options)
    trainer.train()
    assert isinstance(trainer.model, TextEncoder)
    embeddings = trainer.model.embed(texts, progress=False)
    similarities = embeddings @ embeddings.T
    is_same = IS_VEHICLE[:, None] == IS_VEHICLE
    assert similarities[is_same].mean() > similarities[~is_same].mean()


def test_choices_about_texts_fit_a_teacher_that_labels_other_texts(bert, texts, choices, tmp_path):
    texts.save_to_disk(tmp_path / "texts")
    choices.save_to_disk(tmp_path / "choices")
    where = {"images": str(tmp_path / "texts"), "model_name_or_path": bert, "progress": False}
    results = write_teacher(str(tmp_path / "choices"), str(tmp_path / "teacher"), method="hard", **where)
    (name,) = [name for name in results["aligned"] if name.endswith("odd_one_out_accuracy")]
    assert results["aligned"][name]["value"] > results["base"][name]["value"] + 0.1
    card = (tmp_path / "teacher" / "README.md").read_text()
    assert [line for line in card.splitlines() if "image" in line.lower()] == []
    info = {"input": "text", "base_model": "user/bert"}
    shared = AffineTransform(np.eye(2), np.zeros(2), info=info).generate_model_card("user/teacher").text
    assert 'TextEncoder.from_pretrained("user/bert", transform="user/teacher")' in shared

    others = Dataset.from_dict({"text": [f"{text} on the mat" for text in TEXTS]})
    made = make_triplets(
        others,
        bert,
        transform=str(tmp_path / "teacher"),
        output_dir=tmp_path / "triplets",
        num_triplets=60,
        num_clusters=3,
        progress=False,
    )
    assert made["train"].num_rows > 0
    card = (tmp_path / "triplets" / "README.md").read_text()
    settings = ("--images", "| hold_out")
    assert [li for li in card.splitlines() if "image" in li.lower() and not li.strip().startswith(settings)] == []


def test_pictures_alone_have_a_cache_and_are_shown(bert, texts, choices, tmp_path):
    args = arguments(tmp_path / "out", loss_type="hard")
    with pytest.raises(InputError, match="`cache_images=cache` is for pictures"):
        align(bert, texts, choices, args, cache_images="cache")
    with pytest.raises(InputError, match="`i_have_the_right_to_share_images` is for pictures"):
        align(bert, texts, choices, args, i_have_the_right_to_share_images=True)
