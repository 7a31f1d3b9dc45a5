"""Several processes share the fits of a teacher and the benchmarks of an evaluation, with the bytes of one."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from datasets import DatasetDict

from hf_alignet.errors import InputError
from hf_alignet.judgments import make_judgments
from hf_alignet.processes import share_tasks
from hf_alignet.storage import OURS
from hf_alignet.teacher import Vice, expectations, planning
from hf_alignet.workflows import teacher_run
from hf_alignet.workflows.evaluation_run import evaluate

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "recipes" / "accelerate" / "cpu_2_processes.yaml"
QUICK = {"num_dimensions": 8, "min_objects": 1, "max_epochs": 120, "burn_in": 60, "window": 30, "settle": 20}
STUDIES = {"small": (30, 4000), "large": (60, 17_000)}  # objects, choices: folds of both kinds
SCRIPT = """
import sys
from pathlib import Path
from accelerate import PartialState

sys.path.insert(0, sys.argv[1])
from test_processes import fail_in_one, make

make(Path(sys.argv[2]), Path(sys.argv[3]))
assert PartialState().num_processes == 2
fail_in_one()
PartialState().wait_for_everyone()
PartialState().destroy_process_group()
"""


def make(data, folder):
    expectations.Vice = partial(Vice, **QUICK)
    planning.NUMBERS = (100, 700)
    for name, folds in (("small", 2), ("large", 0)):
        found = {"judgments": str(data / name), "features": str(data / f"{name}.npy"), "progress": False}
        teacher_run.write_teacher(output_dir=folder / name, object_folds=folds, **found)
    teacher_run.write_teacher(output_dir=folder / "plan", plan=True, **found)
    benchmarks = [f"{name}=choices:{data / 'large'}" for name in ("first", "second", "third")]
    evaluate("", benchmarks, features=found["features"], output_dir=folder / "evaluation", seed=1, progress=False)


def fail_in_one():
    """Where one process finds an error, both raise it."""

    def task(number: int) -> int:
        if number == 1:
            raise InputError("no such number")
        return share_tasks([lambda: number])[0]  # alone

    assert share_tasks([partial(task, number) for number in (0, 2, 3)]) == [0, 2, 3]
    with pytest.raises(InputError, match="no such number"):
        share_tasks([partial(task, number) for number in range(5)])


@pytest.fixture
def data(tmp_path):
    """Choices of people who look at three of six features."""
    rng = np.random.default_rng(0)
    for name, (num_objects, number) in STUDIES.items():
        features = rng.gamma(0.7, 1.0, (num_objects, 6)).astype(np.float32)
        triplets = np.stack([rng.permutation(num_objects)[:3] for _ in range(number)])
        a, b, c = (1.5 * features[triplets[:, i], :3] for i in range(3))
        logits = np.stack([(b * c).sum(1), (a * c).sum(1), (a * b).sum(1)], 1)
        judgments = make_judgments(triplets, (logits + rng.gumbel(size=logits.shape)).argmax(1))
        held_out = number // 10
        splits = {"train": range(held_out, number), "test": range(held_out)}
        DatasetDict({split: judgments.select(rows) for split, rows in splits.items()}).save_to_disk(tmp_path / name)
        np.save(tmp_path / f"{name}.npy", features)
    return tmp_path


@pytest.mark.slow
@pytest.mark.multi_process
def test_two_processes_make_the_same_bytes_as_one(data, tmp_path, monkeypatch):
    for module, name in ((expectations, "Vice"), (planning, "NUMBERS")):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back afterwards
    with monkeypatch.context() as stopped:  # after all fits: two processes go on from the checkpoints of one

        def stop(*_):
            raise KeyboardInterrupt

        stopped.setattr(teacher_run, "_save", stop)
        with pytest.raises(KeyboardInterrupt):
            make(data, tmp_path / "two")
    assert (tmp_path / "two" / "small" / "unfinished" / "fold1" / "vice.safetensors").exists()

    (tmp_path / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", CONFIG, tmp_path / "script.py"]
    arguments = [*map(str, launch), str(Path(__file__).parent), str(data), str(tmp_path / "two")]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stderr[-3000:]
    make(data, tmp_path / "one")
    one, two = (
        {
            file.relative_to(folder): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file() and file.name not in OURS
        }
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert one.keys() == two.keys() and {"plan", "small", "large", "evaluation"} == {name.parts[0] for name in one}
    assert [name for name, content in one.items() if two[name] != content] == []
