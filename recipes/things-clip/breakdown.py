"""Where models agree with people: by category of the objects, by what people attend to, and dimension by dimension.

Reads a folder of THINGS files and the teacher that `recipes/fit_teacher.py` wrote (see README.md beside this file).
Compares CLIP's features as they are, under the teacher's transform, and the published VICE embedding on the test
choices. Writes `breakdown.json` beside the teacher.

    python recipes/things-clip/breakdown.py --data path/to/things --teacher outputs/things-clip
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hf_alignet.encoder import AffineTransform
from hf_alignet.evaluation import (
    Rsm,
    accuracy_by_category,
    accuracy_by_group,
    agreement_table,
    are_correct,
    compare_rsms,
    dimension_scores,
    leading_dimensions,
    odd_one_out_choices,
    predict_dimensions,
    predicted_odd_one_out_accuracy,
    share_correct,
)
from hf_alignet.judgments import load_judgments
from hf_alignet.judgments.rows import ODD, TRIPLET, column
from hf_alignet.storage import write_json
from hf_alignet.teacher import Vice

NUM_OBJECTS = 1854


@dataclass
class Things:
    """What this report needs of the folder: n objects, and m choices of the test split.

    Attributes:
        triplets: (m, 3) objects.
        odd: (m,) place of the odd one out in the triplet, from 0 to 2.
        clip: (n, 512) features.
        vice: (n, 42) published VICE embedding.
        spose: (n, 66) published SPoSE embedding.
        dimensions: names of the 66 dimensions of SPoSE.
        categories: (n, 53) 1 where the object is in the category.
    """

    triplets: np.ndarray
    odd: np.ndarray
    clip: np.ndarray
    vice: np.ndarray
    spose: np.ndarray
    dimensions: list[str]
    categories: pd.DataFrame


def read_things(data: Path) -> Things:
    test = load_judgments(str(data / "things_human_triplets.npz"), num_images=NUM_OBJECTS)["test"]
    return Things(
        triplets=column(test, TRIPLET),
        odd=column(test, ODD).astype(np.int64),
        clip=np.load(data / "clip_vitb32_things_images_uid_order.npy", allow_pickle=False),
        vice=np.load(data / "vice_42d_uid_order.npy", allow_pickle=False),
        spose=np.load(data / "spose_66d_rescaled_uid_order.npy", allow_pickle=False),
        dimensions=(data / "spose66_dimension_labels.txt").read_text(encoding="utf-8").splitlines(),
        categories=pd.read_csv(data / "categories_53_uid_order.csv").iloc[:, 2:].fillna(0),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the THINGS files")
    parser.add_argument("--teacher", type=Path, default=Path("outputs/things-clip"), help="output of fit_teacher.py")
    arguments = parser.parse_args()
    things = read_things(arguments.data)
    triplets, odd = things.triplets, things.odd
    transform = AffineTransform.from_pretrained(arguments.teacher)
    models = {"clip": things.clip, "transformed": transform(things.clip), "vice": things.vice}
    choices = {name: odd_one_out_choices(embeddings, triplets) for name, embeddings in models.items()}
    correct = {name: are_correct(chosen, odd) for name, chosen in choices.items()}

    report: dict = {"accuracy": {}, "by_category": {}, "by_dimension": {}, "dimensions_predicted": {}}
    attended = np.array(things.dimensions, dtype=object)[leading_dimensions(things.spose, triplets, odd)]
    for name, embeddings in models.items():
        report["accuracy"][name] = share_correct(correct[name], triplets)
        report["by_category"][name] = accuracy_by_category(correct[name], triplets, things.categories, at_least=2)
        report["by_dimension"][name] = accuracy_by_group(correct[name], attended, triplets)
        predicted = predict_dimensions(embeddings, things.spose)
        report["dimensions_predicted"][name] = {
            "r2": dict(zip(things.dimensions, dimension_scores(predicted), strict=True)),
            "odd_one_out_accuracy": predicted_odd_one_out_accuracy(predicted, triplets, odd),
        }
    table = agreement_table({name: {"test": chosen} for name, chosen in choices.items()}, {"test": (triplets, odd)})
    report["comparison"] = table.to_dict(orient="records")

    objects = pd.read_csv(arguments.data / "RDM48_order.csv")["uid_index"].to_numpy()
    judged = Rsm.from_matrix(np.load(arguments.data / "RDM48.npy", allow_pickle=False), "dissimilarity")
    vice = Vice.from_embedding(things.vice).similarity_matrix(objects, n_samples=1)
    report["rdm48, choice probabilities of vice"] = compare_rsms(Rsm.from_matrix(vice), judged)
    write_json(arguments.teacher / "breakdown.json", report)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
