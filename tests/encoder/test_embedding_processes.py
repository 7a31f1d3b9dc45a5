"""Several processes share the work of embedding, and each gets the whole."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from datasets import Image as ImageFeature

from hf_alignet.encoder.vision_model import VisionEncoder

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "recipes" / "accelerate" / "cpu_2_processes.yaml"
SCRIPT = """
import sys
import numpy as np
from accelerate import PartialState
from datasets import load_from_disk
from hf_alignet.images import ImageCache
from hf_alignet.encoder import VisionEncoder

model, data, out = sys.argv[1:]
encoder, images = VisionEncoder.from_pretrained(model), load_from_disk(data)
in_memory = encoder.embed(images, batch_size=5, progress=False)
on_disk = encoder.embed(images, batch_size=5, save_to=out + "/store", progress=False)
np.testing.assert_array_equal(in_memory, on_disk)
cache = ImageCache(out + "/cache", images, encoder.preprocessor)
assert cache.prepare(np.arange(24), progress=False) == {}
cache._decode = None  # all that is read from here on is cached
np.testing.assert_array_equal(in_memory, encoder.embed(cache, batch_size=5, progress=False))
broken = ImageCache(out + "/cache", load_from_disk(out + "/broken"), encoder.preprocessor)
assert list(broken.prepare(np.arange(24), progress=False, skip_bad=True)) == [9, 17]

state = PartialState()
assert state.num_processes == 2
np.save(f"{out}/{state.process_index}.npy", in_memory)
state.destroy_process_group()
"""


@pytest.mark.multi_process
def test_two_processes_give_the_same_as_one(tiny_directory, images, tmp_path):
    images.save_to_disk(tmp_path / "images")
    rows = images.cast_column("image", ImageFeature(decode=False)).to_list()
    rows[9]["image"] = rows[17]["image"] = {"bytes": b"", "path": None}
    Dataset.from_list(rows, features=images.features).save_to_disk(tmp_path / "broken")
    (tmp_path / "script.py").write_text(SCRIPT)
    model = str(tiny_directory("dinov2"))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", CONFIG, tmp_path / "script.py"]
    arguments = [*map(str, launch), model, str(tmp_path / "images"), str(tmp_path)]
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr[-3000:]
    expected = VisionEncoder.from_pretrained(model).embed(images, progress=False)
    for rank in (0, 1):
        np.testing.assert_allclose(np.load(tmp_path / f"{rank}.npy"), expected, atol=1e-5)
