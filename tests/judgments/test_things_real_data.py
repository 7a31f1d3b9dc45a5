"""The real THINGS choices: their splits, the order of the objects, noise ceilings."""

import numpy as np
import pandas as pd
import pytest
import torch

from hf_alignet.evaluation import noise_ceilings_from_shares
from hf_alignet.judgments import choice_counts, file_name_order, load_judgments
from hf_alignet.judgments.rows import column
from hf_alignet.similarity import is_correct, odd_one_out, triplet_similarities

pytestmark = pytest.mark.real_data


@pytest.fixture
def objects(data_directory) -> pd.DataFrame:
    return pd.read_csv(data_directory / "things" / "uid_order.csv")


def test_order_of_file_names_is_the_published_one(objects):
    order = file_name_order(objects["uniqueID"])
    np.testing.assert_array_equal(np.argsort(order), objects["vice_original_row"])
    assert (order != np.arange(1854)).sum() == 21


def test_choices_are_in_the_order_of_unique_ids(data_directory, objects):
    names = objects["uniqueID"].tolist()
    vice = torch.from_numpy(np.load(data_directory / "things" / "vice_42d_uid_order.npy"))
    order = file_name_order(names)
    accuracies = {}
    for convention in ("uid", "file_name"):
        path = data_directory / "things" / "things_human_triplets.npz"
        splits = load_judgments(str(path), names, order=convention)
        assert {name: len(split) for name, split in splits.items()} == {"train": 249_251, "test": 25_000}
        triplets = np.concatenate([column(split, "triplet") for split in splits.values()])
        triplets = triplets[np.isin(triplets, order[order != np.arange(1854)]).any(1)]  # with an object that moved
        choices = odd_one_out(triplet_similarities(vice, torch.from_numpy(triplets).long()))
        accuracies[convention] = is_correct(choices, torch.full_like(choices, 2)).float().mean().item()
    assert accuracies["uid"] == pytest.approx(0.618, abs=0.005)
    assert accuracies["file_name"] == pytest.approx(0.497, abs=0.005)


def test_counts_of_the_real_choices(data_directory):
    splits = load_judgments(str(data_directory / "things" / "things_human_triplets.npz"))
    triplets, counts = choice_counts(splits["train"])
    assert counts.sum() == 249_251 and (np.diff(triplets, axis=1) > 0).all()


def test_noise_ceiling_of_the_published_shares(data_directory):
    table = pd.read_csv(data_directory / "things" / "repeated_triplets_prop_max.csv")
    ceilings = noise_ceilings_from_shares(table["prop_max"].to_numpy(), table["n_per_triplet"].to_numpy())
    assert ceilings["modal_share"]["value"] == pytest.approx(0.703, abs=0.001)
    assert ceilings["noise_ceiling"]["value"] == pytest.approx(0.694, abs=0.002)
    is_few = (table["n_per_triplet"] < 40).to_numpy()  # 10 to 22 people; the other triplets have 92 or more
    few = noise_ceilings_from_shares(table["prop_max"][is_few].to_numpy(), table["n_per_triplet"][is_few].to_numpy())
    assert few["noise_ceiling"]["value"] == pytest.approx(0.667, abs=0.003)
    assert few["modal_share"]["value"] == pytest.approx(0.686, abs=0.001)
