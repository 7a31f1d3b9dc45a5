"""Trains the demo's encoder by the trainer of sentence-transformers with our loss and with theirs, on the same data.

    python recipes/sentence-transformers/compare.py [--steps 150] [--seeds 0 1 2]

All see the same triplets in the same order. Theirs read hard choices: (anchor, positive, negative), where anchor and
positive are the pair that the teacher finds most similar. It prints a table, and writes nothing.
"""

import argparse
import tempfile
import time

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss, TripletLoss
from torch import nn
from transformers import PrinterCallback

from hf_alignet.demo import ENCODER_DIRECTORY, demo_images, demo_triplets
from hf_alignet.encoder import VisionEncoder
from hf_alignet.evaluation import evaluate_splits
from hf_alignet.similarity import odd_one_out
from hf_alignet.student.sentence_loss import IMAGE_COLUMNS, TripletKLLoss, fitting_temperature, triplet_columns

BATCH, RATES = 64, (1e-4, 5e-4)
SPLITS = ("coarse", "fine", "boundary")


def hard_choices(soft: Dataset) -> Dataset:
    """(anchor, positive, negative) of triplets with soft labels."""
    odd = odd_one_out(torch.tensor(soft["label"][:])).numpy()
    keep = np.flatnonzero(odd >= 0)  # a tie is no choice
    pictures = [soft[name][:] for name in IMAGE_COLUMNS]
    order = [[i for i in range(3) if i != o] + [int(o)] for o in odd]
    rows = {
        name: [pictures[order[row][place]][row] for row in keep]
        for place, name in enumerate(("anchor", "positive", "negative"))
    }
    return Dataset.from_dict(rows)


def losses(model: SentenceTransformer, soft: Dataset, hard: Dataset) -> dict[str, tuple[nn.Module, Dataset]]:
    return {
        "KL on soft labels (ours)": (TripletKLLoss(model, fitting_temperature(model, soft)), soft),
        "TripletLoss (theirs)": (TripletLoss(model), hard),
        "MultipleNegativesRankingLoss (theirs)": (MultipleNegativesRankingLoss(model), hard),
    }


def train(start: str, name: str, soft: Dataset, hard: Dataset, rate: float, seed: int, folder: str) -> VisionEncoder:
    model = SentenceTransformer(start, device="cpu")
    loss, data = losses(model, soft, hard)[name]
    args = SentenceTransformerTrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=rate,
        seed=seed,
        save_strategy="no",
        report_to="none",
        logging_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(model=model, args=args, train_dataset=data, loss=loss)
    trainer.remove_callback(PrinterCallback)  # it would write into the table
    trainer.train()
    model.save_pretrained(folder, create_model_card=False)
    return VisionEncoder.from_pretrained(folder, pooling=VisionEncoder.from_pretrained(start).pooling)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    images, splits = demo_images(), demo_triplets(demo_images())
    tests = {split: splits[split] for split in SPLITS}
    options = {"progress": False, "batch_size": 128}
    with tempfile.TemporaryDirectory() as folder:
        encoder = VisionEncoder.from_pretrained(str(ENCODER_DIRECTORY))
        encoder.save_pretrained(f"{folder}/start")
        print("| loss | learning rate | " + " | ".join(SPLITS) + " | seconds |\n| --- | --- |" + " --- |" * 4)
        show("no training", "", [measure(encoder, images, tests, options)], 0)
        for name in ("KL on soft labels (ours)", "TripletLoss (theirs)", "MultipleNegativesRankingLoss (theirs)"):
            for rate in RATES:
                found, start = [], time.perf_counter()
                for seed in given.seeds:
                    rows = np.random.default_rng(seed).permutation(len(splits["train"]))[: given.steps * BATCH]
                    soft = triplet_columns(images, splits["train"].select(rows))
                    trained = train(f"{folder}/start", name, soft, hard_choices(soft), rate, seed, f"{folder}/out")
                    found.append(measure(trained, images, tests, options))
                show(name, f"{rate:g}", found, (time.perf_counter() - start) / len(given.seeds))


def measure(encoder: VisionEncoder, images: Dataset, tests: dict, options: dict) -> list[float]:
    metrics = evaluate_splits(encoder, images, tests, "demo", "cosine", **options)[0]
    return [metrics[f"demo/{split}/odd_one_out_accuracy"]["value"] for split in SPLITS]


def show(name: str, rate: str, found: list[list[float]], seconds: float) -> None:
    values = np.array(found)
    means = zip(values.mean(0), values.std(0), strict=True)
    cells = [f"{mean:.3f} ± {deviation:.3f}" if len(values) > 1 else f"{mean:.3f}" for mean, deviation in means]
    print(f"| {name} | {rate} | " + " | ".join(cells) + f" | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
