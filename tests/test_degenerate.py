"""Data that say nothing: each ends in one line that says so, or in the right number."""

import math
import re

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature

from hf_alignet import align, evaluate, make_triplets
from hf_alignet.errors import InputError
from hf_alignet.evaluation import few_shot_accuracy, odd_one_out_accuracy
from hf_alignet.student import AlignTrainingArguments
from hf_alignet.triplets import TeacherVectors, triplets_from_arrays

EMBEDDINGS = np.random.default_rng(0).normal(size=(24, 8)).astype(np.float32)
TRIPLETS = np.stack([np.random.default_rng(seed).permutation(24)[:3] for seed in range(60)])
ODD = np.random.default_rng(1).integers(0, 3, 60)
SPOILT = EMBEDDINGS.copy()
SPOILT[3, 1] = math.nan


@pytest.mark.parametrize(
    ("embeddings", "triplets", "odd", "message"),
    [
        (SPOILT, TRIPLETS, ODD, "row 3 of the embeddings is not finite"),
        (EMBEDDINGS * 1e30, TRIPLETS, ODD, "similarities overflow float32"),
        (EMBEDDINGS[:, 0], TRIPLETS, ODD, "must be numbers of shape (n, d), got float32 of shape (24,)"),
        (EMBEDDINGS[:, :0], TRIPLETS, ODD, "must be numbers of shape (n, d), got float32 of shape (24, 0)"),
        (EMBEDDINGS.astype(str), TRIPLETS, ODD, "must be numbers of shape (n, d)"),
        (EMBEDDINGS, TRIPLETS[:, [0, 0, 1]], ODD, "names an image twice"),
        (EMBEDDINGS, TRIPLETS[:0], ODD[:0], "there are no triplets"),
        (EMBEDDINGS, TRIPLETS, ODD + 1, "the odd ones out name rows 1 to 3, but there are 3 positions"),
        (EMBEDDINGS, TRIPLETS, ODD[:1], "60 triplets need one odd one out each"),
        (EMBEDDINGS, TRIPLETS, ODD / 2, "must be row numbers, integers from 0, got float64"),
    ],
)
def test_what_has_no_accuracy(embeddings, triplets, odd, message):
    with pytest.raises(InputError, match=re.escape(message)):
        odd_one_out_accuracy(embeddings, triplets, odd)


def test_equal_embeddings_score_0():
    assert odd_one_out_accuracy(np.ones((24, 4)), TRIPLETS, ODD)["value"] == 0
    assert odd_one_out_accuracy(EMBEDDINGS, TRIPLETS[:1], ODD[:1])["n"] == 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [(np.zeros(24), "1 classes"), (np.zeros(0), "24 embeddings need one label each"), (np.arange(24), "has 1 images")],
)
def test_what_has_no_few_shot_accuracy(labels, message):
    with pytest.raises(InputError, match=message):
        few_shot_accuracy(EMBEDDINGS, labels, 1)


@pytest.mark.parametrize("features", [EMBEDDINGS[:, :, None], EMBEDDINGS.astype(str), EMBEDDINGS[:, 0]])
def test_features_that_are_no_table_are_not_evaluated(features):
    with pytest.raises(InputError, match=r"the features must be numbers of shape \(n, d\)"):
        evaluate(benchmarks="choices:nowhere.csv", features=features)


# ---- triplets


def with_labels(images: Dataset, labels: list[int]) -> Dataset:
    features = Features({"image": ImageFeature(), "label": Value("int64")})
    return Dataset.from_dict({"image": images["image"][:], "label": labels}, features=features)


@pytest.mark.parametrize(
    ("features", "labels", "design", "message"),
    [
        (np.ones((24, 4)), None, {}, "the teacher is undecided about every triplet"),
        (np.zeros((24, 4)), None, {}, "the teacher is undecided about every triplet"),
        (np.zeros((24, 0)), None, {}, "must be numbers of shape (n, d)"),
        (SPOILT, None, {}, "features of row 3 are not finite"),
        (EMBEDDINGS, [0] * 24, {"sampling": "class_boundary"}, "needs images of at least 2 classes"),
        (EMBEDDINGS, [-1] * 24, {"sampling": "class_boundary"}, "a triplet needs three images, but there are 0"),
        (EMBEDDINGS, [*range(24)], {"sampling": "within_class", "hold_out": "nothing"}, "groups are too small"),
        (EMBEDDINGS[:2], None, {}, "a triplet needs three images, and there are 2"),
    ],
)
def test_what_gives_no_triplets(features, labels, design, message, images, tmp_path):
    np.save(tmp_path / "features.npy", features)
    images = with_labels(images, labels) if labels else images.select(range(len(features)))
    design = {"sampling": "random", "num_triplets": 50, "num_validation_triplets": 10} | design
    with pytest.raises(InputError, match=re.escape(message)):
        make_triplets(
            images, features=str(tmp_path / "features.npy"), output_dir=tmp_path / "made", progress=False, **design
        )


def test_ties_are_counted(images, tmp_path, caplog):
    np.save(tmp_path / "features.npy", np.repeat(EMBEDDINGS[:2], 12, axis=0))
    made = make_triplets(
        *(images, None), features=str(tmp_path / "features.npy"), output_dir=tmp_path / "made", progress=False,
        sampling="random", num_triplets=100, num_validation_triplets=0,
    )  # fmt: skip
    ties = int((np.asarray(made["train"]["odd"]) == -1).sum())
    assert f"undecided about {ties} of 100 train triplets" in caplog.text and 0 < ties < 100


# ---- training


@pytest.mark.parametrize(
    ("train", "held_out", "settings", "message"),
    [
        ([1, 1, 1], [3, 2, 1], {"student_temperature": "1"}, "undecided about every one of the 'train' triplets"),
        ([3, 2, 1], [1, 1, 1], {}, "none of the 'validation' triplets has an odd one out"),
        ([3, 2, 1], None, {}, "has one triplet, and none to measure on"),
        ([3, 2, 1], [3, 2, 1], {"dataloader_drop_last": True}, "`dataloader_drop_last` leaves nothing to train on"),
    ],
)
def test_what_nothing_is_learned_from(train, held_out, settings, message, tiny_directory, images, tmp_path):
    number = 60 if held_out else 1
    splits = {"train": triplets_from_arrays(TRIPLETS[:number], np.tile(train, (number, 1)))}
    if held_out:
        splits["validation"] = triplets_from_arrays(TRIPLETS, np.tile(held_out, (60, 1)))
    args = AlignTrainingArguments(str(tmp_path), max_steps=1, disable_tqdm=True, **settings)
    with pytest.raises(InputError, match=message):
        align(str(tiny_directory("dinov2")), images, DatasetDict(splits), args)


def test_vectors_that_are_all_the_same_teach_nothing():
    with pytest.raises(InputError, match="all the same"):
        TeacherVectors(np.arange(24), np.ones((24, 4)), np.zeros(24, int))
