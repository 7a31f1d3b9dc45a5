"""How many worker processes decode pictures where nobody says it."""

import os
import shutil

import torch

BATCHES = 4  # that a worker should have: fewer are not worth its start
SHARED_MEMORY = "/dev/shm"  # batches come through it, if there is one
LEAST_SHARED_BYTES = 2**31  # containers often have 64 MB, and a worker that finds it full is killed


def default_workers(num_batches: int | None = None) -> int:
    """One for each other core of this process if there is a GPU, for that many batches; without one the cores compute.

    Of several processes on this machine, each has its share of the cores.
    """
    is_small = os.path.isdir(SHARED_MEMORY) and shutil.disk_usage(SHARED_MEMORY).free < LEAST_SHARED_BYTES
    if not torch.accelerator.is_available() or is_small:
        return 0
    workers = max(0, cores_at_hand() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1)
    return workers if num_batches is None else min(workers, num_batches // BATCHES)


def cores_at_hand() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
