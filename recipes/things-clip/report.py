"""What the teacher of this folder knows besides choices: what is similar, when people hesitate, what more data do.

Reads what `recipes/fit_teacher.py` wrote, and, from a folder of THINGS files (see README.md beside this file), the
choices, the features, a similarity matrix of 48 objects that people judged in every combination, triplets that many
people judged, and the published VICE embedding for comparison. Writes `report.json` beside the teacher.

    python recipes/things-clip/report.py --data path/to/things --teacher outputs/things-clip
"""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from hf_alignet.encoder import AffineTransform
from hf_alignet.evaluation import (
    Rsm,
    choice_accuracy,
    choice_cross_entropy,
    compare_rsms,
    dot_product_choices,
    noise_ceilings_from_shares,
    spearman,
    vice_choices,
)
from hf_alignet.judgments import load_judgments
from hf_alignet.metric import Metric
from hf_alignet.similarity import entropy
from hf_alignet.storage import write_json
from hf_alignet.teacher import Vice, pair_counts

NUM_OBJECTS = 1854
SHARES = (1 / 4, 1 / 2)  # of the training choices; all of them make the VICE at hand
ORIGINAL = {
    "batch_size": 128,
    "learning_rate": 1e-3,
    "initial_scale": None,
    "window": 500,
    "settle": 0,
    "max_epochs": 600,
}


def against_hesitation(log_probabilities: np.ndarray, modal_share: np.ndarray, triplets: np.ndarray) -> Metric:
    """Spearman's ρ of the entropy of choices with people's 1 - modal share, and its 95 % interval over objects.

    The published shares are of the most frequent choice alone; were the rest evenly divided, people's entropy would
    fall with it strictly, so that the ranks are those of the entropy.
    """
    entropies = entropy(torch.from_numpy(log_probabilities)).numpy()
    return spearman(entropies, 1 - modal_share, triplets=triplets).metric


def part_of(train: Dataset, share: float) -> Dataset:
    rows = np.random.default_rng(0).permutation(len(train))[: int(share * len(train))]
    return train.select(np.sort(rows))


def measures(predicted: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": choice_accuracy(predicted, counts)["value"],
        "cross_entropy": choice_cross_entropy(predicted, counts)["value"],
    }


def learning_curve(vice: Vice, train: Dataset, triplets: np.ndarray, counts: np.ndarray) -> list[dict]:
    """VICE fitted to shares of the choices that the one at hand was fitted to, and that one."""
    parts = [part_of(train, share) for share in SHARES]
    fitted = [Vice(**vice.settings()).fit(part, NUM_OBJECTS) for part in parts]
    return [
        {"choices": len(part), "dimensions": one.loc_.shape[1], **measures(vice_choices(one, triplets), counts)}
        for part, one in zip([*parts, train], [*fitted, vice], strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the THINGS files")
    parser.add_argument("--teacher", type=Path, default=Path("outputs/things-clip"), help="output of fit_teacher.py")
    parser.add_argument("--original", action="store_true", help="also fit VICE by its original schedule (10 minutes)")
    arguments = parser.parse_args()
    data: Path = arguments.data
    vice = Vice.from_pretrained(arguments.teacher / "vice")
    transform = AffineTransform.from_pretrained(arguments.teacher)
    features = np.load(data / "clip_vitb32_things_images_uid_order.npy")
    published = np.load(data / "vice_42d_uid_order.npy")
    splits = load_judgments(str(data / "things_human_triplets.npz"), num_images=NUM_OBJECTS)
    triplets, counts = pair_counts(splits["test"])

    predictors = {
        "vice": partial(vice_choices, vice),
        "transform": partial(dot_product_choices, transform(features)),
        "published_vice_mean": partial(dot_product_choices, published),
    }
    report: dict = {"vice_dimensions": vice.loc_.shape[1]}
    report["test"] = {name: measures(predict(triplets), counts) for name, predict in predictors.items()}
    objects = pd.read_csv(data / "RDM48_order.csv")["uid_index"].to_numpy()
    judged = Rsm.from_matrix(np.load(data / "RDM48.npy"), "dissimilarity")
    report["rdm48"] = compare_rsms(Rsm.from_matrix(vice.similarity_matrix(objects)), judged)

    repeated = pd.read_csv(data / "repeated_triplets_prop_max.csv")
    rows = repeated[["id_lo", "id_mid", "id_hi"]].to_numpy()
    for group, kept in (("all", repeated.n_per_triplet > 0), ("90 or more", repeated.n_per_triplet >= 90)):
        report[f"hesitation, {group} raters"] = {
            name: against_hesitation(predict(rows[kept]), repeated.prop_max[kept].to_numpy(), rows[kept])
            for name, predict in predictors.items()
        }
    shares, raters = repeated.prop_max.to_numpy(), repeated.n_per_triplet.to_numpy()
    report["noise_ceilings"] = noise_ceilings_from_shares(shares, raters)
    report["learning_curve"] = learning_curve(vice, splits["train"], triplets, counts)
    if arguments.original:
        original = Vice(**vice.settings() | ORIGINAL).fit(part_of(splits["train"], SHARES[0]), NUM_OBJECTS)
        report["original_schedule"] = measures(vice_choices(original, triplets), counts) | {
            "dimensions": original.loc_.shape[1],
            "converged": original.converged_,
        }
    write_json(arguments.teacher / "report.json", report)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
