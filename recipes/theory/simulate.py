"""Queries against disagreement, simulated and by the bound: writes queries.csv, queries.png and queries.svg.

python recipes/theory/simulate.py
"""

import argparse
from pathlib import Path

from hf_alignet.analysis import query_figure, query_table, save_figure
from hf_alignet.storage import write_text

DISAGREEMENTS = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.45)  # and as far above one half
DIMS = (1, 2, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_objects", type=int, default=16, help="that are known (%(default)s)")
    parser.add_argument("--worlds", type=int, default=10, help="for each dot (%(default)s)")
    parser.add_argument("--runs", type=int, default=20, help="students in each world (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (%(default)s)")
    parser.add_argument("--output_dir", type=Path, default="outputs/theory", help="(%(default)s)")
    arguments = parser.parse_args()
    both = [*DISAGREEMENTS, *(round(1 - share, 2) for share in reversed(DISAGREEMENTS))]
    settings = {name: getattr(arguments, name) for name in ("num_objects", "worlds", "runs", "seed")}
    table = query_table(both, DIMS, **settings)
    write_text(arguments.output_dir / "queries.csv", table.to_csv(index=False))
    for kind in ("png", "svg"):
        save_figure(query_figure(table), arguments.output_dir / f"queries.{kind}")
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
