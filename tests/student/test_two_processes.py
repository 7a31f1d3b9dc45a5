import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import DatasetDict

ROOT = Path(__file__).parents[2]


@pytest.mark.multi_process
def test_two_processes_equal_one(images, triplets, tiny_directory, tmp_path):
    images.save_to_disk(tmp_path / "images")
    DatasetDict(train=triplets).save_to_disk(tmp_path / "triplets")
    results = {}
    for processes, config in ((1, "cpu.yaml"), (2, "cpu_2_processes.yaml")):
        command = [
            *(sys.executable, "-m", "accelerate.commands.launch"),
            *("--config_file", ROOT / "recipes" / "accelerate" / config),
            *(ROOT / "tests" / "student" / "two_processes.py", tiny_directory("dinov2"), tmp_path),
            tmp_path / f"{processes}.json",
        ]
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        run = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=280)
        assert run.returncode == 0, run.stderr[-3000:]
        results[processes] = json.loads((tmp_path / f"{processes}.json").read_text())
        assert results[processes]["processes"] == processes
    one, two = (results[n]["losses"] for n in (1, 2))
    assert results[1]["interpolations"] == results[2]["interpolations"] == [1.0, 0.2]
    for losses in (one, two):
        assert losses.pop("full evaluated") == losses["full {}"]  # as if nothing had been evaluated
    exported = [losses.pop("full exported") for losses in (one, two)]
    np.testing.assert_allclose(*exported, atol=1e-5)
    assert len(set(exported[0])) == 4
    assert (
        results[1]["diverged"] == results[2]["diverged"] and "the loss is not finite at step" in results[1]["diverged"]
    )
    for losses in (one, two):
        assert len(losses["full whole"]) == 9 and losses.pop("full whole") == losses.pop("full resumed")
    assert set(one) == set(two) and len(one) == 6
    for name, losses in one.items():
        assert len(losses) == 4
        np.testing.assert_allclose(two[name], losses, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(losses, one[name.split()[0] + " {}"], atol=1e-5, err_msg=name)
