"""The teacher's vectors of all words, as `align` takes them (see README.md beside this file).

python recipes/things-words/vectors.py --model all-MiniLM-L6-v2 --teacher outputs/things-words-teacher
"""

import argparse
from pathlib import Path

import numpy as np

from hf_alignet import TextEncoder, load_images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="path or Hub id of the model that the teacher was fitted to")
    parser.add_argument("--teacher", type=Path, required=True, help="folder that fit-teacher wrote")
    parser.add_argument("--words", default="data/things-words/words", help="(%(default)s)")
    arguments = parser.parse_args()

    teacher = TextEncoder.from_pretrained(arguments.model, transform=str(arguments.teacher))
    np.save(arguments.teacher / "vectors.npy", teacher.embed(load_images(arguments.words)))


if __name__ == "__main__":
    main()
