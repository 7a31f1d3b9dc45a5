import collections

import pytest
import torch

from hf_alignet.images import workers

Disk = collections.namedtuple("Disk", "free")


@pytest.mark.parametrize(
    ("has_gpu", "cores", "processes", "shared", "num_batches", "expected"),
    [
        (False, 16, 1, 2**35, None, 0),  # the cores compute
        (True, 16, 1, 2**35, None, 15),
        (True, 16, 4, 2**35, None, 3),
        (True, 16, 1, 2**26, None, 0),  # workers would be killed
        (True, 16, 1, 2**35, 20, 5),
        (True, 1, 1, 2**35, None, 0),
    ],
)
def test_workers_by_default(has_gpu, cores, processes, shared, num_batches, expected, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: has_gpu)
    monkeypatch.setattr(workers, "cores_at_hand", lambda: cores)
    monkeypatch.setattr(workers.os.path, "isdir", lambda path: True)
    monkeypatch.setattr(workers.shutil, "disk_usage", lambda path: Disk(shared))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert workers.default_workers(num_batches) == expected
