"""What the teacher of this folder knows besides choices: what is similar, when people hesitate, what more data do.

Reads what `recipes/fit_teacher.py` wrote, and, from a folder of THINGS files (see README.md beside this file), the
choices, the features, a similarity matrix of 48 objects that people judged in every combination, triplets that many
people judged, and the published VICE embedding for comparison. Writes `report.json` beside the teacher.

    python recipes/things-clip/report.py --data path/to/things --teacher outputs/things-clip
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from scipy.stats import spearmanr

from hf_alignet.evaluation import choice_accuracy, choice_cross_entropy, dot_product_choices, vice_choices
from hf_alignet.files import write_json
from hf_alignet.judgments import load_judgments, noise_ceilings_from_shares
from hf_alignet.similarity import entropy
from hf_alignet.teacher import AffineTransform, Vice, pair_counts

NUM_OBJECTS = 1854
SHARES = (1 / 4, 1 / 2)  # of the training choices; all of them make the VICE at hand
BOOTSTRAPS = 1000
ORIGINAL = {
    "batch_size": 128,
    "learning_rate": 1e-3,
    "initial_scale": None,
    "window": 500,
    "settle": 0,
    "max_epochs": 600,
}


def rank_correlation(x: np.ndarray, y: np.ndarray, draw: Callable[[np.random.Generator], np.ndarray]) -> dict:
    """Spearman's ρ of two vectors, its 95 % bootstrap interval, and their length; `draw` gives rows of a resample."""
    rng = np.random.default_rng(0)
    found = [spearmanr(x[rows], y[rows])[0] for rows in (draw(rng) for _ in range(BOOTSTRAPS))]
    return {"value": spearmanr(x, y)[0], "ci95": np.nanpercentile(found, [2.5, 97.5]).tolist(), "n": len(x)}


def against_judged_similarity(matrix: np.ndarray, dissimilarity: np.ndarray) -> dict:
    """Over pairs of different objects, with intervals over objects."""
    pairs = np.stack(np.triu_indices(len(matrix), 1))
    position = np.zeros(matrix.shape, int)
    position[tuple(pairs)] = position[tuple(pairs[::-1])] = np.arange(pairs.shape[1])

    def draw(rng: np.random.Generator) -> np.ndarray:
        drawn = rng.integers(len(matrix), size=len(matrix))[pairs]
        return position[drawn[0], drawn[1]][drawn[0] != drawn[1]]

    return rank_correlation(matrix[tuple(pairs)], -dissimilarity[tuple(pairs)], draw)


def against_hesitation(log_probabilities: np.ndarray, modal_share: np.ndarray) -> dict:
    """Entropy of choices against people's 1 - modal share.

    The published shares are of the most frequent choice alone; were the rest evenly divided, people's entropy would
    fall with it strictly, so that the ranks are those of the entropy.
    """
    entropies = entropy(torch.from_numpy(log_probabilities)).numpy()
    return rank_correlation(entropies, 1 - modal_share, lambda rng: rng.integers(len(entropies), size=len(entropies)))


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
    vice, transform = (
        kind.from_pretrained(arguments.teacher / at) for kind, at in ((Vice, "vice"), (AffineTransform, ""))
    )
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
    report["rdm48"] = against_judged_similarity(vice.similarity_matrix(objects), np.load(data / "RDM48.npy"))

    repeated = pd.read_csv(data / "repeated_triplets_prop_max.csv")
    rows = repeated[["id_lo", "id_mid", "id_hi"]].to_numpy()
    for raters, kept in (("all", repeated.n_per_triplet > 0), ("90 or more", repeated.n_per_triplet >= 90)):
        report[f"hesitation, {raters} raters"] = {
            name: against_hesitation(predict(rows[kept]), repeated.prop_max[kept].to_numpy())
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
