"""Words and people's choices for `align` and `fit-teacher`, from a folder of THINGS files (see README.md beside this).

Writes `words`, the names of the 1,854 objects as texts, and `choices`, odd-one-out choices of people about pictures of
them: `train` about four fifths of the objects; `new_questions`, choices held out about the same objects; `new_words`,
choices about the other objects alone.

    python recipes/things-words/prepare.py --data path/to/things
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict

HELD_OUT = 0.2  # of the objects


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the THINGS files")
    parser.add_argument("--output_dir", type=Path, default=Path("data/things-words"), help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="of the draw of objects that are held out (%(default)s)")
    arguments = parser.parse_args()

    words = read_words(arguments.data)
    Dataset.from_dict({"text": words}).save_to_disk(arguments.output_dir / "words")
    with np.load(arguments.data / "things_human_triplets.npz", allow_pickle=False) as file:
        choices = split_choices(file["train"], file["test"], len(words), arguments.seed)
    choices.save_to_disk(arguments.output_dir / "choices")
    print(f"{len(words)} words and the choices {choices.num_rows} are in {arguments.output_dir}")


def read_words(data: Path) -> list[str]:
    """The name of each object in the order of the choices, `ice cream` for `ice_cream`."""
    order = pd.read_csv(data / "uid_order.csv").sort_values("uid_index")["uniqueID"]
    concepts = pd.read_csv(data / "things_concepts.tsv", sep="\t", keep_default_na=False).set_index("uniqueID")
    return concepts.loc[order, "Word"].str.replace("_", " ").tolist()


def split_choices(train: np.ndarray, test: np.ndarray, num_objects: int, seed: int) -> DatasetDict:
    """Choices (m, 3), the last object being the odd one out, by the objects that they are about."""
    is_new = np.zeros(num_objects, bool)
    is_new[np.random.default_rng(seed).permutation(num_objects)[: round(HELD_OUT * num_objects)]] = True
    every = np.concatenate([train, test])
    splits = {"train": train[~is_new[train].any(1)], "new_questions": test[~is_new[test].any(1)]}
    splits["new_words"] = every[is_new[every].all(1)]
    return DatasetDict(
        {
            name: Dataset.from_dict({"triplet": rows.astype(np.int32), "odd": np.full(len(rows), 2, np.int8)})
            for name, rows in splits.items()
        }
    )


if __name__ == "__main__":
    main()
