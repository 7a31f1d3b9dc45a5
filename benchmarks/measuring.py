"""What the benchmarks share: the cost of a call, and parts that each have a process of their own.

Linux only: the kernel tells and resets the peak of memory.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch


class Cost(NamedTuple):
    """Of a call: CPU seconds, seconds, and the most megabytes at once beyond what the process held before it."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    value: Any  # that it gave


def cost(action: Callable[[], object]) -> Cost:
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten: now it is what is held
    before = _peak_memory()
    cpu, wall = time.process_time(), time.perf_counter()
    value = action()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Cost(cpu, wall, (_peak_memory() - before) / 1e6, value)


def least(action: Callable[[], object], repeats: int) -> Cost:
    """The fastest of several calls, without what they gave; memory that one left to the next counts as taken."""
    calls = [cost(action)._replace(value=None) for _ in range(repeats)]
    return min(calls)._replace(peak_mb=max(call.peak_mb for call in calls))


def _peak_memory() -> int:
    """Most bytes of this process that were in memory at once, since the peak was last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def run_parts(doc: str, parts: dict[str, Callable[[], dict]]) -> dict[str, dict]:
    """Prints and returns the result of each part of the script that calls it, one JSON line each.

    Args:
        doc: docstring of the script.
        parts: by name. With `--part` the script does that one alone, in its own process, and ends here.
    """
    script = Path(sys.argv[0])
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=parts, help="one result, in this process")
    part = parser.parse_args().part
    if part is not None:
        torch.set_num_threads(1)
        print(json.dumps({"benchmark": f"{script.stem}/{part}", "threads": 1, **parts[part]()}), flush=True)
        sys.exit()
    results = {}
    for name in parts:
        command = [sys.executable, str(script), "--part", name]
        run = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        results[name] = json.loads(run.stdout)
        print(run.stdout.strip(), flush=True)
    return results
