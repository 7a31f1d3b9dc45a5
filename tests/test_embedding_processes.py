"""Several processes share the work of embedding, and each gets the whole."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hf_alignet.encoder import VisionEncoder

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "recipes" / "accelerate" / "cpu_2_processes.yaml"
SCRIPT = """
import sys
import numpy as np
from accelerate import PartialState
from datasets import load_from_disk
from hf_alignet.encoder import VisionEncoder

model, data, out = sys.argv[1:]
encoder, images = VisionEncoder.from_pretrained(model), load_from_disk(data)
in_memory = encoder.embed(images, batch_size=5, progress=False)
on_disk = encoder.embed(images, batch_size=5, save_to=out + "/store", progress=False)
np.testing.assert_array_equal(in_memory, on_disk)
state = PartialState()
assert state.num_processes == 2
np.save(f"{out}/{state.process_index}.npy", in_memory)
state.destroy_process_group()
"""


@pytest.mark.multi_process
def test_two_processes_give_the_same_as_one(tiny_directory, images, tmp_path):
    images.save_to_disk(tmp_path / "images")
    (tmp_path / "script.py").write_text(SCRIPT)
    model = str(tiny_directory("dinov2"))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", CONFIG, tmp_path / "script.py"]
    arguments = [*map(str, launch), model, str(tmp_path / "images"), str(tmp_path)]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr[-3000:]
    expected = VisionEncoder.from_pretrained(model).embed(images, progress=False)
    for rank in (0, 1):
        np.testing.assert_allclose(np.load(tmp_path / f"{rank}.npy"), expected, atol=1e-5)
