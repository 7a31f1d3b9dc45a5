"""From choices of people to a measured model, each step a process of its own that finds what it needs on the Hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from fakehub import USER, FakeHub
from fakehub.checks import card_errors, card_metadata
from PIL import Image

ROOT = Path(__file__).parents[2]
VICE = '{"num_dimensions": 6, "min_objects": 1, "max_epochs": 120, "burn_in": 60, "window": 30, "settle": 20}'
ACCURACY = "study/test/odd_one_out_accuracy"


def coloured(number: int, seed: int) -> tuple[Dataset, np.ndarray]:
    """Noisy pictures of one colour each, named, and the colours (number, 3) in [0, 1]."""
    rng = np.random.default_rng(seed)
    colours = rng.random((number, 3))
    noise = rng.normal(0, 10, (number, 32, 32, 3))
    pixels = (255 * colours[:, None, None] + noise).clip(0, 255).astype(np.uint8)
    names = [f"picture{i}.png" for i in range(number)]
    features = Features({"image": ImageFeature(), "filename": Value("string")})
    pictures = [Image.fromarray(array) for array in pixels]
    return Dataset.from_dict({"image": pictures, "filename": names}, features=features), colours


def choices(names: list[str], colours: np.ndarray, number: int) -> pd.DataFrame:
    """People who keep the two pictures of the nearest colours together, most of the time."""
    rng = np.random.default_rng(3)
    rows = np.stack([rng.permutation(len(names))[:3] for _ in range(number)])
    x = colours[rows]
    distances = np.stack([np.linalg.norm(x[:, i] - x[:, j], axis=1) for i, j in ((1, 2), (0, 2), (0, 1))], 1)
    odd = (rng.gumbel(size=(number, 3)) / 8 - distances).argmax(1)  # beside the nearest two
    table = pd.DataFrame(np.array(names)[rows], columns=["image_1", "image_2", "image_3"])
    return table.assign(odd_one_out=np.array(names)[rows[np.arange(number), odd]])


@pytest.fixture
def home(tmp_path, tiny_directory) -> Path:
    """What only the first person has: pictures, choices, and a model."""
    stimuli, colours = coloured(30, seed=0)
    table = choices(stimuli["filename"][:], colours, 2000)
    (tmp_path / "names.txt").write_text("\n".join(stimuli["filename"][:]))
    (tmp_path / "choices").mkdir()
    table[:1600].to_csv(tmp_path / "choices" / "train.csv", index=False)
    table[1600:].to_csv(tmp_path / "choices" / "test.csv", index=False)
    stimuli.save_to_disk(tmp_path / "stimuli")
    coloured(60, seed=1)[0].save_to_disk(tmp_path / "photos")
    (tmp_path / "encoder").symlink_to(tiny_directory("vit"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.multi_process
@pytest.mark.timeout(600)
def test_the_whole_way(home):
    stimuli, judgments, photos = f"{USER}/stimuli", f"{USER}/judgments", f"{USER}/photos"
    base, teacher, triplets, aligned = (f"{USER}/{name}" for name in ("encoder", "teacher", "triplets", "aligned"))
    allowed = "--i_have_the_right_to_share_images"
    quiet = ("--disable_tqdm", "true")
    with FakeHub(forbidden=[str(home), str(ROOT), str(Path.home())]) as hub:

        def run(recipe, *flags):
            """A recipe as a user starts it, on a machine that has nothing but the Hub."""
            cache = home / f"cache{len(list(home.iterdir()))}"
            command = [sys.executable, ROOT / "recipes" / recipe, *map(str, flags)]
            done = subprocess.run(
                command, cwd=home, env={**os.environ, **hub.env(cache)}, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{recipe}\n{done.stderr[-4000:]}"

        run("publish.py", "dataset", "stimuli", stimuli, allowed)
        run("publish.py", "dataset", "photos", photos, allowed)
        run("publish.py", "dataset", "choices", judgments, "--object_names", "names.txt")
        run("publish.py", "model", "encoder", base)
        run(
            *("fit_teacher.py", "--judgments", judgments, "--images", stimuli, "--model_name_or_path", base),
            *("--vice_settings", VICE, "--regularization", 0.05, "--output_dir", "out-teacher", *quiet),
            *("--push_to_hub", "--hub_model_id", teacher),
        )
        run(
            *("make_triplets.py", "--images", photos, "--teacher", base, "--transform", teacher),
            *(
                "--num_triplets",
                400,
                "--num_clusters",
                4,
                "--num_validation_triplets",
                40,
                "--held_out_share",
                0.3,
                "--output_dir",
                "out-triplets",
                *quiet,
            ),
            *("--push_to_hub", "--hub_dataset_id", triplets),
        )
        run(
            *("align.py", "--model_name_or_path", base, "--images", photos, "--triplets", triplets),
            *("--output_dir", "out-aligned", "--learning_rate", 1e-3, "--use_cpu", "true", *quiet),
            *("--per_device_train_batch_size", 16, "--push_to_hub", "--hub_model_id", aligned),
        )
        run(
            *("evaluate.py", "--model_name_or_path", base, aligned, "--benchmarks", f"study=choices:{judgments}"),
            *("--images", stimuli, "--output_dir", "out-evaluation", "--update_card", aligned, *quiet),
        )

        text = hub.read("model", aligned, "README.md").decode()
        assert card_errors(text) == []
        metadata = card_metadata(text)
        assert metadata["base_model"] == base and set(metadata["datasets"]) == {triplets, photos}
        assert teacher in text
        found = {
            metric["name"]: result["dataset"]
            for result in metadata["model-index"][0]["results"]
            for metric in result["metrics"]
        }
        results = json.loads((home / "out-evaluation" / "results.json").read_text())
        assert set(results) == {base, aligned}
        judged = next(m for r in metadata["model-index"][0]["results"] for m in r["metrics"] if m["name"] == ACCURACY)
        assert judged["value"] == results[aligned][ACCURACY]["value"] and found[ACCURACY]["type"] == judgments
        assert f"id: {judgments}" in hub.read("model", aligned, ".eval_results/odd_one_out.yaml").decode()
        for kind, repository in (("dataset", triplets), ("dataset", judgments), ("model", teacher)):
            assert card_errors(hub.read(kind, repository, "README.md").decode()) == []
