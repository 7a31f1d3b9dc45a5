"""Kills each long command at random moments, starts it again, and compares the results with those of a run that nobody
disturbed: one JSON line a command.

Each run is killed some times in a row, then it goes on to its end. Every file must be there, with the same bytes.

    OMP_NUM_THREADS=1 python benchmarks/kills.py --kills 20 --commands align make-triplets
"""

import argparse
import json
import random
import re
import shutil
import sys
import time
from pathlib import Path

from small_runs import COMMANDS, command, differences, is_unfinished, prepared, start

MOST_IN_A_ROW = 3
FINISHED = re.compile("holds (triplets already|a finished teacher)")


def kills(name: str, study: Path, folder: Path, number: int, rng: random.Random) -> dict[str, object]:
    """The result for one command."""
    log, whole = folder / f"{name}.log", folder / "whole" / name  # the name of the folder is in the results
    began = time.monotonic()
    if (ended := start(command(name, study, whole), log).end()) != "ok":
        sys.exit(f"{name} fails undisturbed: {ended}\n{log.read_text()[-3000:]}")
    seconds = time.monotonic() - began
    counts = {"kills": 0, "left_something_unfinished": 0, "runs": 0, "same_bytes": 0}
    failed: list[str] = []
    while counts["kills"] < number:
        output = folder / "killed" / name
        shutil.rmtree(output, ignore_errors=True)
        for _ in range(rng.randint(1, MOST_IN_A_ROW)):
            run = start(command(name, study, output), log)
            time.sleep(rng.uniform(0, seconds))
            is_over = run.is_over()
            if not is_over:
                run.kill()
            ended = run.end()
            if is_over:
                break
            counts["kills"] += 1
            counts["left_something_unfinished"] += is_unfinished(output)
        else:
            ended = start(command(name, study, output), log).end()
        counts["runs"] += 1
        different = differences(output, whole)
        if ended == "clear" and FINISHED.search(log.read_text()):  # it was killed after its last step
            ended = "ok"
        counts["same_bytes"] += ended == "ok" and not different
        if ended != "ok" or different:
            failed.append(f"{ended} {', '.join(different[:3])}: {log.read_text()[-300:].strip()}")
    return {"benchmark": f"kills/{name}", "undisturbed_s": round(seconds, 2), **counts, "failed": failed[:5]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=12, help="of each command, at least")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=COMMANDS)
    args = parser.parse_args()
    has_failed = False
    with prepared() as (directory, study):
        for name in args.commands:
            result = kills(name, study, directory, args.kills, random.Random(args.seed))
            print(json.dumps(result), flush=True)
            has_failed |= bool(result["failed"])
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
