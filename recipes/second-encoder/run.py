"""The sweep of `frontier` on the encoder of `convert.py`, with its last 4 blocks trained, and with all of them.

Reads what `things-vit-tiny` and `tiny-imagenet` wrote, and the teacher of this encoder. A setting that is there is not
trained again. `frontier/report.py` makes the table.

    python recipes/second-encoder/run.py
"""

import argparse
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "frontier"))

import sweep  # noqa: E402

SHARES = (1.0, 0.6, 0.4)  # of the way from the initial weights to the trained ones
SETTINGS = {4: "last_blocks.yaml", 11: "all_blocks.yaml"}  # by the number of blocks whose input is kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", default="outputs/second-encoder/model", help="(%(default)s)")
    parser.add_argument("--transform", default="outputs/second-encoder/teacher", help="(%(default)s)")
    parser.add_argument("--output_dir", default="outputs/second-encoder/runs", help="(%(default)s)")
    given = [part for name, value in vars(parser.parse_args()).items() for part in (f"--{name}", value)]
    sweep.SHARES = SHARES
    for blocks, file in SETTINGS.items():
        sweep.NUM_CACHED = blocks
        sys.argv[1:] = [*given, "--settings", str(FOLDER / file)]
        sweep.main()


if __name__ == "__main__":
    main()
