"""Real photographs, a real pretrained encoder, real human similarity."""

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.evaluation import evaluate_splits
from hf_alignet.similarity import triplet_similarities
from hf_alignet.triplets import triplets_from_arrays


@pytest.mark.real_data
def test_pretrained_vit_agrees_with_people_above_chance(data_directory):
    images = Dataset.from_parquet(str(data_directory / "tiny_imagenet" / "train_100_per_class.parquet"))
    concepts = np.array(images["uniqueID"][:], dtype=object)
    rows = [int(np.flatnonzero(concepts == concept)[0]) for concept in pd.unique(concepts) if concept]
    order = pd.read_csv(data_directory / "things" / "uid_order.csv").set_index("uniqueID")["uid_index"]
    vice = np.load(data_directory / "things" / "vice_42d_uid_order.npy", allow_pickle=False)[order[concepts[rows]]]
    rng = np.random.default_rng(0)
    drawn = np.stack([rng.permutation(len(rows))[:3] for _ in range(4000)])
    similarities = triplet_similarities(torch.from_numpy(vice), torch.from_numpy(drawn)).numpy()
    encoder = VisionEncoder.from_pretrained(str(data_directory / "models" / "vit-tiny-patch16-224"))
    assert encoder.pooling == "cls"  # the checkpoint has no pooler
    splits = {"photographs": triplets_from_arrays(np.array(rows)[drawn], similarities)}
    metrics, _, embeddings = evaluate_splits(encoder, images, splits, "things", progress=False)
    assert 0.40 < metrics["things/photographs/odd_one_out_accuracy"]["value"] < 0.55
    assert embeddings.shape == (len(rows), 192)
