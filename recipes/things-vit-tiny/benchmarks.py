"""What people chose about objects of which there are pictures: stimuli and judgments for `recipes/evaluate.py`.

Choices of people about the 1,854 objects of THINGS are kept where all three objects have a picture: in `photographs`,
one of each concept of Tiny-ImageNet that `prepare.py` held out; in `emoji`, one drawing of each. `rdm48.csv` has the
dissimilarities of those objects that are among 48 which people judged in every combination, and `vice.csv` the
similarities of all by VICE, an embedding of people's choices. Evaluation fits a temperature to the split `train`: the
smaller part of the choices has that name here, and the larger one is measured on.

    python recipes/things-vit-tiny/benchmarks.py --data path/to/data
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict, Image

from hf_alignet.images.opening import load_images
from hf_alignet.judgments import make_judgments
from hf_alignet.storage import write_json
from hf_alignet.triplets import load_triplets

STYLE = "noto"
PARTS = {"train": "test", "test": "train"}  # the names here, and the published ones


def photographs(images: str) -> Dataset:
    """The first held-out photograph of each concept, with its name in the column `concept`."""
    dataset, triplets = load_images(images), load_triplets(images)
    rows = np.unique(np.concatenate([triplets[split]["triplet"][:] for split in ("seen_classes", "unseen_classes")]))
    table = pd.DataFrame({"row": rows, "concept": np.asarray(dataset["uniqueID"][:])[rows]})
    first = table.drop_duplicates("concept")
    return dataset.select(first["row"]).select_columns("image").add_column("concept", first["concept"].tolist())


def emoji(file: Path) -> Dataset:
    """One drawing of each concept, in one style."""
    drawings = Dataset.from_parquet(str(file)).cast_column("image", Image(decode=False))
    table = drawings.select_columns(["style", "uniqueID"]).to_pandas()
    rows = table[table["style"] == STYLE].drop_duplicates("uniqueID").index
    return (
        drawings.select(rows).select_columns(["image", "uniqueID"]).rename_column("uniqueID", "concept")
    ).cast_column("image", Image())


def judgments_among(objects: np.ndarray, choices: dict[str, np.ndarray]) -> DatasetDict:
    """Choices whose three objects are in `objects` (k,), by their places there."""
    place = np.full(max(objects.max(), *(rows.max() for rows in choices.values())) + 1, -1)
    place[objects] = np.arange(len(objects))
    splits = {}
    for ours, theirs in PARTS.items():
        rows = place[choices[theirs].astype(np.int64)]
        rows = rows[(rows >= 0).all(1)]
        splits[ours] = make_judgments(rows, odd=np.full(len(rows), 2))  # the published order: the odd one last
    return DatasetDict(splits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("HF_ALIGNET_DATA")
    parser.add_argument("--data", type=Path, default=data, required=data is None, help="folder of things/ and emoji/")
    parser.add_argument("--images", default="data/things-vit-tiny", help="output of prepare.py (%(default)s)")
    parser.add_argument("--output_dir", type=Path, default=Path("data/things-vit-tiny"), help="(%(default)s)")
    arguments = parser.parse_args()
    things = arguments.data / "things"
    order = pd.read_csv(things / "uid_order.csv").set_index("uniqueID")["uid_index"]
    with np.load(things / "things_human_triplets.npz", allow_pickle=False) as file:
        choices = {name: file[name] for name in file.files}
    vice = np.load(things / "vice_42d_uid_order.npy", allow_pickle=False)
    judged = pd.read_csv(things / "RDM48_order.csv")["uniqueID"]
    matrix = pd.DataFrame(np.load(things / "RDM48.npy", allow_pickle=False), judged.tolist(), judged.tolist())

    sets = {
        "photographs": photographs(arguments.images),
        "emoji": emoji(arguments.data / "emoji" / "emoji_things_64px_mit_apache.parquet"),
    }
    for name, stimuli in sets.items():
        directory = arguments.output_dir / name
        concepts = list(stimuli["concept"])
        objects = order[concepts].to_numpy()
        stimuli.save_to_disk(directory / "images")
        judgments = judgments_among(objects, choices)
        judgments.save_to_disk(directory / "judgments")
        shared = [concept for concept in judged if concept in set(concepts)]
        matrix.loc[shared, shared].to_csv(directory / "rdm48.csv")
        similarities = vice[objects] @ vice[objects].T
        np.fill_diagonal(similarities, similarities.max())  # tells readers that these are similarities
        pd.DataFrame(similarities, concepts, concepts).to_csv(directory / "vice.csv")
        counts = {"concepts": len(concepts), "in_rdm48": len(shared), **judgments.num_rows}
        write_json(directory / "counts.json", counts)
        print(f"{name}: {counts}")


if __name__ == "__main__":
    main()
