"""Every block of the README runs as it stands, from a user's pictures and choices to a shared model."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features
from datasets import Image as ImageFeature
from fakehub import FakeHub
from PIL import Image
from tiny import save_tiny, save_tiny_text

from hf_alignet.triplets import triplets_from_arrays

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
NUMBER = 2000  # pictures; fewer would not make the triplets that the README asks for
SEED_HUB = """
import sys
from pathlib import Path
from datasets import Dataset, load_from_disk
from huggingface_hub import HfApi

api, root = HfApi(), Path(sys.argv[1])
for name in ("facebook/dinov2-small", "facebook/dinov2-base", "sentence-transformers/all-MiniLM-L6-v2"):
    api.create_repo(name)
    api.upload_folder(repo_id=name, folder_path=root / name)
for name in ("images", "triplets", "cifar100", "pacs"):
    load_from_disk(root / name).push_to_hub(f"user/{name}")
"""


def pictures(number: int, seed: int) -> tuple[list[Image.Image], np.ndarray]:
    """Noisy pictures of one colour each, and the colours (number, 3) in [0, 1]."""
    rng = np.random.default_rng(seed)
    colours = rng.random((number, 3))
    noise = rng.normal(0, 10, (number, 24, 24, 3))
    pixels = (255 * colours[:, None, None] + noise).clip(0, 255).astype(np.uint8)
    return [Image.fromarray(array) for array in pixels], colours


def choices(colours: np.ndarray, number: int) -> pd.DataFrame:
    """People who keep the two pictures of the nearest colours together, most of the time."""
    rng = np.random.default_rng(3)
    rows = rng.integers(40, size=(2 * number, 3))
    rows = rows[[len(set(row)) == 3 for row in rows.tolist()]][:number]
    x = colours[rows]
    distances = np.stack([np.linalg.norm(x[:, i] - x[:, j], axis=1) for i, j in ((1, 2), (0, 2), (0, 1))], 1)
    odd = rows[np.arange(len(rows)), (rng.gumbel(size=distances.shape) / 8 - distances).argmax(1)]
    names = np.array([f"{row:04d}.png" for row in range(len(colours))])
    table = pd.DataFrame(names[rows], columns=["image_1", "image_2", "image_3"])
    return table.assign(odd_one_out=names[odd])


@pytest.fixture
def home(tmp_path) -> Path:
    """What a user has: a folder of pictures, choices about some of them, judged similarities."""
    found, colours = pictures(NUMBER, seed=0)
    home = tmp_path / "home"
    (home / "my-pictures").mkdir(parents=True)
    for row, picture in enumerate(found):
        picture.save(home / "my-pictures" / f"{row:04d}.png")
    choices(colours, 600).to_csv(home / "choices.csv", index=False)
    judged = [f"{row:04d}.png" for row in range(48)]
    distances = np.linalg.norm(colours[:48, None] - colours[None, :48], axis=2)
    pd.DataFrame(distances, judged, judged).to_csv(home / "rdm48.csv")
    return home


@pytest.fixture
def on_the_hub(tmp_path) -> Path:
    """What others have shared: three models, a triplet dataset with its images, and labelled images."""
    for name in ("dinov2-small", "dinov2-base"):
        save_tiny("dinov2", tmp_path / "hub" / "facebook" / name)
    save_tiny_text("bert", tmp_path / "hub" / "sentence-transformers" / "all-MiniLM-L6-v2")
    found, colours = pictures(60, seed=1)
    images = Dataset.from_dict({"image": found}, features=Features({"image": ImageFeature()}))
    images.save_to_disk(tmp_path / "hub" / "images")
    rng = np.random.default_rng(2)
    rows = np.stack([rng.permutation(60)[:3] for _ in range(300)])
    x = colours[rows]
    similarities = np.stack([(x[:, i] * x[:, j]).sum(1) for i, j in ((0, 1), (0, 2), (1, 2))], 1)
    parts = {"train": slice(250), "validation": slice(250, 300)}
    splits = {name: triplets_from_arrays(rows[part], similarities[part]) for name, part in parts.items()}
    DatasetDict(splits).save_to_disk(tmp_path / "hub" / "triplets")
    for name, names in {"cifar100": ("train", "test"), "pacs": ("photo", "sketch")}.items():
        labelled = {split: labelled_pictures(24, seed) for seed, split in enumerate(names)}
        DatasetDict(labelled).save_to_disk(tmp_path / "hub" / name)
    return tmp_path / "hub"


def labelled_pictures(number: int, seed: int) -> Dataset:
    """Pictures that are more red than blue, and others."""
    found, colours = pictures(number, seed)
    is_red = (colours[:, 0] > colours[:, 2]).tolist()
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["blue", "red"])})
    return Dataset.from_dict({"image": found, "label": is_red}, features=features)


def test_notebook_blocks_are_short():
    """Aligning, fitting, making triplets, evaluating and publishing take at most 15 lines from Python."""
    public = [text for language, text in BLOCKS if language == "python" and "from hf_alignet" in text]
    assert len(public) >= 7
    assert max(len([line for line in text.splitlines() if line.strip()]) for text in public) <= 15
    assert not [text for text in public if "Arguments(" in text.replace("AlignTrainingArguments(", "")]


def test_columns_and_names_of_the_api_table_exist():
    import hf_alignet

    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The public API")[2].partition("Figures")[0]
    named = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert named == set(hf_alignet.__all__)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_block_runs_as_it_stands(home, on_the_hub, tmp_path):
    (tmp_path / "blocks.json").write_text(json.dumps(BLOCKS))
    with FakeHub(forbidden=[str(tmp_path)]) as hub:
        environment = {**os.environ, **hub.env(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
        for script in (
            ["-c", SEED_HUB, str(on_the_hub)],
            [str(ROOT / "tests" / "readme_runner.py"), str(tmp_path / "blocks.json")],
        ):
            done = subprocess.run(
                [sys.executable, "-W", "ignore", *script], cwd=home, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr[-6000:]
        seconds = json.loads(done.stdout.splitlines()[-1])
        print(seconds)
        assert len(seconds) == len(BLOCKS)
        outputs = home / "outputs"
        assert {"demo-aligned", "dinov2-small-aligned", "teacher", "triplets", "evaluation"} <= {
            p.name for p in outputs.iterdir()
        }
        results = json.loads((outputs / "evaluation" / "results.json").read_text())
        assert set(results) >= {"facebook/dinov2-small", "dinov2-small-mine"}
        assert "README.md" in hub.ls("model", "user/dinov2-small-aligned")
        assert "judgments/train-00000-of-00001.parquet" in hub.ls("dataset", "user/choices")
