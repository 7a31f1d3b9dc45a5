"""What reading the whole THINGS table of choices costs: one JSON line a result.

A table of 4.7 million rows in the publishers' format, with random choices, is written to a temporary folder; measured
are `load_judgments` (with all of its checks), and counting the choices of each triplet. Memory is the peak within the
measured step, beyond what the process held before it. Linux only: the kernel tells and resets the peak.

    OMP_NUM_THREADS=1 python benchmarks/judgments.py
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measuring import cost
from pyarrow import csv

from hf_alignet.judgments import aggregate, load_judgments
from hf_alignet.teacher.planning import random_triplets

NUM_OBJECTS, NUM_PEOPLE = 1854, 12_340
SETS = {1: 20_000, 2: 40_000, 3: 65_000}  # trials with 1,000 repeated triplets each, about as many as published


def write_table(path: Path, rows: int, seed: int) -> None:
    """A tab-separated table with the columns of the publishers' and no order in its choices."""
    rng = np.random.default_rng(seed)
    triplets = random_triplets(NUM_OBJECTS, rows, rng) + 1
    noise_ceiling = np.repeat([0, *SETS], [rows - sum(SETS.values()), *SETS.values()])
    for number, size in SETS.items():
        triplets[noise_ceiling == number] = triplets[rng.integers(1000, size=size)]
    ids = np.array([f"a{i:07x}kq{i % 97:02d}" for i in range(NUM_PEOPLE)])
    columns = {
        **{f"image{i + 1}": triplets[:, i] for i in range(3)},
        "choice": rng.integers(1, 4, size=rows),
        "RT": rng.lognormal(8, 0.6, size=rows).astype(int),
        "noise_ceiling": noise_ceiling,
        "subject_id": pa.array(ids).take(pa.array(rng.integers(NUM_PEOPLE, size=rows))),
        "HIT_nr": np.arange(rows) // 20 + 1,
        "trial_nr": np.arange(rows) % 20 + 1,
        "age": pa.array(np.where(rng.random(rows) < 0.3, "NaN", "37")),
        "gender": pa.array(np.full(rows, "female")),
        "date": pa.array(np.full(rows, "2020-07-01")),
        "time": pa.array(np.full(rows, "12:34:56")),
        "dataset": np.full(rows, 4),
    }
    options = csv.WriteOptions(delimiter="\t", quoting_style="none", quoting_header="none")
    csv.write_csv(pa.table(columns), path, options)


def measure(name: str, function: Callable[[], object]) -> Any:
    """Prints what a call costs, and returns what it gives."""
    call = cost(function)
    result = {
        "benchmark": name,
        "cpu_s": round(call.cpu_s, 2),
        "wall_s": round(call.wall_s, 2),
        "peak_mb": round(call.peak_mb),
        "threads": pa.cpu_count(),
    }
    print(json.dumps(result), flush=True)
    return call.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_699_160, help="rows of the table (%(default)s)")
    parser.add_argument("--table", type=Path, help="measure this table, here")
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # random choices contradict each other
    if args.table:
        size = f"{args.rows} rows, {args.table.stat().st_size / 1e6:.0f} MB"
        splits = measure(f"load_judgments, {size}", lambda: load_judgments(str(args.table)))
        measure("aggregate of its train split", lambda: aggregate(splits["train"]))
        return
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "triplets_large_final_correctednc_correctedorder.csv"
        write_table(table, args.rows, seed=0)
        command = [sys.executable, __file__, "--rows", str(args.rows), "--table", str(table)]
        subprocess.run(command, check=True, env={"OMP_NUM_THREADS": "1", **os.environ})


if __name__ == "__main__":
    main()
