"""Names for `recipes/evaluate.py`, from a folder of THINGS files (see README.md beside this file).

Writes `names.txt`, the uniqueIDs of the 1,854 objects in their order, and `rdm48.csv`, the dissimilarities of 48 of
them that people judged in every combination, with their names.

    python recipes/things-clip/prepare.py --data path/to/things
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the THINGS files")
    parser.add_argument("--output_dir", type=Path, default=Path("data/things-clip"), help="(%(default)s)")
    arguments = parser.parse_args()

    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    objects = pd.read_csv(arguments.data / "uid_order.csv").sort_values("uid_index")["uniqueID"]
    (arguments.output_dir / "names.txt").write_text("\n".join(objects) + "\n", encoding="utf-8")
    judged = pd.read_csv(arguments.data / "RDM48_order.csv")["uniqueID"]
    matrix = np.load(arguments.data / "RDM48.npy", allow_pickle=False)
    pd.DataFrame(matrix, judged.tolist(), judged.tolist()).to_csv(arguments.output_dir / "rdm48.csv")
    print(f"names of {len(objects)} objects and the dissimilarities of {len(judged)} are in {arguments.output_dir}")


if __name__ == "__main__":
    main()
