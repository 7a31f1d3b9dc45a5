"""Kills a run of `recipes/align.py` at random moments, each time resumes it, and compares the final weights with those
of a run that nobody disturbed: one JSON line.

Every start is `--resume_from_checkpoint last`, as a script that restarts a preempted job would do it. A checkpoint is
written after every step, so that many kills fall into the writing of one.

    OMP_NUM_THREADS=1 python benchmarks/kills.py
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
STEPS = 120
EVERY_STEP = ["--max_steps", STEPS, "--save_strategy", "steps", "--save_steps", 1, "--save_total_limit", 3]
DEMO = ["--config", ROOT / "recipes/configs/demo.yaml", "--per_device_train_batch_size", 16, *EVERY_STEP]


def start(output_dir: Path, *flags: str) -> subprocess.Popen:
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        ROOT / "recipes/accelerate/cpu.yaml",
    ]
    command = [*launch, ROOT / "recipes/align.py", *DEMO, "--output_dir", output_dir, *flags]
    log = (output_dir.parent / f"{output_dir.name}.log").open("ab")
    # In a group of its own: the launcher and what it launches are killed together
    return subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, start_new_session=True)


def finish(run: subprocess.Popen, output_dir: Path) -> None:
    if run.wait() != 0:
        log = (output_dir.parent / f"{output_dir.name}.log").read_text(errors="replace")
        sys.exit(f"the run in {output_dir} failed with status {run.returncode}:\n{log[-3000:]}")


def wait_for_training(run: subprocess.Popen, output_dir: Path) -> bool:
    """Waits until a resumed run trains, or has ended; says whether it trains."""
    seen = {path.name for path in output_dir.glob("checkpoint-*")} if output_dir.exists() else set()
    while run.poll() is None:
        now = {path.name for path in output_dir.glob("*")} if output_dir.exists() else set()
        if now - seen - {".unfinished"}:
            return True
        time.sleep(0.01)
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as directory:
        whole, killed = Path(directory, "whole"), Path(directory, "killed")
        finish(start(whole), whole)
        kills = in_writing = 0
        while kills < args.kills:
            shutil.rmtree(killed / ".unfinished", ignore_errors=True)  # to tell which kill left one
            run = start(killed, "--resume_from_checkpoint", "last")
            # A third before training, the others within some steps of it
            if rng.random() < 1 / 3:
                time.sleep(rng.uniform(0, 10))
            elif wait_for_training(run, killed):
                time.sleep(rng.uniform(0, 0.5))
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                kills += 1
                in_writing += (killed / ".unfinished").exists()
            if run.wait() == 0:
                sys.exit(f"the run was over after {kills} kills; it needs more steps")
        finish(start(killed, "--resume_from_checkpoint", "last"), killed)
        ours, theirs = (load_file(path / "model.safetensors") for path in (killed, whole))
        result = {
            "benchmark": f"align.py killed {kills} times at random moments",
            "kills_while_a_checkpoint_was_written": in_writing,
            "resumed_and_completed": True,  # or it would have ended above
            "final_weights_equal": all(torch.equal(ours[name], theirs[name]) for name in theirs),
        }
        print(json.dumps(result))
        sys.exit(not result["final_weights_equal"])


if __name__ == "__main__":
    main()
