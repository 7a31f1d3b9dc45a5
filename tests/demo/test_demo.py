"""The embedded default: what is held out stays out, and labels follow the hierarchy."""

import numpy as np
import pytest

from hf_alignet.demo import ENCODER_DIRECTORY, HELD_OUT_STYLE, SimulatedRaters, demo_images, demo_triplets
from hf_alignet.demo.demo_triplets import NUM_BLOCKS, TRIPLETS_PER_BLOCK
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.triplets import check_triplets
from hf_alignet.triplets.triplet_dataset import column

LEVELS = ("coarse", "fine", "boundary")


@pytest.fixture(scope="module")
def images():
    return demo_images()


@pytest.fixture(scope="module")
def table(images):
    return {name: np.asarray(images[name]) for name in ("concept", "subgroup", "group", "style")}


@pytest.fixture(scope="module")
def splits(images):
    return demo_triplets(images)


def rows(dataset) -> np.ndarray:
    return column(dataset, "triplet")


def test_pictures_have_a_hierarchy_and_six_styles(images, table):
    assert len(images) > 3000 and len(np.unique(table["style"])) == 6
    for lower, upper in (("concept", "subgroup"), ("subgroup", "group")):
        parents = {(a, b) for a, b in zip(table[lower], table[upper], strict=True)}
        assert len(parents) == len(np.unique(table[lower]))  # each belongs to one
    assert images[0]["image"].size == (64, 64)


def test_held_out_style_and_concepts_are_never_trained_on(splits, table):
    trained = np.unique(rows(splits["train"]))
    assert HELD_OUT_STYLE not in table["style"][trained]
    seen = set(table["concept"][trained])
    for level in LEVELS:
        assert set(table["concept"][rows(splits[level])].ravel()) <= set(table["concept"]) - (
            new := set(table["concept"][rows(splits[level + "_new_concepts"])].ravel())
        )
        assert not new & seen and len(new) > 50


def test_every_split_is_sound(splits, images):
    assert set(splits) == {"train", *LEVELS, *(f"{level}_new_concepts" for level in LEVELS)}
    for name, dataset in splits.items():
        check_triplets(dataset, len(images), "similarities", name)
        if name != "train":  # raters may be undecided there: three styles of one concept
            check_triplets(dataset, len(images), "odd", name)


@pytest.mark.parametrize("suffix", ["", "_new_concepts"])
def test_held_out_triplets_are_what_their_level_says(suffix, splits, table):
    for level in LEVELS:
        triplets, odd = rows(splits[level + suffix]), np.array(splits[level + suffix]["odd"])
        assert len(triplets) == 2000 and (np.bincount(odd, minlength=3) > 600).all()  # positions are shuffled
        third = triplets[np.arange(2000), odd]
        pair = np.stack([np.delete(row, o) for row, o in zip(triplets, odd, strict=True)])
        same = {name: values[pair[:, 0]] == values[pair[:, 1]] for name, values in table.items()}
        odd_same = {name: values[third] == values[pair[:, 0]] for name, values in table.items()}
        styles = np.sort(table["style"][triplets], axis=1)
        if level == "boundary":
            assert same["concept"].all() and odd_same["subgroup"].all() and not odd_same["concept"].any()
            assert (styles[:, 0] != styles[:, 1]).all() and (styles[:, 1] != styles[:, 2]).all()
            assert (styles == HELD_OUT_STYLE).any(1).all()
        else:
            assert (styles == HELD_OUT_STYLE).all() and not same["concept"].any()
        if level == "coarse":
            assert same["group"].all() and not same["subgroup"].any() and not odd_same["group"].any()
        if level == "fine":
            assert same["subgroup"].all() and odd_same["group"].all() and not odd_same["subgroup"].any()


def test_training_rows_come_in_blocks_of_few_pictures(splits, table):
    blocks = rows(splits["train"]).reshape(-1, TRIPLETS_PER_BLOCK, 3)
    assert len(blocks) == NUM_BLOCKS and all(len(np.unique(block)) <= 48 for block in blocks)
    assert (np.sort(blocks, axis=-1)[..., 1:] != np.sort(blocks, axis=-1)[..., :-1]).all()  # three pictures
    subgroups = np.sort(table["subgroup"][blocks], axis=-1)
    in_one_subgroup = (subgroups[..., 0] == subgroups[..., 2]).mean(1)
    assert (in_one_subgroup >= 1 / 3).all() and in_one_subgroup.mean() < 0.4  # the others are random


def test_raters_follow_the_hierarchy_with_noise_that_is_theirs(images, splits):
    triplets = rows(splits["train"])[:5000]
    raters = SimulatedRaters(images, seed=0)
    noisy, clean = raters.similarities(triplets), raters.similarities(triplets, noisy=False)
    np.testing.assert_array_equal(noisy, column(splits["train"], "similarities")[:5000])
    np.testing.assert_array_equal(noisy, SimulatedRaters(images, seed=0).similarities(triplets))
    assert not np.array_equal(noisy, SimulatedRaters(images, seed=1).similarities(triplets))
    assert set(np.unique(clean)) == {0.0, 2.0, 3.5, 9.5}
    same = clean == 9.5  # one concept
    assert same.any() and (noisy[same] == 9.5).all()
    assert 0.4 < (noisy - clean)[~same].std() < 0.6


def test_same_seed_same_triplets(images, splits):
    again, other = demo_triplets(images), demo_triplets(images, seed=1)
    np.testing.assert_array_equal(rows(again["fine"]), rows(splits["fine"]))
    assert not np.array_equal(rows(other["fine"]), rows(splits["fine"]))


def test_encoder_is_small_and_opens():
    size = sum(file.stat().st_size for file in ENCODER_DIRECTORY.iterdir())
    assert size <= 4 * 2**20
    assert {file.suffix for file in ENCODER_DIRECTORY.iterdir()} == {".json", ".md", ".safetensors"}
    encoder = VisionEncoder.from_pretrained(str(ENCODER_DIRECTORY))
    assert encoder.pooling == "cls" and encoder.embedding_dim == 184
