"""The base model, the teacher, and the aligned models that are there, on photographs that no one was fitted to.

Agreement with VICE on the triplets of `recipes/things-vit-tiny`, of classes never seen and of other photographs of
the classes seen, and few-shot accuracy on the photographs of all classes that are only measured on. Prints a table,
and writes `report.json`.

    python recipes/tiny-imagenet/report.py --model_name_or_path MODEL
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import DatasetDict

from hf_alignet.encoder import AffineTransform
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.evaluation import few_shot_accuracy, odd_one_out_accuracy
from hf_alignet.evaluation.human.odd_one_out import odd_labels
from hf_alignet.images.opening import load_images
from hf_alignet.images.reader import ImageReader
from hf_alignet.metric import Metric, results_table
from hf_alignet.storage import write_json
from hf_alignet.triplets import load_triplets
from hf_alignet.triplets.triplet_dataset import TRIPLET, column

HELD_OUT_PER_CLASS = 20  # as in prepare.py
SPLITS = ("unseen_classes", "seen_classes")
SHOTS = (1, 10)
TRAINED = ("aligned", "random", "control")


def measure(embeddings: np.ndarray, rows: np.ndarray, labels: np.ndarray, splits: DatasetDict) -> dict[str, Metric]:
    """All measures of the embeddings (m, d) of the photographs in `rows` (m,), with classes `labels` (m,)."""
    metrics = {}
    for split in SPLITS:
        triplets = np.searchsorted(rows, column(splits[split], TRIPLET))
        metrics[f"agreement, {split}"] = odd_one_out_accuracy(embeddings, triplets, odd_labels(splits[split]))
    return metrics | {f"{shots}-shot accuracy": few_shot_accuracy(embeddings, labels, shots) for shots in SHOTS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="the base model")
    parser.add_argument("--data", type=Path, default="data/things-vit-tiny", help="(%(default)s)")
    parser.add_argument(
        "--output_dir",
        type=Path,
        default="outputs/tiny-imagenet",
        help="with teacher, and any of aligned, random and control (%(default)s)",
    )
    arguments = parser.parse_args()
    output = arguments.output_dir

    images, splits = load_images(str(arguments.data)), load_triplets(str(arguments.data))
    labels = np.asarray(images["label"][:])
    rows = np.flatnonzero(pd.Series(labels).groupby(labels).cumcount() < HELD_OUT_PER_CLASS)
    trained = [name for name in TRAINED if (output / name).is_dir()]
    models = {"base": arguments.model_name_or_path, **{name: output / name for name in trained}}
    embeddings = {}
    for name, model in models.items():
        encoder = VisionEncoder.from_pretrained(str(model))
        embeddings[name] = encoder.embed(ImageReader(images, encoder.preprocessor), rows=rows)
    embeddings["teacher"] = AffineTransform.from_pretrained(output / "teacher")(embeddings["base"])
    names = ("base", "teacher", *trained)
    found = {name: measure(embeddings[name], rows, labels[rows], splits) for name in names}
    write_json(output / "report.json", found)
    print(results_table(found))


if __name__ == "__main__":
    main()
