import numpy as np
import pytest
from datasets import Dataset

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.evaluation import evaluate_splits, odd_one_out_accuracy
from hf_alignet.metric import Metric, comparison_table


def test_accuracy_equals_a_loop():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(30, 5)).astype(np.float32)
    triplets = np.stack([rng.permutation(30)[:3] for _ in range(200)])
    odd = rng.integers(3, size=200)
    correct = 0
    for (a, b, c), label in zip(triplets, odd, strict=True):
        x, y, z = embeddings[[a, b, c]]
        correct += [y @ z, x @ z, x @ y].index(max(y @ z, x @ z, x @ y)) == label
    metric = odd_one_out_accuracy(embeddings, triplets, odd)
    assert metric["value"] == correct / 200 and metric["n"] == 200 and metric["chance"] == 1 / 3
    assert metric["unit"] == "objects" and metric["ci95"][0] < metric["value"] < metric["ci95"][1]


def test_collapsed_model_scores_zero():
    metric = odd_one_out_accuracy(np.ones((3, 4)), np.array([[0, 1, 2]] * 9), np.repeat([0, 1, 2], 3))
    assert metric["value"] == 0


def test_undecided_labels_are_not_scored(tiny_directory, images, triplets):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")))
    decided = triplets.select(range(10))
    rows = triplets.select(range(12)).to_list()
    for row in rows[10:]:
        row |= {"similarities": [2.0, 2.0, 1.0], "odd": -1}
    with_ties = Dataset.from_list(rows, features=triplets.features)
    expected = evaluate_splits(encoder, images, {"a": decided}, "set", progress=False)[0]
    for dataset in (with_ties, with_ties.remove_columns("odd")):
        assert evaluate_splits(encoder, images, {"a": dataset}, "set", progress=False)[0] == expected
    rows[3]["similarities"] = [1.0, float("nan"), 0.0]
    with pytest.raises(InputError, match="row 3 of the 'a' triplets has a similarity that is not finite"):
        evaluate_splits(encoder, images, {"a": Dataset.from_list(rows).remove_columns("odd")}, "set")


def test_nothing_is_scored_that_is_not_finite_or_not_there():
    with pytest.raises(InputError, match="row 1 of the embeddings is not finite"):
        odd_one_out_accuracy(np.array([[1.0], [np.nan], [2.0]]), np.array([[0, 1, 2]]), np.array([0]))
    with pytest.raises(InputError, match="no triplets"):
        odd_one_out_accuracy(np.ones((3, 1)), np.zeros((0, 3), int), np.zeros(0, int))


def test_splits_share_one_pass_over_the_images(tiny_directory, images, triplets):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")))
    splits = {"near": triplets.select(range(15)), "far": triplets.select(range(15, 40)).remove_columns("odd")}
    metrics, rows, embeddings = evaluate_splits(encoder, images, splits, "set", progress=False)
    assert list(metrics) == ["set/near/odd_one_out_accuracy", "set/far/odd_one_out_accuracy"]
    whole = encoder.embed(images, progress=False)
    np.testing.assert_allclose(embeddings, whole[rows], atol=1e-5)
    for name, dataset in (("near", splits["near"]), ("far", triplets.select(range(15, 40)))):
        expected = odd_one_out_accuracy(whole, np.array(dataset["triplet"]), np.array(dataset["odd"]))
        assert metrics[f"set/{name}/odd_one_out_accuracy"] == expected


def test_bad_held_out_triplets_are_named(tiny_directory, images):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")))
    bad = Dataset.from_dict({"triplet": [[0, 1, 2], [0, 1, 99]], "odd": [0, 1]})
    with pytest.raises(InputError, match=r"row 1 of the 'test' triplets points outside the 24 images: \[0, 1, 99\]"):
        evaluate_splits(encoder, images, {"test": bad}, "set")


def test_table_shows_both_and_the_change():
    before = {"set/near/odd_one_out_accuracy": Metric(0.4, 100, 1 / 3, [0.31, 0.5], "objects")}
    after = {"set/near/odd_one_out_accuracy": Metric(0.55, 100, 1 / 3, [0.45, 0.64], "objects")}
    last = comparison_table(before, after).splitlines()[-1]
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    assert cells == [
        *("set/near/odd_one_out_accuracy", "100", "0.333", "objects"),
        *("0.400 [0.310, 0.500]", "0.550 [0.450, 0.640]", "+0.150"),
    ]
