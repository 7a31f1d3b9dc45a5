"""Several processes share the clustering and the labelling, and make the same bytes as one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from hf_alignet.triplets import kmeans, shards
from hf_alignet.triplets.making import Plan, TripletDesign, make_clusters, make_splits

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "recipes" / "accelerate" / "cpu_2_processes.yaml"
SCRIPT = """
import sys
from pathlib import Path
from accelerate import PartialState

sys.path.insert(0, sys.argv[1])
from test_triplet_processes import make

make(Path(sys.argv[2]))
assert PartialState().num_processes == 2
PartialState().destroy_process_group()
"""


def make(folder: Path) -> None:
    kmeans.SMALL, kmeans.BLOCK, shards.ROWS_PER_SHARD = 0, 100, 300
    embeddings = np.random.default_rng(0).normal(size=(900, 12)).astype(np.float32) ** 3
    design = TripletDesign(num_triplets=1000, num_validation_triplets=700, num_clusters=20)
    plan = Plan.of(design, Dataset.from_dict({"image": np.zeros(900)}), np.arange(900))
    clusters = make_clusters(design, embeddings, plan, folder, progress=False)
    written = make_splits(design, embeddings, plan, clusters, folder / "triplets", progress=False)
    assert written == {"train": 1000, "validation": 700}


@pytest.mark.multi_process
def test_two_processes_make_the_same_bytes_as_one(tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", CONFIG, tmp_path / "script.py"]
    (tmp_path / "two").mkdir()
    arguments = [*map(str, launch), str(Path(__file__).parent), str(tmp_path / "two")]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    for module, name in ((kmeans, "SMALL"), (kmeans, "BLOCK"), (shards, "ROWS_PER_SHARD")):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back afterwards
    (tmp_path / "one").mkdir()
    make(tmp_path / "one")
    one, two = (
        {file.relative_to(folder): file for file in folder.rglob("*.parquet")}
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert one.keys() == two.keys() and len(one) == 7
    assert all(two[name].read_bytes() == file.read_bytes() for name, file in one.items())
    arrays = [np.load(tmp_path / name / "clusters.npz") for name in ("one", "two")]
    for name in ("assignments", "centers", "merged"):
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])
